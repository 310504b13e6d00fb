"""Deciding many again, page by page, at a gateway that is behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gateway.cli import main

COMMAND = ["orders", "reconsider-many", "--code", "no_route", "--yes", "-r", "x", "--token", "t"]
PAGE = {"count": 1000, "unread": [], "next": "7"}
NONE = {"count": 0, "unread": [], "next": "7"}
BEHIND, LAST = NONE | {"next": "0"}, NONE | {"next": ""}


class Pages(HTTPServer):
    """Answers with `pages`, and with the last of them from then on; what it was asked is in `asked`."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = list(pages)
        self.asked: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Pages

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        pages = self.server.pages
        body = json.dumps(pages.pop(0) if len(pages) > 1 else pages[0]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error, which the test reads."""


@pytest.fixture
def pages(request: pytest.FixtureRequest) -> Iterator[Pages]:
    with Pages(*request.param) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="pages")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("pages", [[PAGE, NONE]], indirect=True)
def test_the_command_ends_and_says_how_far_it_came_where_the_gateway_stays_behind(
    pages: Pages, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, "--url", f"http://127.0.0.1:{pages.server_port}"])
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert not out and "已处理 1000 个" in err and "再来一次" in err
    assert [one["after"] for one in pages.asked] == ["0"] + ["7"] * 12


@pytest.mark.parametrize("pages", [[BEHIND, BEHIND, PAGE, LAST]], indirect=True)
def test_a_gateway_that_is_behind_for_a_while_is_waited_for(pages: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, "--url", f"http://127.0.0.1:{pages.server_port}", "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out) == {"count": 1000, "unread": [], "next": ""}
    assert [one["after"] for one in pages.asked] == ["0", "0", "0", "7"]
