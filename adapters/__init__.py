"""The connectors that ship with Ordergate, a folder each. They import `gateway.sdk` only, and never each other."""
