"""The way in: nothing is left out while the shop goes on, and what a shop answers decides what happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from adapters.taobao.fake import BUSY, FREQUENT, QUOTA
from adapters.taobao.source import DETAIL, LIST, MOST_ODDITIES, TaobaoSource
from gateway.plugins import discover
from gateway.sdk.http import Http
from gateway.sdk.models import BadInput, Event, Failed, Throttled, Token, Unauthorised
from gateway.sdk.pull import Page, Pulled, Window
from tests.adapters.taobao.support import CUP, START, Shop


def until_now(shop: Shop, *, span_s: float = 1800.0) -> Window:
    """The window that ends a second before the shop's now."""
    end = shop.clock.now() - timedelta(seconds=1)
    return Window(end - timedelta(seconds=span_s), end)


async def read(source: TaobaoSource, window: Window) -> list[Event]:
    """All of a window, as the engine goes through it."""
    events: list[Event] = []
    position = ""
    for _ in range(1000):
        page = await source.pull(window, position, deadline_s=5)
        assert isinstance(page, Page), page
        events += page.events
        if not page.next:
            return events
        position = page.next
    raise AssertionError("the window never ends")


def keys(events: list[Event]) -> list[str]:
    return sorted({event.order_key for event in events})


async def test_a_trade_becomes_an_event_with_its_untouched_detail(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP], paid=True, freight_minor=500, note="请放门口")
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(), shop.access(http))

    (event,) = await read(source, until_now(shop))
    assert (event.source, event.type, event.order_key, event.time) == ("shop-tb", "taobao.trade.v1", tid, START)
    assert event.id.startswith(f"{tid}/1777599000000/")
    detail = msgspec.json.decode(event.body)
    assert (detail["tid_str"], detail["oaid"], detail["receiver_name"]) == (tid, f"1oaid{tid[-12:]}", "张**")
    facts = source.decode(event)
    assert facts.content is not None and facts.payment is not None
    assert (facts.payment.paid, facts.payment.amount_minor, facts.content.total_minor) == (True, 6480, 6480)
    assert await read(source, until_now(shop)) == [event]


async def test_another_trade_than_was_asked_for_is_refused(shop: Shop, http: Http) -> None:
    shop.fake.place([CUP], paid=True)
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(), shop.access(http))
    (event,) = await read(source, until_now(shop))
    with pytest.raises(BadInput, match="not the trade") as caught:
        source.decode(msgspec.structs.replace(event, order_key="1"))
    assert (caught.value.code, caught.value.where) == ("value", "$.tid")


async def test_both_forms_of_lists_read(http: Http) -> None:
    shop = Shop(wrapped=False)
    async with shop.fake:
        tids = [shop.fake.place([CUP, CUP]) for _ in range(3)]
        shop.clock.advance(10)
        events = await read(TaobaoSource(shop.setup(page_size=2), shop.access(http)), until_now(shop))
    assert keys(events) == tids


async def test_an_empty_window_costs_one_question(shop: Shop, http: Http) -> None:
    source = TaobaoSource(shop.setup(), shop.access(http))
    assert await source.pull(until_now(shop), "", deadline_s=5) == Page(())
    assert await source.pull(Window(START, START), "", deadline_s=5) == Page(())
    assert (shop.budget.turns, shop.fake.calls) == (0, {LIST: 2})


async def test_no_kind_of_trade_is_left_out(shop: Shop, http: Http) -> None:
    """Without `type` the platform leaves `fixed` and others out; the shop here does, too."""
    tids = [shop.fake.place([CUP], kind=kind) for kind in ("fixed", "cod", "step", "fenxiao", "nopaid")]
    shop.clock.advance(10)
    assert keys(await read(TaobaoSource(shop.setup(), shop.access(http)), until_now(shop))) == tids
    few = TaobaoSource(shop.setup(types=("cod",)), shop.access(http))
    assert keys(await read(few, until_now(shop))) == [tids[1]]


