"""Databases, roles and rights: one role per part, each with its own schemas."""
