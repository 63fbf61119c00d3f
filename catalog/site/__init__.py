"""The catalog as one folder of static pages; `build` makes it."""
