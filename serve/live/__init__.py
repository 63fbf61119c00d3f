"""The page `/live`: files that read the API as anyone does, with a key that a cookie keeps."""
