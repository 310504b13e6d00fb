"""A server that is no gateway and says what a test has it say."""

from __future__ import annotations

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
                got.append(connection.recv(65_536))
                connection.sendall(reply)

        thread = threading.Thread(target=answer, name="answering")
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", lambda: got[0]
        thread.join(10)
