"""Notices to people by e-mail."""
