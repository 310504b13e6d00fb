"""The demo: real purchases from four shops, through the gateway, into a warehouse that has a bad day."""
