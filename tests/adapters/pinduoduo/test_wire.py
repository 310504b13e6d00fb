"""The envelope: signatures, what is sent, and every row of the error table against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from adapters.pinduoduo import wire
from adapters.pinduoduo.settings import Meaning
from gateway.sdk.http import Http
from gateway.sdk.models import Failed, Rejected, Throttled, Unauthorised, Unknown
from tests.adapters.pinduoduo.shop import START, CountingBudget, access_to, setup_for


def test_the_published_vector() -> None:
    """open.pinduoduo.com, document 8EC06C399636041E, the example of the signature."""
    parameters = {
        "access_token": "asd78172s8ds9a921j9qqwda12312w1w21211",
        "client_id": "1",
        "data_type": "XML",
        "order_status": "1",
        "page": "1",
        "page_size": "10",
        "timestamp": "1480411125",
        "type": "pdd.order.number.list.get",
    }
    assert wire.sign("testSecret", parameters) == "E4DE3ED21002510DED352819E7AE6775"
    assert wire.sign("testSecret", {**parameters, "sign": "anything"}) == "E4DE3ED21002510DED352819E7AE6775"


@given(st.dictionaries(st.text("ab", min_size=1), st.text(max_size=5)))
def test_the_order_of_parameters_does_not_matter(parameters: dict[str, str]) -> None:
    assert wire.sign("s", parameters) == wire.sign("s", dict(reversed(parameters.items())))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("京东", "京东"),
        (1, "1"),
        (False, "false"),
        ([{"shipping_id": 44, "tracking_number": "SF1"}], '[{"shipping_id":44,"tracking_number":"SF1"}]'),
    ],
)
def test_a_parameter_is_written_once_and_sent_as_it_is_signed(value: object, text: str) -> None:
    assert wire.parameter(value) == text


async def test_what_is_sent(http: Http) -> None:
    router = wire.Router(setup_for("http://127.0.0.1:9/x"), access_to(http))

    sent = msgspec.json.decode(router.request(wire.ORDER, {"order_sn": "A1", "empty": "", "none": None, "zero": 0}))

    assert sent == {
        "type": "pdd.order.information.get",
        "client_id": "fake-client",
        "timestamp": str(int(START.timestamp())),
        "data_type": "JSON",
        "access_token": "T1",
        "order_sn": "A1",
        "zero": "0",
        "sign": wire.sign("fake-secret", sent),
    }
    assert "access_token" not in msgspec.json.decode(router.request(wire.REFRESH, {}))


ROWS: list[tuple[str, type, str]] = [
    ("52101", Throttled, ""),
    ("70031", Throttled, ""),
    ("10019", Unauthorised, "10019"),
    ("70032", Unauthorised, "70032"),
    ("70034", Unauthorised, "70034"),
    ("70035", Unauthorised, "70035"),
    ("50000", Unknown, "internal"),
    ("50001", Unknown, "internal"),
    ("50002", Unknown, "internal"),
    ("52001", Unknown, "internal"),
    ("52002", Unknown, "internal"),
    ("52102", Failed, "degraded"),
    ("52103", Failed, "degraded"),
    ("70033", Failed, "degraded"),
    ("20004", Failed, "sign"),
    ("20005", Failed, "ip"),
    ("20031", Failed, "permission"),
    ("70036", Failed, "quota"),
    ("40003", Rejected, "business"),
]


def test_the_rows_are_all() -> None:
    assert {code for code, *_ in ROWS} == {*wire.ERRORS, "40003"}


@pytest.mark.parametrize(("code", "kind", "ours"), ROWS)
async def test_every_error_inside_200(http: Http, code: str, kind: type, ours: str) -> None:
    budget = CountingBudget()

    answer = await asked(http, error(int(code)), budget=budget)

    assert type(answer) is kind
    assert getattr(answer, "code", "") == ours
    assert code in answer.message
    assert budget.pauses == ([10.0] if kind is Throttled else [])


async def test_a_row_can_be_configured(http: Http) -> None:
    settings = {"errors": {"50001": Meaning.REJECTED, "40003": Meaning.DEGRADED}}
    assert isinstance(await asked(http, error(50001), **settings), Rejected)
    assert await asked(http, error(40003), **settings) == Failed("degraded", "40003 消息 说明")


async def test_an_error_text_for_a_person_has_no_telephone_number(http: Http) -> None:
    answer = await asked(http, error(40003, "收件人 13800001111 不存在"))
    assert answer == Rejected("business", "40003 收件人 # 不存在 说明")


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {}, Throttled(10.0, "HTTP 429")),
        (429, {"Retry-After": "3"}, Throttled(3.0, "HTTP 429")),
        (503, {"Retry-After": "7"}, Failed("http_503", "HTTP 503", 7.0)),
        (500, {}, Unknown("http_500", "HTTP 500")),
        (502, {}, Unknown("http_502", "HTTP 502")),
        (504, {}, Unknown("http_504", "HTTP 504", timeout=True)),
        (599, {}, Unknown("http_5xx", "HTTP 599")),
        (403, {}, Failed("http_4xx", "HTTP 403")),
        (302, {}, Failed("redirect", "HTTP 302")),
    ],
)
async def test_a_status_other_than_200(
    http: Http, status: int, headers: dict[str, str], expected: wire.Trouble
) -> None:
    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers=headers)

    async with served(serve) as url:
        router = wire.Router(setup_for(url), access_to(http))
        assert await router.call(wire.ORDER, {}, deadline_s=5) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"order_sn_increment_get_response":{}}', b"\xff"])
async def test_an_answer_without_its_root_is_no_answer(http: Http, body: bytes) -> None:
    answer = await asked(http, body)
    assert isinstance(answer, Unknown) and answer.code == "unreadable"


async def test_the_root_is_handed_on_untouched(http: Http) -> None:
    assert (
        await asked(http, b'{"order_info_get_response": {"a": 1.10, "b":"\\u4e2d"} }') == b'{"a": 1.10, "b":"\\u4e2d"}'
    )


async def test_nobody_there_and_nobody_answering(http: Http) -> None:
    async def hang(_: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    nobody = wire.Router(setup_for("http://127.0.0.1:9/x"), access_to(http))
    assert isinstance(await nobody.call(wire.ORDER, {}, deadline_s=5), Failed)
    async with served(hang) as url:
        router = wire.Router(setup_for(url), access_to(http))
        answer = await router.call(wire.ORDER, {}, deadline_s=0.1)
    assert isinstance(answer, Unknown) and answer.timeout


def error(code: int, message: str = "消息") -> bytes:
    return msgspec.json.encode({"error_response": {"error_code": code, "error_msg": message, "sub_msg": "说明"}})


async def asked(http: Http, body: bytes, *, budget: CountingBudget | None = None, **settings: Any) -> Any:
    """What a question ends in when the platform answers `body`."""

    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async with served(serve) as url:
        router = wire.Router(setup_for(url, **settings), access_to(http, budget=budget))
        return await router.call(wire.ORDER, {"order_sn": "A1"}, deadline_s=5)


@asynccontextmanager
async def served(handler: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL of a server that answers everything by `handler`."""
    server = web.Server(handler)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/api/router"
    listener.close()
    await server.shutdown(0.1)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=8) as client:
        yield client
