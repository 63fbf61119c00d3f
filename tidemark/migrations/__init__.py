"""Numbered SQL files of the rooms, applied once each to a database; docs/migrations.md says how to add one."""
