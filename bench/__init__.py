"""The benchmark: the gateway as users run it, beside the bare loops and the peers that bound it. See `__main__`."""
