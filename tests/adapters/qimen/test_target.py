"""The way out, against a WMS on loopback that keeps books, its faults included."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from adapters.qimen.fake import FakeWms, Warehouse
from adapters.qimen.settings import Match, Sender, Settings
from adapters.qimen.source import QimenSource
from adapters.qimen.target import QimenTarget
from gateway.core.order import Register
from gateway.sdk.adapter import Push, Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http, NotSent
from gateway.sdk.models import (
    Answer,
    Closing,
    Command,
    ConnectionName,
    Content,
    Delivery,
    Done,
    Facts,
    Failed,
    Found,
    Line,
    NotFound,
    Operation,
    Order,
    OrdergateError,
    OrderNumber,
    ProgressStep,
    Receiver,
    Rejected,
    Sku,
    Throttled,
    Unknown,
)
from tests.languages import is_told

CONTENT = Content(
    datetime(2026, 5, 1, tzinfo=UTC),
    (Line("1", Sku("CUP<1>"), 2, 4500), Line("2", Sku("T"), 1, 1)),
    Receiver("张"),
    9001,
)
NO_RULE: dict[str, Any] = {"not_found": ()}


def delivery(
    operation: Operation = Operation.CREATE, *, number: str = "SA1", content: Content | None = CONTENT
) -> Delivery:
    order = Order(number=OrderNumber(number), content=None if content is None else Register(1, 1, content))
    return Delivery(order_id=1, order=order, command=Command(ConnectionName("wms"), 1, operation, operation.value))


CANCEL = delivery(Operation.CANCEL)


def answer(flag: str, more: str = "") -> str:
    return f"<response><flag>{flag}</flag>{more}</response>"


def setup_for(url: str, **changes: Any) -> Setup:
    settings = Settings(
        url=url,
        app_key="fake",
        secret="s",
        customer_id="fake-wms",
        owner_code="OWN1",
        shop_nick="n",
        sender=Sender(name="n", mobile="m", province="p", city="c", detail="d"),
        not_found=(Match(message="订单不存在"),),
    )
    return Setup(
        connection=ConnectionName("wms"),
        settings=msgspec.structs.replace(settings, **changes),
        now=lambda: datetime.now(UTC),
        carriers=load_carriers(),
    )


@pytest.fixture
async def wms() -> AsyncIterator[FakeWms]:
    async with FakeWms(secret="s") as fake:
        yield fake


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=8) as client:
        yield client


async def test_create_and_cancel(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)

    assert await out.send(delivery(), deadline_s=5) == Done("W-SA1")
    assert await out.find(delivery(), deadline_s=5) == Found("W-SA1")
    assert await out.find(CANCEL, deadline_s=5) == NotFound()
    assert await out.send(CANCEL, deadline_s=5) == Done()
    assert await out.find(CANCEL, deadline_s=5) == Found("W-SA1")
    book = wms.books.orders["SA1"]
    assert (book.documents, book.cancelled, book.commands) == (1, True, ["create", "cancel"])
    assert wms.books.sums == {"CUP<1>": {"created": 2, "cancelled": 2}, "T": {"created": 1, "cancelled": 1}}
    assert wms.books.amounts_minor == {
        line.sku: line.quantity * line.price_minor for line in delivery().order.content.value.lines
    }


async def test_a_second_create_makes_a_second_document_at_a_wms_that_does_not_look(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    for _ in range(2):
        assert await out.send(delivery(), deadline_s=5) == Done("W-SA1")
    assert (wms.books.orders["SA1"].documents, wms.books.duplicates) == (2, 1)


async def test_a_duplicate_is_believed_after_a_query(http: Http) -> None:
    async with FakeWms(secret="s", dedupe=True) as wms:
        out = QimenTarget(setup_for(wms.url), http)
        await out.send(delivery(), deadline_s=5)

        assert await out.send(delivery(), deadline_s=5) == Done("W-SA1", already=True)
        wms.set_faults({"hang_share": 1.0, "commands": ["query"]})
        assert await out.send(delivery(), deadline_s=0.2) == Unknown(
            "duplicate", "S002 出库单 SA1 已存在", answered=True
        )
    assert (wms.books.orders["SA1"].documents, wms.books.repeats) == (1, 2)


async def test_a_document_that_the_wms_has_cancelled_is_no_created_order(http: Http) -> None:
    async with FakeWms(secret="s", dedupe=True) as wms:
        out = QimenTarget(setup_for(wms.url), http)
        await out.send(delivery(), deadline_s=5)
        await out.send(CANCEL, deadline_s=5)

        found = await out.find(delivery(), deadline_s=5)
        assert isinstance(found, Unknown) and found.answered and "cancelled" in found.message
        assert isinstance(await out.send(delivery(), deadline_s=5), Unknown)
        # Where the shop does not want the order any more, it is as it should be.
        unwanted = delivery()
        closed = msgspec.structs.replace(unwanted.order, closing=Register(1, 1, Closing(True)))
        unwanted = msgspec.structs.replace(unwanted, order=closed)
        assert await out.find(unwanted, deadline_s=5) == Found("W-SA1")


async def test_cancelling_twice_cancels_once(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    await out.send(delivery(), deadline_s=5)
    await out.send(CANCEL, deadline_s=5)

    assert await out.send(CANCEL, deadline_s=5) == Done("W-SA1", already=True)
    assert wms.books.orders["SA1"].commands == ["create", "cancel"]


async def test_a_cancel_that_comes_too_late_or_for_nothing(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    assert await out.send(CANCEL, deadline_s=5) == Rejected("not_found", "S404 订单不存在")
    await out.send(delivery(), deadline_s=5)
    await wms.ship("SA1")

    assert await out.send(CANCEL, deadline_s=5) == Rejected("cancel_refused", "S003 订单已出库，不能取消")
    assert await out.find(CANCEL, deadline_s=5) == NotFound()


async def test_not_found_counts_by_the_rule_only(wms: FakeWms, http: Http) -> None:
    assert await QimenTarget(setup_for(wms.url), http).find(delivery(), deadline_s=5) == NotFound()
    answer = await QimenTarget(setup_for(wms.url, **NO_RULE), http).find(delivery(), deadline_s=5)
    assert answer == Unknown("not_proven", "S404 订单不存在", answered=True)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"share_5xx": 1.0}, Failed("http_503", "HTTP 503")),
        ({"share_5xx": 1.0, "retry_after": "7"}, Failed("http_503", "HTTP 503", 7.0)),
        ({"share_5xx": 1.0, "status_5xx": 500}, Unknown("http_500", "HTTP 500")),
        ({"share_5xx": 1.0, "status_5xx": 502}, Unknown("http_502", "HTTP 502")),
        ({"share_5xx": 1.0, "status_5xx": 504}, Unknown("http_504", "HTTP 504", timeout=True)),
        ({"error_in_200_share": 1.0}, Unknown("gateway", "isp.internal-error 系统繁忙")),
        ({"throttle_per_s": 0.0, "retry_after": "3"}, Throttled(3.0, "HTTP 429")),
        (
            {"throttle_per_s": 0.0, "throttle_in_200": True},
            Throttled(2.0, "accesscontrol.limited-by-api-access-count This ban will last for 1 more seconds"),
        ),
        (
            {"garbage_share": 1.0},
            Unknown("unreadable", "the answer is not a Qimen envelope: is not an XML document"),
        ),
        ({"hang_share": 1.0}, Unknown("timeout", "no answer within 0.3 s", timeout=True)),
    ],
)
async def test_faults_become_answers(wms: FakeWms, http: Http, faults: dict[str, Any], expected: Answer) -> None:
    wms.set_faults(faults)

    assert await QimenTarget(setup_for(wms.url), http).send(delivery(), deadline_s=0.3) == expected
    assert bool(wms.books.effects) is ("garbage_share" in faults)


async def test_a_wms_that_takes_the_order_and_then_answers_500_is_asked_first(http: Http) -> None:
    async def serve(request: web.BaseRequest) -> web.Response:
        documents.append(await request.read())
        return web.Response(status=500)

    documents: list[bytes] = []
    async with served(serve) as url:
        assert await QimenTarget(setup_for(url), http).send(delivery(), deadline_s=5) == Unknown("http_500", "HTTP 500")
        sure = QimenTarget(setup_for(url, uncommitted_statuses=(500,)), http)
        assert await sure.send(delivery(), deadline_s=5) == Failed("http_500", "HTTP 500")
    assert len(documents) == 2


async def test_what_was_committed_without_an_answer_is_found(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    wms.set_faults({"commit_then_timeout_share": 1.0, "commands": ["create"]})

    assert isinstance(await out.send(delivery(), deadline_s=0.1), Unknown)
    assert await out.find(delivery(), deadline_s=5) == Found("W-SA1")


async def test_what_is_committed_late_is_not_found_at_first(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    wms.set_faults({"commit_late_share": 1.0, "late_by_s": 0.3, "commands": ["create"]})

    assert isinstance(await out.send(delivery(), deadline_s=0.1), Unknown)
    # Why a settle time is needed before "not found" may be believed.
    assert await out.find(delivery(), deadline_s=5) == NotFound()
    async with asyncio.timeout(5):
        while await out.find(delivery(), deadline_s=5) != Found("W-SA1"):
            pass
    assert wms.books.orders["SA1"].documents == 1


async def test_faults_of_first_attempts_only(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    wms.set_faults({"share_5xx": 1.0, "first_attempts_only": True})

    assert isinstance(await out.send(delivery(), deadline_s=5), Failed)
    assert isinstance(await out.send(delivery(), deadline_s=5), Done)


async def test_a_share_is_drawn_the_same_in_every_run(http: Http) -> None:
    async def run() -> list[bool]:
        async with FakeWms(secret="s") as wms:
            wms.set_faults({"share_5xx": 0.3, "seed": 7})
            out = QimenTarget(setup_for(wms.url), http)
            orders = [delivery(number=f"A{n}") for n in range(100)]
            answers = await asyncio.gather(*(out.send(order, deadline_s=5) for order in orders))
            return [isinstance(answer, Done) for answer in answers]

    first = await run()
    assert first == await run()
    assert 55 <= sum(first) <= 85


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (delivery(content=None), "content"),
        (delivery(content=msgspec.structs.replace(CONTENT, currency="USD")), "currency"),
        (delivery(Operation.SHIP), "unsupported"),
    ],
)
async def test_what_cannot_be_rendered_is_rejected_without_a_call(
    wms: FakeWms, http: Http, command: Delivery, code: str
) -> None:
    answer = await QimenTarget(setup_for(wms.url), http).send(command, deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == code
    assert wms.books.requests == 0


async def test_down_and_up_again(wms: FakeWms, http: Http) -> None:
    out = QimenTarget(setup_for(wms.url), http)
    answer = await http.post(wms.url + "/faults", b'{"down_s": 0.2}', deadline_s=5)
    assert answer.status == 200
    async with asyncio.timeout(5):
        while not isinstance(first := await out.send(delivery(), deadline_s=5), Failed):
            assert isinstance(first, Unknown | Done)
    assert first.code == "connect"
    async with asyncio.timeout(5):
        while not isinstance(await out.send(delivery(), deadline_s=5), Done):
            pass


async def test_a_wrong_secret(wms: FakeWms, http: Http) -> None:
    wrong = QimenTarget(setup_for(wms.url, secret="other"), http)

    answer = await wrong.send(delivery(), deadline_s=5)

    assert isinstance(answer, Failed) and answer.code == "auth"
    assert wms.books.refused == 1
    with pytest.raises(OrdergateError, match="signature") as refused:
        await wrong.check(deadline_s=5)
    assert is_told(refused.value.text)


async def test_check_changes_nothing(wms: FakeWms, http: Http) -> None:
    await QimenTarget(setup_for(wms.url), http).check(deadline_s=5)
    assert wms.books.orders == {}
    with pytest.raises(NotSent):
        await QimenTarget(setup_for("http://127.0.0.1:9/x"), http).check(deadline_s=5)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (answer("success"), Unknown),
        (answer("success", "<deliveryOrder><deliveryOrderCode>SA2</deliveryOrderCode></deliveryOrder>"), Unknown),
        (answer("success", "<deliveryOrder><deliveryOrderCode>SA1</deliveryOrderCode></deliveryOrder>"), Found),
        (answer("failure", "<code>500</code><message>db down</message>"), Unknown),
        ("<error_response><code>7</code></error_response>", Throttled),
        ("<error_response><code>15</code><sub_code>isp.remote-service-timeout</sub_code></error_response>", Unknown),
        ("<error_response><code>25</code><sub_msg>订单不存在</sub_msg></error_response>", Failed),
        ("oops", Unknown),
    ],
)
async def test_what_else_a_query_may_say(http: Http, said: str, found: type) -> None:
    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(body=said.encode(), content_type="text/xml")

    async with served(serve) as url:
        assert isinstance(await QimenTarget(setup_for(url), http).find(delivery(), deadline_s=5), found)
        if said == answer("success"):
            lenient = QimenTarget(setup_for(url, not_found_when_empty=True), http)
            assert await lenient.find(delivery(), deadline_s=5) == NotFound()


async def test_a_refused_query_proves_nothing_and_the_wms_is_well(http: Http) -> None:
    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(status=400)

    async with served(serve) as url:
        finding = await QimenTarget(setup_for(url), http).find(delivery(), deadline_s=5)
    assert finding == Unknown("http_4xx", "HTTP 400", answered=True)


@asynccontextmanager
async def served(handler: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL of a server that answers everything by `handler`."""
    server = web.Server(handler)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()
    await server.shutdown(0.1)


