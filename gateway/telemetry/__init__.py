"""Turns happenings into metrics and log lines, and answers for health."""
