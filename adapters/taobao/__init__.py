"""Taobao and Tmall shops over TOP (淘宝开放平台): orders in by polling, shipments and stock levels out."""
