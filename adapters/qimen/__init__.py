"""Warehouses that speak the Qimen (奇门) standard WMS API: delivery orders out, progress and confirmations in."""
