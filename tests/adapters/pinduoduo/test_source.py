"""The way in, against a shop on loopback whose pages shift while they are read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.pinduoduo import fake as pinduoduo_fake
from adapters.pinduoduo import mapping
from adapters.pinduoduo.fake import FakeCase, FakeLine, FakePinduoduo
from adapters.pinduoduo.settings import Meaning, Refunds
from adapters.pinduoduo.source import PinduoduoSource
from adapters.pinduoduo.target import MOST_SKEW
from gateway.core.order import Order, OrderNumber, merge
from gateway.plugins import discover
from gateway.sdk.http import Http
from gateway.sdk.models import BadInput, Event, Failed, RefundStatus, Throttled, Unauthorised
from gateway.sdk.pull import Page, PullSource, Window
from tests.adapters.pinduoduo.shop import START, Clock, CountingBudget, access_of, settings_for, setup_for

SETTINGS = settings_for("http://127.0.0.1")
CUP = FakeLine(outer_id="CUP", quantity=2, price_minor=3990)
ORDERS = "0"
"""The position at which a window has its cases behind it."""


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=8) as client:
        yield client


def source_of(
    fake: FakePinduoduo, http: Http, clock: Clock, *, budget: CountingBudget | None = None, **settings: Any
) -> PinduoduoSource:
    return PinduoduoSource(setup_for(fake.router_url, now=clock, **settings), access_of(fake, http, budget=budget))


def window(clock: Clock) -> Window:
    """The newest the platform answers: up to three minutes ago."""
    end = clock().replace(microsecond=0) - timedelta(seconds=181)
    return Window(end - timedelta(minutes=30), end)


async def read(source: PullSource, asked: Window, position: str = "") -> list[Event]:
    events: list[Event] = []
    while True:
        page = await source.pull(asked, position, deadline_s=5)
        if isinstance(page, Failed):
            # As the engine does: the same again.
            assert page.code == "internal"
            continue
        assert isinstance(page, Page), page
        events += page.events
        if not page.next:
            return events
        position = page.next


async def test_an_order_comes_with_its_detail_untouched(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP], discount_minor=500)
        unseen = fake.place([CUP], pay=False)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)

        [event] = await read(source, window(clock))

        assert event.body == fake.render(order_sn)
        assert unseen not in event.id
    assert (event.type, event.order_key, event.time) == ("pinduoduo.order.v1", order_sn, START)
    assert event.id.startswith(f"{order_sn}/1777599000000/")
    facts = source.decode(event)
    assert (facts.order_no, facts.version) == (order_sn, 1777599000000)
    assert facts.content is not None and facts.content.total_minor == 7480


async def test_the_same_state_has_the_same_id_and_a_new_one_another(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP])
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        [first], [again] = await read(source, window(clock)), await read(source, window(clock))
        fake.open_refund(order_sn)
        clock.forward(minutes=4)
        [_, changed] = await read(source, window(clock))

    assert again == first
    assert changed.id != first.id
    assert source.decode(changed).refunds[0].status is RefundStatus.OPEN


async def test_a_second_that_is_not_over_is_left_to_a_later_window(http: Http) -> None:
    """Read within the second of a change, a state may be followed by another one of the same version."""
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP])
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        fake.on_page = lambda: fake.touch(order_sn)
        assert await read(source, window(clock), ORDERS) == []
        assert fake.pages == 1, "it was listed first, and then changed"

        fake.on_page = None
        fake.review(order_sn)
        clock.forward(minutes=4)
        [event] = await read(source, window(clock))
    facts = source.decode(event)
    assert facts.hold is not None and facts.hold.held


async def test_an_empty_window(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        source = source_of(fake, http, clock)
        assert await source.pull(window(clock), "", deadline_s=5) == Page((), ORDERS)
        assert await source.pull(window(clock), ORDERS, deadline_s=5) == Page(())


@settings(deadline=None, max_examples=30)
@given(
    orders=st.integers(0, 40),
    page_size=st.integers(1, 7),
    at_once=st.integers(1, 5),
    newest_first=st.booleans(),
    changes=st.lists(st.integers(0, 5), max_size=12),
    failing=st.sampled_from([0.0, 0.2, 0.5]),
    seed=st.integers(0, 1000),
)
def test_nothing_is_left_out_while_rows_move(
    orders: int, page_size: int, at_once: int, newest_first: bool, changes: list[int], failing: float, seed: int
) -> None:
    """After each page some orders of the window change, any of them, and details fail in the middle of a page. What was
    in the window at the start and is still in it at the end has been read; what left it stands in a later one."""

    async def play() -> None:
        clock = Clock()
        lots = random.Random(seed)
        left: set[str] = set()
        async with FakePinduoduo(now=clock, newest_first=newest_first) as fake, Http(connections=8) as http:
            placed = []
            for _ in range(orders):
                placed.append(fake.place([CUP]))
                clock.forward(seconds=lots.choice((0, 0, 1, 7)))
            clock.forward(seconds=190)
            waiting = list(changes)

            def change() -> None:
                for order_sn in lots.sample(placed, min(len(placed), waiting.pop() if waiting else 0)):
                    fake.touch(order_sn)
                    left.add(order_sn)

            fake.on_page = change
            fake.set_faults({"error_in_200_share": failing, "commands": ["detail"], "seed": seed})
            first = window(clock)
            source = source_of(fake, http, clock, page_size=page_size, details_at_once=at_once)
            read_now = {event.order_key for event in await read(source, first)}
            fake.on_page = None
            clock.forward(minutes=5)
            later = Window(first.end_at + timedelta(seconds=1), clock() - timedelta(seconds=181))
            read_later = {event.order_key for event in await read(source, later)}

        assert set(placed) - left <= read_now
        assert left <= read_later

    asyncio.run(play())


async def test_the_fake_s_pages_do_shift(http: Http) -> None:
    """The control: who reads from the first page to the last leaves rows out."""
    clock = Clock()
    async with FakePinduoduo(now=clock, churn=3) as fake:
        placed = {fake.place([CUP]) for _ in range(40)}
        clock.forward(minutes=4)
        asked = window(clock)
        source = source_of(fake, http, clock, page_size=5)
        forwards: set[str] = set()
        for page in range(1, 9):
            result = await source.pull(asked, str(page * 5), deadline_s=5)
            assert isinstance(result, Page)
            forwards |= {event.order_key for event in result.events}
        still_there = {sn for sn in placed if asked.start_at <= fake.orders[sn].updated_at <= asked.end_at}
        assert still_there - forwards

        fake.churn = 0
        backwards = {event.order_key for event in await read(source, asked)}
        assert still_there <= backwards


async def test_every_request_but_the_first_takes_a_turn(http: Http) -> None:
    clock, budget = Clock(), CountingBudget()
    async with FakePinduoduo(now=clock) as fake:
        for _ in range(7):
            fake.place([CUP])
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, budget=budget, page_size=3)

        first = await source.pull(window(clock), ORDERS, deadline_s=5)
        assert first == Page((), "7")
        assert budget.turns == 0
        last_page = await source.pull(window(clock), "7", deadline_s=5)
        assert isinstance(last_page, Page) and len(last_page.events) == 1 and last_page.next == "6"
        assert budget.turns == 1
        await source.pull(window(clock), "6", deadline_s=5)
        assert budget.turns == 4
        assert fake.books.requests == 3 + 4


@pytest.mark.feature("F7")
async def test_what_was_read_before_the_limit_is_kept_and_the_rest_follows(http: Http) -> None:
    clock, budget = Clock(), CountingBudget()
    async with FakePinduoduo(now=clock, rate_per_s=1e-9, burst=6) as fake:
        placed = [fake.place([CUP]) for _ in range(9)]
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, budget=budget, details_at_once=1)
        asked = window(clock)

        page = await source.pull(asked, ORDERS, deadline_s=5)
        assert isinstance(page, Page) and len(page.events) == 5 and page.next == "4"
        assert budget.pauses == [10.0]
        assert await source.pull(asked, page.next, deadline_s=5) == Throttled(10.0, THROTTLED)
        fake._turns = 100.0
        rest = await source.pull(asked, page.next, deadline_s=5)
        assert isinstance(rest, Page) and rest.next == ""
    assert [event.order_key for event in (*page.events, *rest.events)] == placed[::-1]


THROTTLED = "70031 调用过于频繁，请调整调用频率"


@pytest.mark.feature("F6")
async def test_an_ended_authorisation(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        fake.place([CUP])
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        fake.expire()
        answer = await source.pull(window(clock), ORDERS, deadline_s=5)
        assert isinstance(answer, Unauthorised) and answer.code == "10019"

        fake.authorise(lifetime_s=3600)
        assert len(await read(source, window(clock))) == 1


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ({"share_5xx": 1.0}, "http_503"),
        ({"share_5xx": 1.0, "status_5xx": 500}, "http_500"),
        ({"error_in_200_share": 1.0}, "internal"),
        ({"hang_share": 1.0}, "timeout"),
        ({"garbage_share": 1.0}, "unreadable"),
    ],
)
@pytest.mark.parametrize(("command", "position"), [("list", ORDERS), ("detail", ORDERS), ("cases", ""), ("detail", "")])
async def test_faults_end_in_failed(http: Http, faults: dict[str, Any], code: str, command: str, position: str) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        fake.open_refund(fake.place([CUP]))
        clock.forward(minutes=4)
        fake.set_faults({**faults, "commands": [command]})
        answer = await source_of(fake, http, clock).pull(window(clock), position, deadline_s=0.2)
        assert isinstance(answer, Failed) and answer.code == code


# --- after-sale cases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moves", [True, False])
async def test_a_refund_is_found_whether_or_not_it_moves_the_order_s_own_time(http: Http, moves: bool) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        fake.cases_move_orders = moves
        order_sn = fake.place([CUP])
        clock.forward(days=5)
        number = fake.open_refund(order_sn, amount_minor=500)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        opened, *orders = await read(source, window(clock))
        assert [event.order_key for event in orders] == [order_sn] * moves
        assert (opened.type, opened.order_key) == ("pinduoduo.refund.v1", order_sn)
        assert opened.time == START + timedelta(days=5)
        assert await read(source, window(clock)) == [opened, *orders], "the same state, the same events"

        fake.finish_refund(order_sn)
        clock.forward(minutes=4)
        finished = (await read(source, window(clock)))[0]
    asked, paid_back = source.decode(opened), source.decode(finished)
    assert [(one.refund_id, one.status, one.amount_minor) for one in asked.refunds] == [
        (order_sn, RefundStatus.OPEN, 0),
        (str(number), RefundStatus.OPEN, 500),
    ]
    assert [(one.refund_id, one.status, one.amount_minor) for one in paid_back.refunds] == [
        (order_sn, RefundStatus.REJECTED, 0),
        (str(number), RefundStatus.DONE, 500),
    ]
    assert paid_back.hold is not None and paid_back.hold.held and paid_back.version > asked.version


async def test_the_cases_of_a_window_come_before_its_orders(http: Http) -> None:
    """So that a refund in full is known as one before the order says that there is a refund."""
    clock, budget = Clock(), CountingBudget()
    async with FakePinduoduo(now=clock) as fake:
        placed = [fake.place([CUP]) for _ in range(3)]
        for order_sn in placed:
            fake.finish_refund(order_sn)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, budget=budget, page_size=2)
        assert await source.pull(window(clock), "", deadline_s=5) == Page((), "c0:3")
        assert budget.turns == 0, "the engine has taken the one for the first request"
        last = await source.pull(window(clock), "c0:3", deadline_s=5)
        assert isinstance(last, Page) and (len(last.events), last.next) == (1, "c0:2") and budget.turns == 1
        first = await source.pull(window(clock), "c0:2", deadline_s=5)
        assert isinstance(first, Page) and (len(first.events), first.next) == (2, ORDERS) and budget.turns == 3
        types = [event.type for event in await read(source, window(clock))]
    assert types == ["pinduoduo.refund.v1"] * 3 + ["pinduoduo.order.v1"] * 3


@settings(deadline=None, max_examples=15)
@given(
    cases=st.integers(0, 25),
    page_size=st.integers(1, 7),
    newest_first=st.booleans(),
    changes=st.lists(st.integers(0, 5), max_size=12),
    failing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_no_case_is_left_out_while_rows_move(
    cases: int, page_size: int, newest_first: bool, changes: list[int], failing: float, seed: int
) -> None:
    async def play() -> None:
        clock = Clock()
        lots = random.Random(seed)
        moved: set[str] = set()
        async with FakePinduoduo(now=clock, newest_first=newest_first) as fake, Http(connections=8) as http:
            fake.cases_move_orders = False
            placed = [fake.place([CUP]) for _ in range(cases)]
            clock.forward(hours=2)
            for order_sn in placed:
                fake.open_refund(order_sn)
                clock.forward(seconds=lots.choice((0, 0, 1, 7)))
            clock.forward(seconds=190)
            waiting = list(changes)

            def change() -> None:
                for order_sn in lots.sample(placed, min(len(placed), waiting.pop() if waiting else 0)):
                    if order_sn not in moved:
                        fake.finish_refund(order_sn)
                        moved.add(order_sn)

            fake.on_page = change
            fake.set_faults({"error_in_200_share": failing, "commands": ["detail", "cases"], "seed": seed})
            first = window(clock)
            source = source_of(fake, http, clock, page_size=page_size)
            read_now = {event.order_key for event in await read(source, first)}
            fake.on_page = None
            clock.forward(minutes=5)
            later = Window(first.end_at + timedelta(seconds=1), clock() - timedelta(seconds=181))
            events = [event for event in await read(source, later) if event.type == mapping.CASE_TYPE]

        assert set(placed) - moved <= read_now
        assert moved <= {event.order_key for event in events}
        done = {event.order_key for event in events if source.decode(event).refunds[-1].status is RefundStatus.DONE}
        assert done == moved

    asyncio.run(play())


async def test_a_case_whose_order_changes_that_very_second_comes_without_it(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP])
        fake.open_refund(order_sn)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        fake.touch(order_sn)
        [event] = await read(source, window(clock))
        clock.forward(minutes=4)
        [*_, later] = await read(source, window(clock))
    facts = source.decode(event)
    assert [one.status for one in facts.refunds] == [RefundStatus.OPEN] and facts.payment is None
    assert event.time == START and later.type == mapping.EVENT_TYPE


async def test_a_limit_in_the_middle_of_the_cases_keeps_what_was_read(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock, rate_per_s=1e-9, burst=4) as fake:
        placed = [fake.place([CUP]) for _ in range(6)]
        for order_sn in placed:
            fake.open_refund(order_sn)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, details_at_once=1)
        page = await source.pull(window(clock), "", deadline_s=5)
        assert isinstance(page, Page) and (len(page.events), page.next) == (3, "c0:3")
        assert await source.pull(window(clock), page.next, deadline_s=5) == Throttled(10.0, THROTTLED)
        fake._turns = 100.0
        rest = await source.pull(window(clock), page.next, deadline_s=5)
    assert isinstance(rest, Page) and rest.next == ORDERS
    assert [event.order_key for event in (*page.events, *rest.events)] == placed[::-1]


async def test_every_status_that_the_settings_name_is_asked_for(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        opened, finished, withdrawn = (fake.place([CUP]) for _ in range(3))
        clock.forward(hours=1)
        fake.cases_move_orders = False
        fake.open_refund(opened)
        fake.finish_refund(finished)
        fake.withdraw_refund(withdrawn)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, refund_queries=(2, 10))
        assert await source.pull(window(clock), "c7:3", deadline_s=5) != Page(()), "the settings have changed: anew"
        events = await read(source, window(clock))
        assert [event.order_key for event in events] == [opened, finished]


@pytest.mark.parametrize("refunds", [Refunds.HOLD, Refunds.ALL])
async def test_a_list_of_cases_that_may_not_be_read_is_left_alone_where_the_settings_say_so(
    http: Http, refunds: Refunds
) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        fake.cases_listed = False
        order_sn = fake.place([CUP])
        fake.finish_refund(order_sn)
        clock.forward(minutes=4)
        answer = await source_of(fake, http, clock).pull(window(clock), "", deadline_s=5)
        assert isinstance(answer, Failed) and answer.code == "permission"
        [event] = await read(source_of(fake, http, clock, refunds=refunds), window(clock))
    assert (event.type, event.order_key) == (mapping.EVENT_TYPE, order_sn)


async def test_a_case_whose_order_is_refused_comes_without_it(http: Http) -> None:
    """What it pays back is known. As a letter that holds nothing, a later reading of the order would close it."""
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP])
        clock.forward(hours=1)
        fake.finish_refund(order_sn)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        kept = dict(fake.orders)
        fake.on_page = fake.orders.clear
        page = await source.pull(window(clock), "", deadline_s=5)
        fake.on_page = None
        fake.orders.update(kept)
        [order_now] = await read(source, window(clock), ORDERS)
    assert isinstance(page, Page) and page.next == ORDERS
    [event] = page.events
    assert (event.type, event.order_key) == (mapping.CASE_TYPE, order_sn)
    assert event.time == START + timedelta(hours=1)
    facts = source.decode(event)
    assert [(one.status, one.amount_minor) for one in facts.refunds] == [(RefundStatus.DONE, 7980)]
    assert facts.payment is None and facts.hold is None
    for told in ([event, order_now], [order_now, event]):
        order = Order(number=OrderNumber(order_sn))
        for one in told:
            order = merge(order, source.decode(one), one.source)
        assert order.refunded and not order.refund_open


async def test_a_case_whose_order_the_platform_always_fails_at_comes_without_it(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        good, bad = fake.place([CUP]), fake.place([CUP])
        clock.forward(hours=1)
        fake.cases_move_orders = False
        for order_sn in (good, bad):
            fake.finish_refund(order_sn)
        fake.touch(good)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, detail_tries=3, details_at_once=1)
        fake.orders[bad].broken = True
        events = await read(source, window(clock))
    assert [event.order_key for event in events] == [bad, good, good]
    assert [source.decode(event).payment is None for event in events] == [True, False, False]


NAMELESS: dict[str, Any] = {
    "without": {},
    "null": {"order_sn": None},
    "empty": {"order_sn": ""},
    "other": {"order_sn": 7},
}


@pytest.mark.parametrize("changes", NAMELESS.values(), ids=NAMELESS)
async def test_a_case_without_the_number_of_its_order_is_set_aside_by_itself(
    http: Http, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, budget = Clock(), CountingBudget()
    async with FakePinduoduo(now=clock) as fake:
        fake.cases_move_orders = False
        first, bad, last = (fake.place([CUP]) for _ in range(3))
        clock.forward(hours=1)
        for order_sn in (first, bad, last):
            fake.finish_refund(order_sn)
        clock.forward(minutes=4)
        render = FakePinduoduo._case_row

        def damaged(self: FakePinduoduo, case: FakeCase) -> dict[str, Any]:
            row = render(self, case)
            if case.order_sn != bad:
                return row
            del row["order_sn"]
            return row | changes

        monkeypatch.setattr(FakePinduoduo, "_case_row", damaged)
        source = source_of(fake, http, clock, budget=budget)
        events = await read(source, window(clock))
        assert await read(source, window(clock)) == events, "the same state, the same events"
    assert [event.order_key for event in events] == [last, "", first]
    letter = events[1]
    assert (letter.type, letter.time) == (mapping.CASE_TYPE, START + timedelta(hours=1))
    with pytest.raises(BadInput) as refused:
        source.decode(letter)
    assert refused.value.code != "unread" and refused.value.advice, "it holds what the platform said"
    case = msgspec.json.decode(letter.body)["refund"] | {"order_sn": bad}
    repaired = msgspec.structs.replace(letter, body=mapping.case_body(msgspec.json.encode(case), None))
    assert source.decode(repaired).refunds[0].amount_minor == 7980, "repaired, it counts"


async def test_a_list_of_cases_none_of_which_names_its_order_is_another_list(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        for order_sn in [fake.place([CUP]) for _ in range(4)]:
            fake.open_refund(order_sn)
        clock.forward(minutes=4)
        monkeypatch.setattr(FakePinduoduo, "_case_row", lambda self, case: {"id": case.id, "order": case.order_sn})
        answer = await source_of(fake, http, clock).pull(window(clock), "", deadline_s=5)
    assert isinstance(answer, Failed) and answer.code == "shape"


@pytest.mark.parametrize("taken", [True, False])
async def test_a_lottery_order_that_is_not_wanted_does_not_come_by_its_case(http: Http, taken: bool) -> None:
    """The list of cases, unlike that of the orders, cannot leave them out."""
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        won, bought = fake.place([CUP]), fake.place([CUP])
        fake.orders[won].lottery = True
        for order_sn in (won, bought):
            fake.withdraw_refund(order_sn)
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, lottery_orders=taken, page_size=1)
        events = await read(source, window(clock))
        assert [event.order_key for event in events] == ([bought, won] if taken else [bought]) * 2
        fake.touch(won)
        cases = [event for event in await read(source, window(clock)) if event.type == mapping.CASE_TYPE]
    assert [event.order_key for event in cases] == ([bought, won] if taken else [bought])


@pytest.mark.parametrize(
    ("flag", "taken"), [("2", False), (1, True), (0, True), (None, True), ("x", True), ([2], True)]
)
async def test_only_an_order_that_says_so_is_a_lottery_order(
    http: Http, flag: Any, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP])
        clock.forward(minutes=4)
        render = pinduoduo_fake._order_info
        monkeypatch.setattr(pinduoduo_fake, "_order_info", lambda order: {**render(order), "is_lucky_flag": flag})
        events = await read(source_of(fake, http, clock, lottery_orders=False), window(clock))
    assert [event.order_key for event in events] == [order_sn] * taken


async def test_a_window_the_platform_refuses(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        source = source_of(fake, http, clock)
        for start, end in ((timedelta(minutes=40), timedelta(minutes=5)), (timedelta(minutes=5), timedelta(minutes=1))):
            answer = await source.pull(Window(clock() - start, clock() - end), ORDERS, deadline_s=5)
            assert isinstance(answer, Failed) and answer.code == "business"


def test_the_manifest_keeps_to_the_platform_s_windows() -> None:
    manifest = discover().manifests["pinduoduo"]
    assert manifest.pull is not None
    assert manifest.pull.window_s <= 1800
    assert manifest.pull.delay_s >= 180 + MOST_SKEW.total_seconds()


async def test_an_order_whose_detail_is_refused_is_kept_and_refused(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        good, gone = fake.place([CUP]), fake.place([CUP])
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        fake.on_page = lambda: fake.orders.pop(gone) and None
        bad, event = await read(source, window(clock), ORDERS)

    assert (event.order_key, bad.order_key, bad.time) == (good, gone, START)
    source.decode(event)
    with pytest.raises(BadInput, match="（40001）") as refused:
        source.decode(bad)
    assert refused.value.code == "unread" and refused.value.advice
    assert "40001 订单不存在" in bad.body.decode()


async def test_an_order_the_platform_always_fails_at_stops_nobody_else(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        [*good, bad] = [fake.place([CUP]) for _ in range(5)]
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, detail_tries=3, details_at_once=2)
        fake.orders[bad].broken = True

        for _ in range(2):
            assert isinstance(await source.pull(window(clock), ORDERS, deadline_s=5), Failed)
        events = await read(source, window(clock))

    assert [event.order_key for event in events] == [bad, *good[::-1]]
    with pytest.raises(BadInput, match="50001"):
        source.decode(events[0])


async def test_an_order_whose_detail_fails_in_any_other_way_stops_nobody_else(http: Http) -> None:
    """Not only with the platform's own words: a code of which the table says *our configuration* may be one order's."""
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        good, bad = fake.place([CUP]), fake.place([CUP])
        clock.forward(minutes=4)
        errors = {"50001": Meaning.CONFIGURATION}
        source = source_of(fake, http, clock, detail_tries=3, errors=errors)
        fake.orders[bad].broken = True
        for _ in range(2):
            answer = await source.pull(window(clock), ORDERS, deadline_s=5)
            assert isinstance(answer, Failed) and answer.code == "configuration"
        events = await read(source, window(clock))
    assert [event.order_key for event in events] == [bad, good]


@pytest.mark.parametrize("orders", [1, 5])
async def test_a_platform_that_fails_at_every_order_sets_none_aside(http: Http, orders: int) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        placed = [fake.place([CUP]) for _ in range(orders)]
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, detail_tries=2, details_at_once=2)
        for order_sn in placed:
            fake.orders[order_sn].broken = True
        for _ in range(6):
            assert isinstance(await source.pull(window(clock), ORDERS, deadline_s=5), Failed)
        for order_sn in placed:
            fake.orders[order_sn].broken = False
        events = await read(source, window(clock))
    assert [event.order_key for event in events] == placed[::-1]
    assert all(source.decode(event).order_no for event in events)


@pytest.mark.parametrize("apart_s", [3600.0, -3600.0, -20 * 3600.0])
async def test_an_order_alone_in_its_window_is_compared_with_one_of_another_time(http: Http, apart_s: float) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        other = fake.place([CUP]) if apart_s < 0 else ""
        clock.forward(seconds=max(0.0, -apart_s))
        bad = fake.place([CUP])
        fake.orders[bad].broken = True
        clock.forward(minutes=4)
        asked = window(clock)
        source = source_of(fake, http, clock, detail_tries=2)
        if apart_s > 0:
            for _ in range(4):
                assert isinstance(await source.pull(asked, ORDERS, deadline_s=5), Failed), "nothing to compare with"
            clock.forward(seconds=apart_s)
            other = fake.place([CUP])
            clock.forward(minutes=4)
        else:
            assert isinstance(await source.pull(asked, ORDERS, deadline_s=5), Failed)
        [event] = await read(source, asked)
        assert fake.orders[other].requests["detail"] == 1
    assert event.order_key == bad
    with pytest.raises(BadInput, match="50001"):
        source.decode(event)


async def test_a_platform_that_refuses_every_order_does_not_set_the_shop_aside(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        orders = [fake.place([CUP]) for _ in range(12)]
        clock.forward(minutes=4)
        source = source_of(fake, http, clock, details_at_once=1, detail_tries=4)
        kept = dict(fake.orders)
        fake.on_page = fake.orders.clear  # listed, and every detail is refused
        first = await source.pull(window(clock), ORDERS, deadline_s=5)
        assert isinstance(first, Page) and [event.order_key for event in first.events] == orders[:-4:-1]
        fake.on_page = None
        for _ in range(2):
            fake.orders.update(kept)
            fake.on_page = fake.orders.clear
            refused = await source.pull(window(clock), first.next, deadline_s=5)
            assert isinstance(refused, Failed) and refused.code == "business"

        fake.on_page = None
        fake.orders.update(kept)
        rest = await source.pull(window(clock), first.next, deadline_s=5)
    assert isinstance(rest, Page) and [event.order_key for event in rest.events] == orders[-4::-1]
    assert all(source.decode(event).order_no for event in rest.events)


@pytest.mark.parametrize("seed", range(6))
async def test_a_day_of_a_shop_ends_with_what_the_shop_says(http: Http, seed: int) -> None:
    """Six hours in windows that overlap, while orders are placed and live their lives and pages shift. Merged in any
    order, the events amount to what the platform says at the end, with the receivers it showed on the way."""
    clock, lots = Clock(), random.Random(seed)
    manifest = discover().manifests["pinduoduo"].pull
    assert manifest is not None
    events: dict[str, Event] = {}
    async with FakePinduoduo(now=clock, churn=1, newest_first=bool(seed % 2)) as fake:
        fake.cases_move_orders = seed < 3
        source = source_of(fake, http, clock, page_size=4)
        fake.set_faults({"error_in_200_share": 0.1, "commands": ["detail", "cases"], "seed": seed})
        read_to = clock()

        async def poll() -> None:
            nonlocal read_to
            end = clock().replace(microsecond=0) - timedelta(seconds=manifest.delay_s)
            start = read_to - timedelta(seconds=manifest.overlap_s)
            asked = Window(start, min(end, start + timedelta(seconds=manifest.window_s)))
            if asked.end_at > read_to:
                events.update({event.id: event for event in await read(source, asked)})
                read_to = asked.end_at

        for _ in range(120):
            for _ in range(lots.randrange(3)):
                fake.place([CUP], pay=lots.random() < 0.8)
            for order_sn in lots.sample(sorted(fake.orders), min(4, len(fake.orders))):
                live(fake, order_sn, lots)
            clock.forward(seconds=lots.randrange(1, 360))
            await poll()
        fake.churn = 0
        for _ in range(4):
            clock.forward(minutes=20)
            await poll()
        ends = {sn: mapping.decode(fake.render(sn), SETTINGS) for sn, one in fake.orders.items() if one.concluded_at}

    orders: dict[str, Order] = {}
    for event in lots.sample(list(events.values()), len(events)):
        order = orders.get(event.order_key, Order(number=OrderNumber(event.order_key)))
        orders[event.order_key] = merge(order, source.decode(event), event.source)
    assert orders.keys() == ends.keys() and len(ends) > 60
    for order_sn, end in ends.items():
        order = orders[order_sn]
        assert order.payment is not None and order.payment.value == end.payment
        assert order.hold is not None and order.hold.value == end.hold
        assert order.closing is not None and order.closing.value == end.closing
        assert set(end.refunds) <= {one.value for one in order.refunds.values()}
        cases = [case for case in fake.cases.values() if case.order_sn == order_sn]
        assert {number: one.value.amount_minor for number, one in order.refunds.items() if number != order_sn} == {
            str(case.id): case.amount_minor for case in cases
        }
        assert order.refund_open is any(case.status == 2 for case in cases)
        assert order.refunded is any(case.status == 10 and case.amount_minor == 7980 for case in cases)
        if order.content is not None:
            assert order.content.value.receiver.token
    assert sum(order.content is not None for order in orders.values()) > len(orders) / 2


def live(fake: FakePinduoduo, order_sn: str, lots: random.Random) -> None:
    """One more step in the life of an order."""
    order = fake.orders[order_sn]
    if order.concluded_at is None:
        fake.pay(order_sn)
        fake.conclude(order_sn)
    elif order.under_review:
        fake.release(order_sn)
    elif order.confirm_status == mapping.CANCELLED or order.refund_status == 4:
        fake.touch(order_sn)
    elif order.refund_status == 2:
        lots.choice((fake.withdraw_refund, fake.finish_refund))(order_sn)
    elif order.order_status == mapping.SHIPPED:
        fake.sign(order_sn)
    elif lots.random() < 0.4:
        fake.ship_by_hand(order_sn, logistics_id=44, tracking_number=f"SF{order_sn}")
    else:
        lots.choice((fake.review, partly(fake), fake.open_refund, fake.cancel, fake.touch))(order_sn)


def partly(fake: FakePinduoduo) -> Callable[[str], object]:
    return lambda order_sn: fake.open_refund(order_sn, amount_minor=500)


async def test_another_order_than_was_asked_for_is_refused(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        fake.place([CUP])
        clock.forward(minutes=4)
        source = source_of(fake, http, clock)
        [event] = await read(source, window(clock))
    other = Event(id=event.id, source=event.source, type=event.type, order_key="X", time=event.time, body=event.body)
    with pytest.raises(BadInput, match="not the order"):
        source.decode(other)


async def test_the_life_of_an_order_as_the_fake_tells_it(http: Http) -> None:
    """What the platform shows at each step is what `decode` expects of it."""
    clock = Clock()
    async with FakePinduoduo(now=clock) as fake:
        order_sn = fake.place([CUP], gifts=[FakeLine(outer_id="BAG")], discount_minor=80, postage_minor=600)

        def told() -> Any:
            return mapping.decode(fake.render(order_sn), SETTINGS)

        assert told().content.total_minor == 8500 and told().content.receiver.token
        fake.review(order_sn)
        assert told().hold.held and told().content is None
        fake.release(order_sn)
        assert not told().hold.held and told().content is not None
        fake.open_refund(order_sn)
        assert told().refunds[0].status is RefundStatus.OPEN
        fake.withdraw_refund(order_sn)
        assert told().refunds[0].status is RefundStatus.REJECTED
        fake.ship_by_hand(order_sn, logistics_id=44, tracking_number="SF1")
        assert told().left and told().content is None
        fake.sign(order_sn)
        assert told().rank > mapping.RANK_SIGNED
        fake.finish_refund(order_sn)
        assert told().refunds[0].status is RefundStatus.REJECTED, "nothing is open any more"
        fake.cancel(order_sn)
        assert told().closing.closed
