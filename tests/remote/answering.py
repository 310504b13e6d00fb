"""A server that is no gateway and says what a test has it say."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\nContent-Length: "


@contextmanager
def answering(reply: bytes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Reads one request and answers it with these bytes: its URL, and the request it got."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                got.append(_request(connection))
                connection.sendall(reply)

        thread = threading.Thread(target=answer, name="answering")
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", lambda: got[0]
        thread.join(10)


def _request(connection: socket.socket) -> bytes:
    """Head and body, which come in pieces; the first piece of what is no HTTP."""
    read = connection.recv(65_536)
    while read[:1].isalpha() and b"\r\n\r\n" not in read:
        read += connection.recv(65_536)
    head, _, body = read.partition(b"\r\n\r\n")
    declared = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    while declared is not None and len(body) < int(declared[1]):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
