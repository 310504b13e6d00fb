"""Ports for servers that tests start in processes of their own."""

from __future__ import annotations

import itertools
import socket
from functools import cache

_FIRST, _EACH, _PARTS = 20_000, 200, 60
"""Below the ports from which Linux, by default (32768 and up), takes one for every connection that somebody opens: one
of those, found free, may be taken before the server is there. So may one that another run of tests finds free as well,
also while its server is started again: each process has a part of its own."""

_numbers = itertools.cycle(range(1, _EACH))


def free_port() -> int:
    """One that nobody listens on now, and that this process has not given out lately."""
    first: int = _held_part().getsockname()[1]
    for number in itertools.islice(_numbers, _EACH):
        with socket.socket() as probe:
            if _takes(probe, first + number):
                return first + number
    raise OSError(f"no port is free from {first} on")


@cache
def _held_part() -> socket.socket:
    """A socket with the first port of a part, which is ours for as long as that is bound: until this process ends."""
    for first in range(_FIRST, _FIRST + _PARTS * _EACH, _EACH):
        holder = socket.socket()
        if _takes(holder, first):
            return holder
        holder.close()
    raise OSError(f"{_PARTS} processes have ports already")


def _takes(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
