"""The commands that look into a running gateway and repair orders, through its HTTP API. A file a resource.

They know nothing of databases and adapters, so they work from any machine that reaches the gateway. Every change takes
a reason, which is kept with who gave it.
"""