async def test_every_request_but_the_first_takes_a_turn(shop: Shop, http: Http) -> None:
    for _ in range(5):
        shop.fake.place([CUP])
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(page_size=2), shop.access(http))
    pulls = 0
    position = ""
    while True:
        page = await source.pull(until_now(shop), position, deadline_s=5)
        assert isinstance(page, Page)
        pulls += 1
        position = page.next
        if not position:
            break
    assert shop.budget.turns == sum(shop.fake.calls.values()) - pulls
    # Three pages, the total before them, two questions at the end.
    assert (pulls, shop.fake.calls) == (4, {LIST: 6, DETAIL: 5})


# --- paging while the shop goes on ----------------------------------------------------------------------------------


@pytest.mark.feature("F3")
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("seed", range(12))
async def test_nothing_is_left_out_while_rows_move(http: Http, seed: int, newest_first: bool) -> None:
    """Trades change between any two requests. Whatever was in the window when it began is read in it, or has left it
    with a later change, which the next window reads."""
    draw = random.Random(seed)
    shop = Shop(newest_first=newest_first)
    async with shop.fake:
        tids = []
        for _ in range(60):
            shop.clock.advance(draw.choice([0, 0, 1, 7]))
            tids.append(shop.fake.place([CUP]))
        shop.clock.advance(2)
        source = TaobaoSource(shop.setup(page_size=draw.choice([1, 3, 7, 20]), details_at_once=3), shop.access(http))
        seen: dict[str, list[datetime]] = {tid: [] for tid in tids}

        def move(_: str) -> None:
            shop.clock.advance(draw.choice([0, 0, 0, 1]))
            for _ in range(draw.choice([0, 0, 1, 2])):
                shop.fake.remark(draw.choice(tids), f"memo {draw.random()}")
            if draw.random() < 0.1:
                tids.append(shop.fake.place([CUP]))
                seen[tids[-1]] = []

        shop.fake.between = move
        for _ in range(6):
            window = until_now(shop, span_s=300)
            for event in await read(source, window):
                seen[event.order_key].append(event.time)
            for tid in tids:
                inside = window.start_at <= shop.fake.trades[tid].modified <= window.end_at
                assert not inside or seen[tid][-1:] == [shop.fake.trades[tid].modified]
        shop.fake.between = None
        shop.clock.advance(2)
        for event in await read(source, until_now(shop)):
            seen[event.order_key].append(event.time)
    for tid in tids:
        assert shop.fake.trades[tid].modified in seen[tid]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_window_that_reaches_into_now_is_walked_again(http: Http, newest_first: bool) -> None:
    """The platform's clock may be behind ours: then rows move *into* the window, and push unread ones away."""
    shop = Shop(newest_first=newest_first)
    async with shop.fake:
        tids = [shop.fake.place([CUP]) for _ in range(9) if shop.clock.advance(1) is None]
        shop.clock.advance(1)
        window = Window(START, shop.clock.now() + timedelta(seconds=60))
        moves: Iterator[Callable[[], Any]] = iter(
            [
                lambda: shop.fake.remark(tids[4]),  # moves within the window, the total stays
                lambda: tids.append(shop.fake.place([CUP])),  # a new row
            ]
        )
        asked = 0

        def move(method: str) -> None:
            nonlocal asked
            asked += method == LIST
            if method == LIST and asked in (3, 6):
                shop.clock.advance(1)
                next(moves)()

        shop.fake.between = move
        events = await read(TaobaoSource(shop.setup(page_size=2), shop.access(http)), window)
        times = {event.order_key: event.time for event in events}
    assert times == {tid: shop.fake.trades[tid].modified for tid in tids}


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("comes", ["changed", "late"])
async def test_what_comes_into_a_window_that_is_being_walked_is_read(
    http: Http, comes: str, newest_first: bool
) -> None:
    """Alone, each is seen by one of the two questions at the end: a later modification, or one row more."""
    shop = Shop(newest_first=newest_first)
    async with shop.fake:
        tids = [shop.fake.place([CUP]) for _ in range(9) if shop.clock.advance(1) is None]
        shop.clock.advance(1)
        window = Window(START, shop.clock.now() + timedelta(seconds=60))
        asked = 0

        def move(method: str) -> None:
            nonlocal asked
            asked += method == LIST
            if method != LIST or asked != 5:
                return
            if comes == "changed":
                shop.clock.advance(1)
                shop.fake.remark(tids[4])
            else:  # the list is behind the trades
                tids.append(shop.fake.place([CUP]))
                shop.fake.trades[tids[-1]].modified = shop.fake.trades[tids[1 if newest_first else -2]].modified

        shop.fake.between = move
        events = await read(TaobaoSource(shop.setup(page_size=2), shop.access(http)), window)
        times = {event.order_key: event.time for event in events}
    assert times == {tid: shop.fake.trades[tid].modified for tid in tids}


