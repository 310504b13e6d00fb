"""The client of the commands, against servers that are no gateway: every failure is a sentence, never a traceback."""

from __future__ import annotations

import json
import re

import pytest

from gateway.remote.client import Remote, RemoteError
from tests.languages import is_told
from tests.pages.reading import ROOT, only_named
from tests.remote.answering import OK, answering


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        OK + b"10\r\n\r\n{}",
        OK + b"2\r\n\r\nok",
        OK + b"2\r\n\r\n\xff\xfe",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nnope",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n[]",
    ],
    ids=[
        "nothing",
        "not HTTP",
        "cut off",
        "not JSON",
        "not text",
        "another's 404",
        "another's 404, cut off",
        "a proxy",
    ],
)
def test_what_is_no_gateway_is_told_in_one_line(reply: bytes) -> None:
    with answering(reply) as (url, _):
        with pytest.raises(RemoteError) as told:
            Remote(url, "og_token").get("orders")
    assert len(str(told.value).split("\n")) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "http://127.0.0.1:80 80", "http://x..y"])
def test_an_address_that_is_none_is_told_with_it(url: str) -> None:
    with pytest.raises(RemoteError, match="does not answer") as told:
        Remote(url, "og_token").get("orders")
    assert url in str(told.value)


@pytest.mark.parametrize(
    ("url", "like"),
    [("127.0.0.1:8080", "http://127.0.0.1:8080"), ("localhost", "http://localhost"), ("ftp://x", "http://x")],
)
def test_an_address_without_http_is_told_what_to_write(url: str, like: str) -> None:
    with pytest.raises(RemoteError) as told:
        Remote(url, "og_token").get("orders")
    assert is_told(told.value.text) and f"缺少 http://，写成 --url {like}" in told.value.text.zh


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("body.lines[0]", "body.lines[0]: "),
        ("query.channel_no", "--channel-no: "),
        ("path.number", ""),
        ("headers.Authorization", ""),
        ("query", ""),
        ("$.wanted", ""),
        ("$.wanted.since", "--since: "),
        ("$.per_s", "--rate: "),
        ("$.start_in_s", "--start-in: "),
        ("$.reason", "--reason: "),
        ("$.edit", "--edit: "),
        ("$.edit.lines[0].quantity", "--edit lines[0].quantity: "),
        ("$.items[3].on_hand", "$.items[3].on_hand: "),
    ],
)
def test_a_refusal_says_where_what_and_what_to_do(where: str, shown: str) -> None:
    problem = {
        "message": {"zh": "没有这个订单", "en": "is not known"},
        "where": where,
        "advice": {"zh": "见列表", "en": "look at the list"},
    }
    body = json.dumps(problem).encode()
    with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (url, _):
        with pytest.raises(RemoteError) as told:
            Remote(url, "og_token").get("orders", "A1")
    assert str(told.value) == f"{shown}没有这个订单 — 见列表 / is not known — look at the list"


def test_a_place_in_a_payload_is_no_option() -> None:
    problem = {"error": "unrepaired", "message": {"zh": "缺少", "en": "is missing"}, "where": "$.reason"}
    body = json.dumps(problem).encode()
    with answering(b"HTTP/1.1 422 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (url, _):
        with pytest.raises(RemoteError, match=r"^\$\.reason: 缺少"):
            Remote(url, "og_token").get("orders", "A1")


@pytest.mark.parametrize(
    ("advice", "told"),
    [
        ('确定没有则带 "confirmed_absent": true 重试', "确定没有则带 `--confirmed-absent` 重试"),
        ("以库存为准（keep=balance），再", "以库存为准（`--keep balance`），再"),
        ("会自动再次发送，见 `not_before`", "会自动再次发送，见 `ordergate deliveries list`"),
        ("见 /api/v1/openapi.json", "见 `--help`"),
        ("见 /api/v1/openapi.json 中的 Content", "见 docs/desk.md"),
    ],
)
def test_a_field_of_the_api_is_told_as_the_option_that_sets_it(advice: str, told: str) -> None:
    problem = {"message": {"zh": "不行", "en": "no"}, "advice": {"zh": advice, "en": "x"}}
    body = json.dumps(problem).encode()
    with answering(b"HTTP/1.1 409 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (url, _):
        with pytest.raises(RemoteError) as refused:
            Remote(url, "og_token").get("orders", "A1")
    assert refused.value.text.zh == f"不行 — {told}"


def test_what_the_api_would_be_asked_is_told_as_a_command() -> None:
    """Every call that a refusal of the API names (`GET /…`), found in its source, has its command or option here."""
    named = set()
    for file in (ROOT / "gateway/api").glob("*.py"):
        if file.name != "advice.py":  # which has a command beside each call
            named |= set(re.findall(r'"[^"\n]*((?:GET|POST) /\S+)', file.read_text(encoding="utf-8")))
    assert len(named) > 6
    for call in sorted(named):
        problem = {
            "message": {"zh": "没有", "en": "not there"},
            "advice": {"zh": f"{call} 列出全部", "en": f"{call} lists them"},
        }
        body = json.dumps(problem).encode()
        with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (url, _):
            with pytest.raises(RemoteError) as told:
                Remote(url, "og_token").get("orders", "A1")
        command = re.fullmatch(r"没有 — `(ordergate [^`]+|--dry-run)` 列出全部", told.value.text.zh)
        assert command, told.value.text.zh
        assert command[1] == "--dry-run" or not only_named(command[1])


def test_who_answers_and_is_no_gateway_is_told_so() -> None:
    with answering(OK + b"2\r\n\r\nok") as (url, _), pytest.raises(RemoteError, match="is no gateway") as told:
        Remote(url, "og_token").get("orders")
    assert is_told(told.value.text)


def test_what_is_asked_is_in_the_request() -> None:
    with answering(OK + b"2\r\n\r\n{}") as (url, request):
        assert Remote(url + "/", "og_token").get("orders", "A/1 茶", stage=None, unmask=True, limit=5) == {}
    lines = request().decode().splitlines()
    assert lines[0] == "GET /api/v1/orders/A%2F1%20%E8%8C%B6?unmask=1&limit=5 HTTP/1.1"
    assert "Authorization: Bearer og_token" in lines


def test_an_empty_number_asks_for_nothing_else() -> None:
    with pytest.raises(RemoteError) as told:
        Remote("http://127.0.0.1:9", "og_token").get("orders", "")
    assert is_told(told.value.text)


def test_without_a_token_nobody_is_asked() -> None:
    with pytest.raises(RemoteError, match="ORDERGATE_TOKEN"):
        Remote("http://127.0.0.1:9", "").get("orders")


@pytest.mark.parametrize("token", ["og_tok\ren", "og_tok\nen", "og_令牌", "og_tok\u200ben"])
def test_a_token_that_cannot_be_one_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(RemoteError) as told:
        Remote("http://127.0.0.1:9", token).get("orders")
    assert "copy it again" in str(told.value) and "og_" not in str(told.value)


def test_the_line_end_behind_a_token_is_no_part_of_it() -> None:
    with answering(OK + b"2\r\n\r\n{}") as (url, request):
        Remote(url, "og_token\r\n").get("orders")
    assert b"Authorization: Bearer og_token\r\n" in request()


@pytest.mark.parametrize("name", ["wang", "张三", "josé"])
def test_who_asks_is_told_in_any_script(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", name)
    with answering(OK + b"2\r\n\r\n{}") as (url, request):
        Remote(url, "og_token").get("orders")
    assert f"x-ordergate-actor: {name}\r\n" in request().decode().lower()
