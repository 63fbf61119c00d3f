"""The streaming database `realtime`: its schema, as numbered migrations."""