async def test_rows_that_cannot_be_read_are_kept_and_end_no_walk(shop: Shop, http: Http) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(5)]
    shop.clock.advance(10)
    shop.fake.trades[tids[2]].detail["tid"] = "new kind"
    source = TaobaoSource(shop.setup(page_size=2), shop.access(http))
    events = await read(source, until_now(shop))
    assert keys(events) == ["", tids[0], tids[1], tids[3], tids[4]]
    with pytest.raises(BadInput) as caught:
        source.decode(next(event for event in events if not event.order_key))
    assert caught.value.where == "$.tid"


async def test_a_position_of_another_release_begins_the_window_anew(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP])
    shop.clock.advance(10)
    page = await TaobaoSource(shop.setup(), shop.access(http)).pull(until_now(shop), "page 7", deadline_s=5)
    assert isinstance(page, Page) and keys(list(page.events)) == [tid]


# --- what the shop answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FREQUENT, Throttled(2.0, f"7 {FREQUENT['sub_code']} {FREQUENT['sub_msg']}")),
        (QUOTA, Throttled(14.5 * 3600, f"7 {QUOTA['sub_code']} App Call Limited")),
        (BUSY, Failed("platform", f"15 {BUSY['sub_code']} 系统繁忙")),
        ({"code": 27}, Unauthorised("session", "27")),
        ({"code": 25, "msg": "Invalid Signature"}, Failed("signature", "25 Invalid Signature")),
        ({"code": 31, "msg": "Invalid Timestamp"}, Failed("clock", "31 Invalid Timestamp")),
    ],
)
@pytest.mark.parametrize("method", [LIST, DETAIL])
async def test_errors_inside_200(shop: Shop, http: Http, error: dict[str, Any], expected: Pulled, method: str) -> None:
    tid = shop.fake.place([CUP])
    shop.clock.advance(1)
    source = TaobaoSource(shop.setup(), shop.access(http))
    window = until_now(shop)
    shop.fake.refuse(method, error)

    assert await source.pull(window, "", deadline_s=5) == expected
    page = await source.pull(window, "", deadline_s=5)
    assert isinstance(page, Page) and keys(list(page.events)) == [tid]


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ({"share_5xx": 1.0}, "http_503"),
        ({"hang_share": 1.0}, "timeout"),
        ({"garbage_share": 1.0}, "unreadable"),
        ({"error_in_200_share": 1.0}, "platform"),
    ],
)
async def test_faults_fail_and_lose_nothing(shop: Shop, http: Http, faults: dict[str, Any], code: str) -> None:
    tid = shop.fake.place([CUP])
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(), shop.access(http))
    shop.fake.set_faults(faults)
    answer = await source.pull(until_now(shop), "", deadline_s=0.2)
    assert isinstance(answer, Failed) and answer.code == code
    shop.fake.set_faults(dict.fromkeys(faults, 0.0))
    assert keys(await read(source, until_now(shop))) == [tid]


async def test_a_page_that_fails_in_the_middle_goes_on_where_it_was(shop: Shop, http: Http) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(6)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(details_at_once=1), shop.access(http))
    shop.fake.refuse(tids[2], FREQUENT)
    shop.fake.refuse(tids[1], FREQUENT)
    window = until_now(shop)
    answers = [await source.pull(window, "", deadline_s=5) for _ in range(3)]
    assert [type(answer) for answer in answers] == [Throttled, Throttled, Page]
    assert isinstance(answers[2], Page) and keys(list(answers[2].events)) == tids
    assert shop.fake.calls[DETAIL] == 6 + 2


