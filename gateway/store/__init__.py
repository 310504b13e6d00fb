"""The one database: SQL with names, a module per concern. Returns core values and leaves decisions to others."""
