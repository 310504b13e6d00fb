"""Ports for servers that tests start in processes of their own."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _EACH = 20_000, 2_000
"""Below the ports from which Linux, by default (32768 and up), takes one for every connection that somebody opens: one
of those, found free, may be taken before the server is there. Each process of a parallel run has a part of its own."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
_numbers = itertools.cycle(range(_EACH))
_offset = os.getpid() % _EACH


def free_port() -> int:
    """One that nobody listens on now, and that this process has not given out lately."""
    for number in itertools.islice(_numbers, _EACH):
        port = _FIRST + _worker * _EACH + (number + _offset) % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no port is free from {_FIRST + _worker * _EACH} on")