@pytest.mark.parametrize("page_size", [50, 2])
async def test_a_page_of_which_a_part_fails_is_handed_over_as_far_as_it_goes(
    shop: Shop, http: Http, page_size: int
) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(5)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(details_at_once=1, page_size=page_size), shop.access(http))
    shop.fake.refuse(tids[3], BUSY)
    shop.fake.refuse(tids[1], BUSY)
    events = await read(source, until_now(shop))
    assert sorted(event.order_key for event in events) == tids, "each of them once"
    assert shop.fake.calls[DETAIL] == 5 + 2


async def test_what_was_handed_over_is_read_again_in_another_window(shop: Shop, http: Http) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(2)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(details_at_once=1), shop.access(http))
    shop.fake.refuse(tids[0], BUSY)
    part = await source.pull(until_now(shop), "", deadline_s=5)
    assert isinstance(part, Page) and part.next and keys(list(part.events)) == tids[1:]
    shop.clock.advance(1)
    whole = await source.pull(until_now(shop), part.next, deadline_s=5)
    assert isinstance(whole, Page) and keys(list(whole.events)) == tids


async def test_a_shop_that_fails_one_request_in_five_is_read_without_a_pause(shop: Shop, http: Http) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(60)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(page_size=20), shop.access(http))
    shop.fake.set_faults({"error_in_200_share": 0.1, "share_5xx": 0.1})
    seen: list[str] = []
    position, failures = "", 0
    while True:
        answer = await source.pull(until_now(shop), position, deadline_s=5)
        if isinstance(answer, Page):
            seen += [event.order_key for event in answer.events]
            position = answer.next
            if not position:
                break
        else:
            assert isinstance(answer, Failed)
            failures += 1
    assert sorted(seen) == tids
    assert failures < 10, "only those of the list itself, and of pages that did not get on at all"


async def test_a_trade_that_the_platform_refuses_is_kept_and_holds_nobody_up(shop: Shop, http: Http) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(3)]
    shop.clock.advance(10)
    shop.fake.refuse(tids[1], {"code": 15, "sub_code": "isv.trade-not-exist", "sub_msg": "订单不存在"})
    source = TaobaoSource(shop.setup(), shop.access(http))

    events = await read(source, until_now(shop))
    assert keys(events) == tids
    broken = next(event for event in events if event.order_key == tids[1])
    assert broken.time == START
    with pytest.raises(BadInput) as caught:
        source.decode(broken)
    assert (caught.value.code, caught.value.where) == ("unread", "$.error_response")
    assert msgspec.json.decode(broken.body) == {
        "row": {"tid": int(tids[1]), "modified": "2026-05-01 09:30:00"},
        "error_response": {"code": "business", "message": "15 isv.trade-not-exist 订单不存在"},
    }


@pytest.mark.feature("F14")
async def test_an_odd_refusal_is_that_of_a_trade_and_many_are_that_of_the_question(shop: Shop, http: Http) -> None:
    odd = {"code": 41, "msg": "Invalid Arguments"}
    source = TaobaoSource(shop.setup(details_at_once=1), shop.access(http))
    window = Window(START - timedelta(seconds=60), START + timedelta(seconds=60))
    shop.fake.refuse(LIST, odd)
    assert await source.pull(window, "", deadline_s=5) == Failed("argument", "41 Invalid Arguments")
    tids = [shop.fake.place([CUP]) for _ in range(5)]
    shop.fake.refuse(tids[2], odd)
    assert len(await read(source, window)) == 5
    shop.fake.refuse(DETAIL, *[odd] * 9)
    assert await source.pull(window, "", deadline_s=5) == Failed("argument", "41 Invalid Arguments")


async def read_all(source: TaobaoSource, window: Window, *, tries: int) -> tuple[list[Event], int]:
    """All of a window, asked again after failures as the engine does; how often it failed."""
    events: list[Event] = []
    position, failures = "", 0
    while failures < tries:
        answer = await source.pull(window, position, deadline_s=5)
        if isinstance(answer, Page):
            events += answer.events
            position = answer.next
            if not position:
                return events, failures
        else:
            assert isinstance(answer, Failed)
            failures += 1
    raise AssertionError("the window never ends")


