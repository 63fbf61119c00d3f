"""The batch lane: sources to the lake as raw files, and from there to all-text ingestion tables, by dlt."""
