"""Notices to people in WeCom (企业微信): by group robots, or by an application of the company."""