def refusals(source: TaobaoSource, events: list[Event]) -> list[str]:
    """Numbers of the trades whose events stand for a refused detail."""
    refused = []
    for event in events:
        try:
            source.decode(event)
        except BadInput as error:
            assert (error.code, error.where) == ("unread", "$.error_response")
            refused.append(event.order_key)
    return sorted(refused)


@pytest.mark.parametrize(
    "error", [BUSY, {"code": 10, "msg": "Service Currently Unavailable"}, {"code": 12, "sub_code": "isv.permission"}]
)
@pytest.mark.parametrize("page_size", [50, 2])
async def test_trades_that_the_platform_always_fails_at_stop_nobody_else(
    shop: Shop, http: Http, page_size: int, error: dict[str, Any]
) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(8)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(page_size=page_size, detail_tries=3), shop.access(http))
    shop.fake.refuse(tids[0], *[{"code": 15, "sub_code": "isv.trade-not-exist"}] * 100)
    for bad in (tids[2], tids[3], tids[6]):
        shop.fake.refuse(bad, *[error] * 100)
    events, failures = await read_all(source, until_now(shop), tries=10)
    assert sorted(event.order_key for event in events) == tids, "each of them once"
    assert refusals(source, events) == [tids[0], tids[2], tids[3], tids[6]]
    assert failures > 0
    again, failures = await read_all(source, until_now(shop), tries=1)
    assert {event.id for event in again} == {event.id for event in events}
    assert failures == 0, "known for hopeless, they are not waited for once more"

    shop.fake._refusals.clear()
    healed = await read(source, until_now(shop))
    assert (keys(healed), refusals(source, healed)) == (tids, [])


async def test_a_trade_alone_in_its_window_waits_for_another_to_compare_with(shop: Shop, http: Http) -> None:
    bad = shop.fake.place([CUP])
    shop.clock.advance(10)
    window = until_now(shop)
    source = TaobaoSource(shop.setup(detail_tries=3), shop.access(http))
    shop.fake.refuse(bad, *[BUSY] * 100)
    for _ in range(9):
        assert isinstance(await source.pull(window, "", deadline_s=5), Failed)
    shop.clock.advance(2 * 86_400)
    shop.fake.place([CUP])
    (event,), failures = await read_all(source, window, tries=1)
    assert (refusals(source, [event]), failures) == ([bad], 0)


async def test_what_waits_behind_a_trade_is_compared_with_after_a_long_time_away(shop: Shop, http: Http) -> None:
    bad = shop.fake.place([CUP])
    shop.clock.advance(10)
    window = until_now(shop)
    shop.clock.advance(3600)
    shop.fake.place([CUP])
    shop.clock.advance(5 * 86_400)
    source = TaobaoSource(shop.setup(detail_tries=3), shop.access(http))
    shop.fake.refuse(bad, *[BUSY] * 100)
    events, _ = await read_all(source, window, tries=10)
    assert refusals(source, events) == [bad]


@pytest.mark.parametrize("error", [BUSY, {"code": 41, "msg": "Invalid Arguments"}])
async def test_a_platform_that_is_down_as_a_whole_sets_no_trade_aside(
    shop: Shop, http: Http, error: dict[str, Any]
) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(9)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(details_at_once=2, page_size=4, detail_tries=3), shop.access(http))
    source._oddities = MOST_ODDITIES
    shop.fake.refuse(DETAIL, *[error] * 1000)
    for _ in range(20):
        assert isinstance(await source.pull(until_now(shop), "", deadline_s=5), Failed)
    shop.fake._refusals.clear()
    events = await read(source, until_now(shop))
    assert (keys(events), refusals(source, events)) == (tids, [])


