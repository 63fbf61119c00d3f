"""Quality and catalog: Soda contracts over what dbt does not build, and what is published to OpenMetadata."""
