"""Servers that run on this machine when none is configured. Today: PostgreSQL."""
