"""Signature and envelope."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from adapters.taobao.errors import Verdict
from adapters.taobao.wire import Top, sign
from gateway.sdk.http import Http
from gateway.sdk.models import Token
from tests.adapters.taobao.support import CUP, Shop

PUBLISHED = [
    # open.taobao.com, article 101617 (mirrors: developer.alibaba.com, api.1688.com/doc2)
    (
        "md5",
        b"helloworld",
        {
            "method": "taobao.item.seller.get",
            "app_key": "12345678",
            "session": "test",
            "timestamp": "2016-01-01 12:00:00",
            "format": "json",
            "v": "2.0",
            "sign_method": "md5",
            "fields": "num_iid,title,nick,price,num",
            "num_iid": "11223344",
        },
        "66987CB115214E59E6EC978214934FB8",
    ),
    # RFC 2202 case 1, laid out as TOP concatenates
    ("hmac", bytes.fromhex("0b" * 16), {"Hi": " There"}, "9294727A3638BB1C13F48EF8158BFC9D"),
]


@pytest.mark.feature("F101")
@pytest.mark.parametrize(("method", "secret", "params", "expected"), PUBLISHED)
def test_published_vectors(method: str, secret: bytes, params: dict[str, str], expected: str) -> None:
    assert sign(secret, params, method=method) == expected
    assert sign(secret, {**params, "sign": "whatever"}, method=method) == expected


def test_sha256_follows_the_same_rule() -> None:
    expected = hmac.new(b"k", "a1b中".encode(), hashlib.sha256).hexdigest().upper()
    assert sign(b"k", {"b": "中", "a": "1"}, method="hmac-sha256") == expected


@pytest.mark.parametrize("method", ["md5", "hmac", "hmac-sha256"])
async def test_the_shop_takes_every_method(shop: Shop, http: Http, method: str) -> None:
    tid = shop.fake.place([CUP], note="注 & 备=注")
    top = Top(shop.setup(sign_method=method), shop.access(http))
    answer = await top.call("taobao.trade.fullinfo.get", {"fields": "tid,buyer_message", "tid": tid}, deadline_s=5)
    assert not isinstance(answer, Verdict)
    assert "注 & 备=注".encode() in bytes(answer)


@pytest.mark.parametrize(
    ("settings", "token", "now", "code"),
    [
        ({}, "other", None, "session"),
        ({"app_secret": "other"}, "t0", None, "signature"),
        ({"app_key": "other"}, "t0", None, "app_key"),
        ({}, "t0", lambda: datetime(2026, 5, 1, 1, 19, tzinfo=UTC), "clock"),
        ({}, "t0", lambda: datetime(2026, 5, 1, 1, 21, tzinfo=UTC), "business"),
    ],
)
async def test_who_is_not_let_in(
    shop: Shop, http: Http, settings: dict[str, str], token: str, now: Callable[[], datetime] | None, code: str
) -> None:
    shop.tokens = [Token(token)]
    top = Top(shop.setup(now=now, **settings), shop.access(http))
    answer = await top.call("taobao.trade.fullinfo.get", {"fields": "tid", "tid": "1"}, deadline_s=5)
    assert isinstance(answer, Verdict)
    assert answer.code == code
    assert shop.fake.books.refused == (code == "signature")


async def test_a_token_that_was_renewed_meanwhile_is_not_a_refused_one(shop: Shop, http: Http) -> None:
    shop.tokens = [Token("old"), Token("t0")]
    answer = await Top(shop.setup(), shop.access(http)).call("taobao.trade.fullinfo.get", {}, deadline_s=5)
    assert answer == Verdict("failed", "token_replaced", "the token was renewed meanwhile", 0.0)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>busy</html>", "unreadable"),
        (b"[]", "unreadable"),
        (b"{}", "unreadable"),
        (b'{"a_response":{},"b_response":{}}', "unreadable"),
        (b'{"error_response":{"code":10}}', "unavailable"),
        (b'{"error_response":7}', "unreadable"),
        (b"\xff", "unreadable"),
    ],
)
async def test_what_is_no_answer(
    http: Http, body: bytes, code: str, shop: Shop, serve: Callable[[bytes], Awaitable[str]]
) -> None:
    top = Top(shop.setup(url=await serve(body)), shop.access(http))
    answer = await top.call("taobao.x", {}, deadline_s=5)
    assert isinstance(answer, Verdict)
    assert (answer.kind, answer.code, answer.certain) == ("failed", code, False)


@pytest.fixture
async def serve() -> Any:
    runners = []

    async def start(body: bytes) -> str:
        async def handle(_: web.BaseRequest) -> web.Response:
            return web.Response(body=body)

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}/router/rest"

    yield start
    for runner in runners:
        await runner.cleanup()