async def test_a_platform_that_comes_back_while_another_is_asked_for_sets_no_trade_aside(
    shop: Shop, http: Http
) -> None:
    tids = [shop.fake.place([CUP]) for _ in range(2)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(details_at_once=1, detail_tries=3), shop.access(http))
    shop.fake.refuse(DETAIL, *[BUSY] * 3)
    events, _ = await read_all(source, until_now(shop), tries=5)
    assert (keys(events), refusals(source, events)) == (tids, [])


async def test_many_odd_trades_in_a_row_are_set_aside_when_others_come(shop: Shop, http: Http) -> None:
    odd = {"code": 41, "msg": "Invalid Arguments"}
    tids = [shop.fake.place([CUP]) for _ in range(9)]
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(details_at_once=1, detail_tries=3), shop.access(http))
    for bad in tids[1:8]:
        shop.fake.refuse(bad, *[odd] * 100)
    events, _ = await read_all(source, until_now(shop), tries=20)
    assert (keys(events), refusals(source, events)) == (tids, tids[1:8])


@pytest.mark.feature("F6")
async def test_a_session_that_ends_is_unauthorised_until_the_token_is_renewed(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP])
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(), shop.access(http))
    shop.fake.expire()
    answer = await source.pull(until_now(shop), "", deadline_s=5)
    assert answer == Unauthorised("session", "27 invalid-sessionkey Invalid Session")
    shop.fake.session, shop.fake.expires_at = "t1", None
    shop.tokens = [Token("t1")]
    assert keys(await read(source, until_now(shop))) == [tid]


async def test_details_are_asked_for_a_few_at_a_time(shop: Shop, http: Http) -> None:
    for _ in range(8):
        shop.fake.place([CUP])
    shop.clock.advance(10)
    together = most = 0
    inside = asyncio.Event()

    class Gate:
        async def turn(self) -> None:
            nonlocal together, most
            together += 1
            most = max(most, together)
            if together == 3:
                inside.set()
            await inside.wait()
            together -= 1

        def pause(self, for_s: float) -> None: ...

    access = msgspec.structs.replace(shop.access(http), budget=Gate())
    events = await read(TaobaoSource(shop.setup(details_at_once=3), access), until_now(shop))
    assert (len(events), most) == (8, 3)


async def test_a_cancelled_pull_leaves_nothing_behind(shop: Shop, http: Http) -> None:
    tid = shop.fake.place([CUP])
    shop.clock.advance(10)
    source = TaobaoSource(shop.setup(), shop.access(http))
    shop.fake.set_faults({"hang_share": 1.0})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await source.pull(until_now(shop), "", deadline_s=5)
    shop.fake.set_faults({"hang_share": 0.0})
    assert keys(await read(source, until_now(shop))) == [tid]


async def test_the_quota_of_a_day_is_counted_in_beijing(http: Http) -> None:
    shop = Shop(quota_per_day=2)
    async with shop.fake:
        source = TaobaoSource(shop.setup(), shop.access(http))
        window = until_now(shop)
        answers = [await source.pull(window, "", deadline_s=5) for _ in range(3)]
        assert [type(answer) for answer in answers] == [Page, Page, Throttled]
        assert isinstance(answers[2], Throttled) and answers[2].retry_after_s is not None
        shop.clock.advance(answers[2].retry_after_s - 2)
        assert isinstance(await source.pull(window, "", deadline_s=5), Throttled)
        shop.clock.advance(2)
        assert isinstance(await source.pull(window, "", deadline_s=5), Page)


async def test_a_real_rate_limit(shop: Shop, http: Http) -> None:
    shop.fake.set_faults({"throttle_per_s": 0.001})
    source = TaobaoSource(shop.setup(), shop.access(http))
    answers = [await source.pull(until_now(shop), "", deadline_s=5) for _ in range(2)]
    assert [type(answer) for answer in answers] == [Page, Throttled]


def test_the_manifest_keeps_to_the_platform_s_windows() -> None:
    """A window of a day is the most, half an hour what the vendor advises; three months is as far as it looks back."""
    manifest = discover().manifests["taobao"]
    assert manifest.pull is not None
    assert manifest.pull.overlap_s < manifest.pull.window_s <= 1800
    assert manifest.pull.delay_s >= 1
    assert manifest.pull.lookback_s <= 90 * 86_400
