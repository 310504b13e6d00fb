"""Windows and the cursor, with clocks that are wrong; the source notes what it is asked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.core.access import Token
from gateway.core.delivery import Failed, Throttled, Unauthorised
from gateway.core.event import ConnectionName, Event, EventId
from gateway.core.happening import Happening, PullChanged, PullFailed, Trouble
from gateway.core.order import Facts
from gateway.ingest.authorisation import Authorisation
from gateway.ingest.duty import Ownership
from gateway.ingest.inbound import Inbound, InboxLeg
from gateway.ingest.poller import PolledShop, Poller, WindowReader, next_window, oldest
from gateway.sdk.pull import Page, Pulled, Window
from gateway.settings import PullPolicy
from gateway.store.credentials import Credential
from gateway.store.inbox import take
from gateway.store.outbox import start_worker
from gateway.store.pulls import claim_duty, read_cursor
from gateway.store.sql import open_pool, register_connections

SHOP = ConnectionName("shop")
POLICY = PullPolicy(window_s=600, overlap_s=60, lookback_s=86400, delay_s=0, every_s=0.1, deadline_s=5)


class Source:
    """Answers from a list, then with empty pages."""

    def __init__(self, *answers: Pulled | BaseException) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Window, str]] = []
        self.enough = asyncio.Event()
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens while a question is under way."""

    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        self.asked.append((window, position))
        self.meanwhile()
        if len(self.asked) >= 5:
            self.enough.set()
        answer = self.answers.pop(0) if self.answers else Page(())
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def decode(self, event: Event) -> Facts:
        raise NotImplementedError