# --- the fake as a warehouse ------------------------------------------------------------------------------------


async def test_the_warehouse_ships_and_says_so(http: Http) -> None:
    facts: list[Facts] = []
    refused = 0
    done = asyncio.Event()

    async def hooks(request: web.BaseRequest) -> web.Response:
        nonlocal refused
        push = Push(
            method=request.method,
            query=dict(request.query),
            headers={},
            body=await request.read(),
            received_at=datetime.now(UTC),
        )
        if refused == 0:
            refused += 1
            return web.Response(status=503)
        facts.append(source.decode(source.admit(push)))
        reply = source.reply(None)
        if len(facts) == 7:
            done.set()
        return web.Response(status=reply.status, body=reply.body, content_type="text/xml")

    source = QimenSource(setup_for("http://127.0.0.1/x"))
    async with served(hooks) as url:
        warehouse = Warehouse(
            hooks_url=f"{url}/hooks/wms", reports=True, partial_share=1.0, duplicate_share=1.0, pause_s=0.01
        )
        async with FakeWms(secret="s", warehouse=warehouse) as wms:
            await QimenTarget(setup_for(wms.url), http).send(delivery(), deadline_s=5)
            async with asyncio.timeout(5):
                await done.wait()

    steps = [fact.progress[0].step for fact in facts[:3]]
    assert steps == [ProgressStep.ACCEPTED, ProgressStep.PICKING, ProgressStep.PACKING]
    part, part_again, final, final_again = (fact.confirmations[0] for fact in facts[3:])
    assert part == part_again and final == final_again
    assert (part.final, part.shipped) == (False, ((Sku("CUP<1>"), 1),))
    assert (final.final, final.shipped) == (True, ((Sku("CUP<1>"), 1), (Sku("T"), 1)))
    assert wms.books.orders["SA1"].commands == ["create", "ship_part", "ship"]
    assert wms.books.sums == {"CUP<1>": {"created": 2, "shipped": 2}, "T": {"created": 1, "shipped": 1}}


async def test_in_a_process_of_its_own_the_books_outlive_a_kill(http: Http, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "adapters.qimen.fake", "--port", "0", "--secret", "s"]
    command += ["--books", str(tmp_path / "books.jsonl")]

    async def start() -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        return process, (await process.stdout.readline()).decode().strip()

    process, url = await start()
    await QimenTarget(setup_for(url), http).send(delivery(), deadline_s=5)
    process.kill()
    await process.wait()
    process, url = await start()
    found = await QimenTarget(setup_for(url), http).find(delivery(), deadline_s=5)
    books = json.loads((await http.request("GET", url + "/books", deadline_s=5)).body)
    sums = json.loads((await http.request("GET", url + "/sums", deadline_s=5)).body)
    process.terminate()

    assert await process.wait() == 0
    assert found == Found("W-SA1")
    assert books["orders"]["SA1"]["documents"] == 1
    assert sums == {"CUP<1>": {"created": 2}, "T": {"created": 1}}