class Budget:
    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens while a turn is waited for."""

    async def turn(self) -> None:
        self.meanwhile()

    def pause(self, for_s: float) -> None:
        self.pauses.append(for_s)


class Bench:
    """A poller of one shop on a real database."""

    def __init__(
        self,
        source: Source,
        *,
        now: Callable[[], datetime],
        start_at: datetime | None = None,
        hangs_after_s: float = 20.0,
    ) -> None:
        self.source = source
        self.hangs_after_s = hangs_after_s
        self.start_at = start_at
        self.budget = Budget()
        self.happened: list[Happening] = []
        self.troubled = asyncio.Event()
        self.paused = False
        self.authorisation = Authorisation(
            SHOP, seed=Token("t"), renewable=False, now=now, changed=lambda _: None, wake=lambda: None
        )
        self._now = now

    def observe(self, happenings: Sequence[Happening]) -> None:
        self.happened += happenings
        if any(isinstance(one, Trouble) for one in happenings):
            self.troubled.set()

    async def run(self, url: str, *, until: asyncio.Event | None = None) -> None:
        """Until the source has been asked five times, or `until`."""
        self.pool = await open_pool(url, size=4)
        number = (await register_connections(self.pool, [SHOP])).id(SHOP)
        worker_id = await start_worker(self.pool, name="test", lease_s=60)
        assert await claim_duty(self.pool, number, worker_id=worker_id)
        owner, inbox = Ownership(SHOP, number, worker_id), InboxLeg(self.pool, observe=lambda _: None)
        reader = WindowReader(
            name=SHOP,
            source=self.source,
            budget=self.budget,
            authorisation=self.authorisation,
            inbound=Inbound(kafka=None, inbox=inbox, observe=self.observe),
            deadline_s=5,
            waits=lambda: self.paused,
            rng=random.Random(1),
            observe=self.observe,
            reach=lambda _: None,
            hangs_after_s=self.hangs_after_s,
        )
        poller = Poller(
            shop=PolledShop(SHOP, "S", self.start_at, POLICY),
            reader=reader,
            pool=self.pool,
            now=self._now,
            observe=self.observe,
            reach=lambda _: None,
        )
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            leg = group.create_task(inbox.run())
            polling = group.create_task(poller.run(owner))
            await (until or self.source.enough).wait()
            owner.stop()
            await asyncio.wait([polling])
            leg.cancel()
        cursor = await read_cursor(self.pool, number)
        assert cursor is not None
        self.cursor = cursor


def ahead(by: timedelta) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + by


def event(**changes: str) -> Event:
    values = {"id": "E1", "source": SHOP, "type": "order", "order_key": "1", **changes}
    return Event(
        id=EventId(values["id"]),
        source=ConnectionName(values["source"]),
        type=values["type"],
        order_key=values["order_key"],
        time=datetime.now(UTC),
        body=b"{}",
    )


async def test_a_clock_that_runs_ahead_leaps_over_nothing_and_hurries_nobody(migrated_url: str) -> None:
    bench = Bench(Source(), now=ahead(timedelta(hours=1)))
    began = datetime.now(UTC)
    await bench.run(migrated_url)
    assert bench.cursor.read_to <= datetime.now(UTC)
    assert bench.cursor.begun_at <= datetime.now(UTC)
    assert datetime.now(UTC) - began >= timedelta(seconds=0.4), "five windows, four rests between them"
    assert all(window.start_at <= datetime.now(UTC) for window, _ in bench.source.asked)
    await bench.pool.close()


async def test_the_same_is_asked_again_after_whatever_is_not_a_page(migrated_url: str) -> None:
    strange = event(source="other")
    bench = Bench(Source(Page((), "2"), Failed("down"), Throttled(0.0), Page((strange,), "1")), now=ahead(timedelta()))
    await bench.run(migrated_url)
    assert [position for _, position in bench.source.asked] == ["", "2", "2", "2", "2"]
    assert len({window for window, _ in bench.source.asked}) == 1
    assert [one.code for one in bench.happened if isinstance(one, PullFailed)] == ["down", "throttled", "adapter"]
    assert bench.budget.pauses == [1.0], "an answer of 0 s is no reason for a loop"
    assert [one.what for one in bench.happened if isinstance(one, Trouble)] == [
        "shop pull: an event of another connection"
    ]
    await bench.pool.close()


async def test_a_page_that_leads_to_itself_is_no_page(migrated_url: str) -> None:
    bench = Bench(Source(Page((), "2"), Page((event(),), "2")), now=ahead(timedelta()))
    await bench.run(migrated_url)
    assert [position for _, position in bench.source.asked][:3] == ["", "2", "2"]
    assert [one.code for one in bench.happened if isinstance(one, PullFailed)] == ["adapter"], "told"
    await bench.pool.close()


async def test_a_window_is_not_through_while_what_it_held_is_on_no_leg(migrated_url: str) -> None:
    """Stopped while neither leg takes anything, the next owner asks for the same window."""
    bench = Bench(Source(Page((event(),))), now=ahead(timedelta()))
    pool = await open_pool(migrated_url, size=1)
    await pool.execute("ALTER TABLE inbox RENAME TO elsewhere")
    await bench.run(migrated_url, until=bench.troubled)
    assert len(bench.source.asked) == 1
    assert bench.cursor.read_to == bench.cursor.begun_at
    await pool.close()
    await bench.pool.close()


async def test_a_start_at_that_is_moved_back_has_the_shop_read_from_then_on(migrated_url: str) -> None:
    """Once, and as far as the platform remembers."""

    async def read(start_at: datetime | None) -> tuple[datetime, datetime]:
        asked = asyncio.Event()
        bench = Bench(Source(), now=lambda: now, start_at=start_at)
        bench.source.meanwhile = asked.set
        await bench.run(migrated_url, until=asked)
        await bench.pool.execute("UPDATE duty SET worker_id = NULL")
        await bench.pool.close()
        return bench.source.asked[0][0].start_at, bench.cursor.begun_at

    now = datetime.now(UTC).replace(microsecond=0)
    moved = now - timedelta(hours=2)
    _, begun_at = await read(None)
    now += timedelta(seconds=10)
    assert (await read(begun_at + timedelta(seconds=1)))[1] == begun_at
    assert await read(moved) == (moved, moved)
    start_at, begun_at = await read(moved)
    assert start_at > moved and begun_at == moved, "it goes on"
    assert await read(now - timedelta(days=9)) == (oldest(now, POLICY),) * 2


async def test_a_shop_that_is_paused_while_its_turn_is_waited_for_is_not_asked(migrated_url: str) -> None:
    bench = Bench(Source(), now=ahead(timedelta()))
    waited = asyncio.Event()

    def pause() -> None:
        bench.paused = True
        waited.set()

    bench.budget.meanwhile = pause
    await bench.run(migrated_url, until=waited)
    assert bench.source.asked == []
    await bench.pool.close()


async def test_a_token_that_is_replaced_while_it_is_refused_stops_nobody(migrated_url: str) -> None:
    bench = Bench(Source(Unauthorised("session")), now=ahead(timedelta()))
    replaced = Credential(
        connection_id=1, version=1, token=Token("t2"), refused=None, changed_at=datetime.now(UTC), seed=b""
    )
    bench.source.meanwhile = lambda: bench.authorisation.learn(replaced)
    await bench.run(migrated_url)
    assert not bench.authorisation.held and len(bench.source.asked) >= 5
    await bench.pool.close()


async def test_a_page_that_no_leg_can_take_is_the_adapters_fault_and_told(migrated_url: str) -> None:
    naive = msgspec.structs.replace(event(), time=datetime(2026, 1, 5))  # noqa: DTZ001
    odd: list[Any] = [Page((None,)), Page((naive,)), Page((event(id=""),)), Page(None), Page((), 2)]  # type: ignore[arg-type]
    bench = Bench(Source(*odd), now=ahead(timedelta()))
    await bench.run(migrated_url)
    assert [one.what for one in bench.happened if isinstance(one, Trouble)] == [
        "shop pull: an event of NoneType",
        "shop pull: an event with time without a time zone",
        "shop pull: an event without an id",
        "shop pull: a page with events of NoneType",
        "shop pull: a page with next of int",
    ]
    assert [one.code for one in bench.happened if isinstance(one, PullFailed)] == ["adapter"] * 5
    await bench.pool.close()


async def test_an_adapter_that_ends_the_program_ends_no_worker(migrated_url: str) -> None:
    bench = Bench(Source(SystemExit(3), BaseException("a Rust library panics"), KeyError("x")), now=ahead(timedelta()))
    await bench.run(migrated_url)
    assert [one.code for one in bench.happened if isinstance(one, PullFailed)] == ["adapter"] * 3
    await bench.pool.close()


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([Throttled(0.0)], []),
        ([Throttled(0.0), Page((), "2"), Throttled(0.0)], []),
        ([Throttled(0.0), Throttled(0.0)], ["throttled", ""]),
        ([Throttled(60.0)], ["throttled", ""]),
        ([Failed("down"), Throttled(60.0)], ["down", "throttled", ""]),
    ],
)
async def test_being_told_to_wait_counts_as_failing_when_it_lasts(
    migrated_url: str, answers: list[Pulled], told: list[str]
) -> None:
    bench = Bench(Source(*answers), now=ahead(timedelta()))
    await bench.run(migrated_url)
    assert [one.code for one in bench.happened if isinstance(one, PullChanged)] == told
    await bench.pool.close()


class Hanging(Source):
    """Has a request without a deadline, whose answer is lost once."""

    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        answer = await super().pull(window, position, deadline_s=deadline_s)
        if len(self.asked) == 1:
            await asyncio.Event().wait()
        return answer


async def test_a_shop_whose_adapter_hangs_is_told_of_and_asked_again(migrated_url: str) -> None:
    bench = Bench(Hanging(), now=ahead(timedelta()), hangs_after_s=0.1)
    await bench.run(migrated_url)
    assert [one.code for one in bench.happened if isinstance(one, PullChanged)] == ["adapter", ""]
    [told] = [one.what for one in bench.happened if isinstance(one, Trouble)]
    assert told == "shop pull: no answer within 0.1 s"
    await bench.pool.close()


async def test_a_failure_without_a_code_is_one_all_the_same(migrated_url: str) -> None:
    bench = Bench(Source(Failed("")), now=ahead(timedelta()))
    await bench.run(migrated_url)
    assert [one.code for one in bench.happened if isinstance(one, PullChanged)] == ["other", ""]
    await bench.pool.close()


async def test_what_no_database_can_hold_does_not_hold_up_the_shop(migrated_url: str) -> None:
    bench = Bench(Source(Page((event(id="E\x00\ud800", order_key="1\x00"),))), now=ahead(timedelta()))
    await bench.run(migrated_url)
    async with bench.pool.acquire() as connection, connection.transaction():
        (arrival,) = await take(connection, 10)
    assert (arrival.event.id, arrival.event.order_key) == ("E\ufffd?", "1\ufffd")
    await bench.pool.close()


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-05-01T{text}+00:00")


@pytest.mark.parametrize(
    ("read_to", "upto", "edge", "start", "end"),
    [
        ("10:00:00", "11:00:00", "00:00:00", "09:59:00", "10:09:00"),
        ("10:00:00", "10:00:30", "00:00:00", "09:59:00", "10:00:30"),
        ("10:00:00", "11:00:00", "09:59:30", "09:59:30", "10:09:30"),
    ],
)
def test_the_next_window(read_to: str, upto: str, edge: str, start: str, end: str) -> None:
    assert next_window(at(read_to), at(upto), POLICY, edge=at(edge)) == Window(at(start), at(end))
