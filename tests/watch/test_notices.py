"""From a change in a real PostgreSQL to a message that people see at real servers on loopback; the time is injected."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from adapters.smtp.notifier import SmtpNotifier
from adapters.smtp.settings import Settings as MailSettings
from adapters.webhook.fake import FakeShop
from adapters.wecom.fake import PER_MINUTE, Company, FakeWecom
from adapters.wecom.notifier import WecomNotifier
from adapters.wecom.settings import Application
from adapters.wecom.settings import Settings as WecomSettings
from gateway.core.access import Token
from gateway.core.delivery import Answer, Done, Failed, Rejected, Throttled
from gateway.core.event import ConnectionName
from gateway.core.happening import Happening, MessageEnded, Trouble, Watched
from gateway.core.notice import Kind, Sighting
from gateway.core.order import Sku
from gateway.core.owner import OwnerRule
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http
from gateway.sdk.notify import Limits, Message, Notifier, Person
from gateway.store.credentials import authorise, plant, refuse, refuse_renewal
from gateway.store.leading import OUST_EVERY_S, lead
from gateway.store.ledger import compare, settle, sum_whole
from gateway.store.notices import list_conditions, list_notices, read_changing, read_waiting
from gateway.store.outbox import adopt, start_worker
from gateway.store.pulls import begin, claim_duty, set_failing
from gateway.store.queries import read_backlog
from gateway.store.sql import Connection, open_pool
from gateway.store.stock import set_stock
from gateway.watch.clock import ClockWatch
from gateway.watch.conditions import Policy
from gateway.watch.notices import LOCK, NoticeWatch, Sightings, Telling, merged
from gateway.watch.wording import when
from tests.mailbox import Mailbox, mail_server

SECRET = "whsec_" + "ZXJwLXNlY3JldC0wMTIzNDU2Nzg5YWJjZGVmZ2g="
KEY = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
PEOPLE = {
    "wang": Person(name="wang", userid="wangwu", email="wang@example.com"),
    "li": Person(name="li", mobile="13800000002"),
}

LEAD = timedelta(hours=4)

pytestmark = pytest.mark.feature("F81")


class Killed(BaseException):
    """This process ends here, as if by `kill -9`."""


class Stage:
    """A database, a clock that stands until it is moved, and a leader that looks and tells when it is asked to."""

    def __init__(self, pool: asyncpg.Pool, connection: Connection) -> None:
        self.pool = pool
        self.connection = connection
        self.at = datetime.now(UTC).replace(microsecond=0)
        self.happened: list[Happening] = []
        self.channels: dict[str, Notifier] = {}
        self.owners: tuple[OwnerRule, ...] = ()
        self.hand_over_s = 90.0
        self.kill_at = ""
        self.leader = self.watch()

    def now(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()

    def reach(self, name: str) -> None:
        if name == self.kill_at:
            raise Killed

    def watch(self) -> NoticeWatch:
        telling = Telling(
            policy=Policy(),
            language="zh",
            people=PEOPLE,
            owners=self.owners,
            runbooks="docs/runbooks/",
            hand_over_s=self.hand_over_s,
        )
        return NoticeWatch(
            self.pool,
            worker_id=1,
            channels=self.channels,
            telling=telling,
            now=self.now,
            observe=self.happened.extend,
            reach=self.reach,
            deadline_s=0.5,
        )

    async def succeed(self) -> None:
        """Another worker leads from now on."""
        self.leader = self.watch()
        await self.leader.take_over(self.connection)

    async def second(self, seconds: float = 0.0) -> None:
        """Let that much time pass; then the leader looks once, and tells."""
        self.at += timedelta(seconds=seconds)
        facts = merged(await read_changing(self.connection), await read_waiting(self.connection, ship_by_lead=LEAD))
        await self.leader.look(self.connection, facts)
        await self.leader.tell(self.connection)

    async def dead_letter(self, source: str, code: str, *, message: str = "", body: bytes = b"{}") -> None:
        await self.pool.execute(
            "INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, body, leg,"
            " partition, position, code, message, created_at)"
            " VALUES (gen_random_uuid()::text, $1, 't', 'k', '', $4, $4, $5, 'inbox', 0, 0, $2, $3, $4)",
            source,
            code,
            message,
            self.at - timedelta(seconds=10),
            body,
        )

    async def close_dead_letters(self) -> None:
        await self.pool.execute("UPDATE dead_letter SET closed_at = now() WHERE closed_at IS NULL")

    async def states(self) -> Counter[str]:
        return Counter(row[0] for row in await self.pool.fetch("SELECT state FROM notice"))

    async def results(self) -> list[str]:
        return [row[0] for row in await self.pool.fetch("SELECT result FROM notice_message ORDER BY message_id")]


@pytest.fixture
async def stage(migrated_url: str) -> AsyncIterator[Stage]:
    pool = await open_pool(migrated_url, size=3)
    async with pool.acquire() as connection:
        yield Stage(pool, connection)
    await pool.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def robot(stage: Stage, stack: AsyncExitStack, *keys: str) -> FakeWecom:
    """A group with its robots, by the stage's clock, as the channel `robot`."""
    keys = keys or (KEY,)
    fake = await stack.enter_async_context(FakeWecom(keys=keys, clock=stage.seconds))
    http = await stack.enter_async_context(Http(connections=1))
    stage.channels["robot"] = WecomNotifier(_setup(WecomSettings(robot_keys=keys, base_url=fake.url)), http)
    return fake


async def mail(stage: Stage, stack: AsyncExitStack) -> Mailbox:
    box = Mailbox()
    port = await stack.enter_async_context(mail_server(box))
    http = await stack.enter_async_context(Http(connections=1))
    settings = MailSettings(
        host="127.0.0.1", port=port, security="none", sender="gateway@example.com", to=("ops@example.com",)
    )
    stage.channels["mail"] = SmtpNotifier(_setup(settings), http)
    return box


def _setup(settings: Any) -> Setup:
    return Setup(
        connection=ConnectionName("x"), settings=settings, now=lambda: datetime.now(UTC), carriers=load_carriers()
    )


def most_in_a_minute(times: Sequence[float]) -> int:
    return max((sum(1 for other in times if at - 60 < other <= at) for at in times), default=0)


async def test_a_storm_of_a_thousand_changes_keeps_the_rate_and_loses_none(stage: Stage, stack: AsyncExitStack) -> None:
    fake = await robot(stage, stack)
    worker = await start_worker(stage.pool, name="a/0", lease_s=15)
    began = stage.seconds()
    urgent_told_s = None
    for second in range(180):
        if second < 60:
            for number in range(second * 1000 // 60, (second + 1) * 1000 // 60):
                await stage.dead_letter(f"shop-{number % 40}", f"code-{number // 40}")
        if second == 40:
            await stage.pool.execute(
                "INSERT INTO sighting (worker_id, kind, subject, code, since)"
                " VALUES ($1, 'breaker', 'wms-1/create', 'timeouts', $2)",
                worker,
                stage.at,
            )
        if second % 20 == 19:  # the rate is in the table, not in anybody's memory
            await stage.succeed()
        await stage.second(1.0)
        if urgent_told_s is None and any("不可用：wms-1" in told.text for told in fake.told):
            urgent_told_s = second - 40
    times = [told.at - began for told in fake.told]
    assert most_in_a_minute(times) <= PER_MINUTE
    assert "over_the_rate" not in fake.books.injected
    assert urgent_told_s is not None and urgent_told_s <= 7
    # Every change is in a message that people have seen, which says of how many changes it is.
    rows = await stage.pool.fetch(
        "SELECT n.notice_id, n.title, n.state, m.body, m.notices, m.result FROM notice n JOIN notice_message m USING"
        " (message_id)"
    )
    seen = {told.text for told in fake.told}
    assert len(rows) == 1001
    assert {row["state"] for row in rows} <= {"sent", "merged"}
    assert all(row["body"] in seen and row["result"] == "sent" for row in rows)
    per_body = Counter(row["body"] for row in rows)
    for row in rows:
        count = per_body[row["body"]]
        assert row["notices"] == count
        lines = row["body"].splitlines()
        if count > 1:
            assert lines[0].startswith(f"{count} 条通知")
            listed = sum(line.startswith("· ") for line in lines)
            assert listed == count or f"另有 {count - listed} 条" in row["body"]
    print(
        f"1,001 changes in 60 s: {len(fake.told)} messages, at most {most_in_a_minute(times)} in any minute,"
        f" the last {max(times):.0f} s after the first change; the urgent one after {urgent_told_s} s"
    )


async def test_one_notice_when_it_begins_and_one_when_it_is_over(stage: Stage, stack: AsyncExitStack) -> None:
    fake = await robot(stage, stack)
    stage.owners = (OwnerRule(connection="shop-a", people=("wang",)), OwnerRule(people=("li",)))
    await stage.succeed()
    await stage.dead_letter("shop-a", "json")
    for _ in range(5):
        await stage.second(1)
        await stage.succeed()
    await stage.close_dead_letters()
    for _ in range(30):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == [
        "死信：shop-a 报文不是 JSON，1 条",
        "死信已清：shop-a 报文不是 JSON",
    ]
    assert [told.mentioned for told in fake.told] == [("wangwu",), ("wangwu",)]
    assert fake.told[0].text.endswith("\ndocs/runbooks/dead_letter.md")
    assert await stage.states() == {"sent": 2}
    assert await list_conditions(stage.pool) == []
    sent = [one for one in stage.happened if isinstance(one, MessageEnded)]
    assert [(one.result, one.notices) for one in sent] == [("sent", 1)] * 2


async def looked(stage: Stage, times: int) -> None:
    """Until a leader has looked so often."""
    begun = len(stage.happened)
    async with asyncio.timeout(20):
        while sum(isinstance(one, Watched) for one in stage.happened[begun:]) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def leading(stage: Stage, pool: asyncpg.Pool, worker_id: int, *, mute: Kind | None = None) -> NoticeWatch:
    """By the real clock, and in a hurry."""
    return NoticeWatch(
        pool,
        worker_id=worker_id,
        channels=stage.channels,
        telling=Telling(
            policy=Policy(settle_s=0.1, mute=frozenset({mute} - {None})),
            language="en",
            people={},
            owners=(),
            runbooks="docs/runbooks/",
            hand_over_s=90.0,
        ),
        now=lambda: datetime.now(UTC),
        observe=stage.happened.extend,
        every_s=0.02,
    )


@asynccontextmanager
async def running(watch: NoticeWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def heard(fake: FakeWecom, line: str, *, within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while line not in [told.text.splitlines()[0] for told in fake.told]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.real
async def test_a_leader_that_hangs_is_followed_by_another_when_it_has_been_replaced(
    stage: Stage, stack: AsyncExitStack, migrated_url: str
) -> None:
    """Its process is stopped, its session and the lock stay; its lease runs out, and the others go on."""
    fake = await robot(stage, stack)
    hangs, other = [await start_worker(stage.pool, name=name, lease_s=15) for name in ("a/0", "b/0")]
    session = await asyncpg.connect(migrated_url)
    assert await lead(session, LOCK, worker_id=hangs)
    await stage.dead_letter("shop-a", "json")
    async with running(leading(stage, stage.pool, other)):
        await asyncio.sleep(2 * OUST_EVERY_S)
        assert fake.told == [] and not session.is_closed(), "a worker with a lease leads on"
        await adopt(stage.pool, settle_s={}, dead=[hangs])
        await heard(fake, "Dead letters: shop-a json, 1")
        await heard(fake, "Worker gone: a/0")
    assert session.is_closed()


@pytest.mark.real
async def test_tables_that_somebody_has_locked_keep_nobody_from_hearing_of_the_rest(
    stage: Stage, stack: AsyncExitStack, migrated_url: str
) -> None:
    """And what cannot be counted meanwhile is not said to be over."""
    fake = await robot(stage, stack)
    worker = await start_worker(stage.pool, name="a/0", lease_s=15)
    await stage.pool.execute("INSERT INTO connection (name) VALUES ('shop-a')")
    await stage.pool.execute(
        "INSERT INTO condition (kind, connection, subject, opened_at, told)"
        " SELECT kind, connection, subject, now(), 1 FROM (VALUES ('conflict', 'shop-a', 'x'), ('level', 'shop-a', ''),"
        " ('blocked', 'shop-a', 'x'), ('target', 'shop-a', 'create'), ('backlog', '', 'inbox'),"
        " ('ship_by', 'shop-a', '')) AS open(kind, connection, subject)"
    )
    locker = await asyncpg.connect(migrated_url)
    stack.push_async_callback(locker.close)
    lock = locker.transaction()
    await lock.start()
    await locker.execute("LOCK TABLE orders, lane, listing, inbox IN ACCESS EXCLUSIVE MODE")
    async with running(leading(stage, stage.pool, worker)):
        await stage.dead_letter("shop-a", "json")
        await heard(fake, "Dead letters: shop-a json, 1")
        # The dead letters have settled, and so would the others have.
        await stage.close_dead_letters()
        await heard(fake, "No dead letters any more: shop-a json", within_s=30)
        kinds = [str(one.key.kind) for one in await list_conditions(stage.pool)]
        assert sorted(kinds) == ["backlog", "blocked", "conflict", "level", "ship_by", "target"]
        await lock.rollback()
        async with asyncio.timeout(30):
            while await list_conditions(stage.pool):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_clock_that_was_an_hour_ahead_holds_nothing_up(stage: Stage, stack: AsyncExitStack) -> None:
    fake = await robot(stage, stack)
    stage.at += timedelta(hours=1)
    fake.set_faults({"error_in_200_share": 1.0})
    await stage.dead_letter("shop-a", "json")
    await stage.dead_letter("shop-a", "shape")
    await stage.second(1)
    await stage.close_dead_letters()
    await stage.second(1)
    assert fake.told == []
    fake.set_faults({"error_in_200_share": 0.0})
    stage.at -= timedelta(hours=1)
    for _ in range(30):
        await stage.second(1)
    assert set(await stage.states()) <= {"sent", "merged"} and len(fake.told) >= 2
    assert await list_conditions(stage.pool) == []


async def test_of_two_who_would_lead_one_does_and_the_other_goes_on_where_it_ended(
    stage: Stage, stack: AsyncExitStack, migrated_url: str
) -> None:
    fake = await robot(stage, stack)
    pool = await open_pool(migrated_url, size=2)
    stack.push_async_callback(pool.close)
    workers = [await start_worker(stage.pool, name=name, lease_s=15) for name in ("a/0", "b/0")]

    async def until(lines: list[str]) -> None:
        for _ in range(1500):
            # Told and written down: a leader that ends between the two is followed by one that says it again.
            if await stage.states() == {"sent": len(lines)}:
                break
            await asyncio.sleep(0.01)
        assert [told.text.splitlines()[0] for told in fake.told] == lines

    await stage.dead_letter("shop-a", "json")
    leaders = [asyncio.create_task(leading(stage, pool, worker).run()) for worker in workers]
    try:
        await until(["Dead letters: shop-a json, 1"])
        await stage.close_dead_letters()
        leaders[0].cancel()
        await asyncio.gather(leaders[0], return_exceptions=True)
        await until(["Dead letters: shop-a json, 1", "No dead letters any more: shop-a json"])
    finally:
        for leader in leaders:
            leader.cancel()
        await asyncio.gather(*leaders, return_exceptions=True)
    assert [one for one in stage.happened if isinstance(one, Trouble)] == []
    # The sessions go on in the pool, without the lock.
    assert await stage.pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_a_limit_that_others_have_used_up_is_waited_for_and_nothing_is_lost(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake, box = await robot(stage, stack), await mail(stage, stack)
    other = next(iter(stage.channels.values()))
    for number in range(PER_MINUTE):  # somebody else writes through the same robot
        said = Message(key="k", title="t", text=f"other {number}", outlet=other.outlets[0])
        assert await other.notify(said, deadline_s=5) == Done()
    await stage.dead_letter("shop-a", "json")
    for _ in range(59):
        await stage.second(1)
    assert len(fake.told) == PER_MINUTE and await stage.states() == {"waiting": 1}
    for _ in range(5):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told[PER_MINUTE:]] == ["死信：shop-a 报文不是 JSON，1 条"]
    assert await stage.results() == ["throttled", "sent"]
    assert box.mails == []


@pytest.mark.feature("F83")
@pytest.mark.parametrize("hand_over_s", [90.0, 900.0])
async def test_a_robot_that_was_removed_leaves_it_to_the_mail_at_once(
    stage: Stage, stack: AsyncExitStack, hand_over_s: float
) -> None:
    fake, box = await robot(stage, stack), await mail(stage, stack)
    stage.owners, stage.hand_over_s = (OwnerRule(people=("wang",)),), hand_over_s
    await stage.succeed()
    fake.keys.clear()
    await stage.dead_letter("shop-a", "json")
    for _ in range(3):
        await stage.second(1)
    assert [mail["Subject"] for mail in box.mails] == ["死信：shop-a 报文不是 JSON，1 条"]
    assert box.recipients == [["ops@example.com", "wang@example.com"]]
    assert await stage.results() == ["unauthorised", "sent"]
    [row] = await list_notices(stage.pool, state=None, kind=None, connection=None, before=None, limit=10)
    assert (row.state, row.channel, row.people) == ("sent", "mail", ["wang"])


async def test_an_account_that_is_refused_loses_no_notice_and_says_it_when_it_is_put_right(
    stage: Stage, stack: AsyncExitStack
) -> None:
    box = await mail(stage, stack)
    box.replies = {"MAIL": "553 5.7.1 sender and login differ"}
    await stage.dead_letter("shop-a", "json")
    await stage.dead_letter("shop-b", "json")
    for _ in range(30):
        await stage.second(60)
    assert await stage.states() == {"waiting": 2}
    assert set(await stage.results()) == {"unauthorised"} and len(await stage.results()) <= 2 * 4
    box.replies = {}
    await stage.second(600)
    assert await stage.states() == {"sent": 2}


async def test_what_comes_back_is_told_again_by_an_application_that_drops_what_it_has_just_said(
    stage: Stage, stack: AsyncExitStack
) -> None:
    company = Company(corp_id="ww1234", secret="application-secret", agent_id=1, members=frozenset({"ops"}))
    fake = await stack.enter_async_context(FakeWecom(company=company, clock=stage.seconds))
    http = await stack.enter_async_context(Http(connections=1))
    told_by = Application(corp_id="ww1234", secret="application-secret", agent_id=1, to=("ops",))
    stage.channels["app"] = WecomNotifier(_setup(WecomSettings(application=told_by, base_url=fake.url)), http)
    for _ in range(2):
        await stage.dead_letter("shop-a", "json")
        await stage.dead_letter("shop-a", "shape")
        await stage.second(1)
        await stage.close_dead_letters()
        for _ in range(20):
            await stage.second(6)
    assert [told.text.splitlines()[0] for told in fake.told] == ["2 条通知：死信 2", "2 条通知：恢复 2"] * 2


async def test_a_second_robot_takes_over_before_the_next_medium_does(stage: Stage, stack: AsyncExitStack) -> None:
    second = "second-robot-key-5678"
    fake, box = await robot(stage, stack, KEY, second), await mail(stage, stack)
    fake.keys.discard(KEY)
    await stage.dead_letter("shop-a", "json")
    await stage.second(1)
    await stage.second(1)
    assert [told.outlet for told in fake.told] == [second]
    assert box.mails == []


async def test_a_robot_that_fails_is_tried_for_a_bounded_time_and_used_again_when_it_is_back(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake, box = await robot(stage, stack), await mail(stage, stack)
    fake.set_faults({"error_in_200_share": 1.0})
    await stage.dead_letter("shop-a", "json")
    began = stage.at
    while not box.mails:
        await stage.second(1)
        assert stage.at - began < timedelta(seconds=100)
    assert stage.at - began >= timedelta(seconds=90)
    # It has failed for so long: what comes now does not wait for it.
    await stage.dead_letter("shop-a", "shape")
    await stage.second(1)
    assert len(box.mails) == 2 and fake.told == []
    fake.set_faults({"error_in_200_share": 0.0})
    await stage.dead_letter("shop-a", "field")
    await stage.second(300)
    assert [told.text.splitlines()[0] for told in fake.told] == ["死信：shop-a 报文字段缺失或多余，1 条"]
    assert await stage.states() == {"sent": 3}


async def test_an_unknown_outcome_is_sent_again_as_it_was(stage: Stage, stack: AsyncExitStack) -> None:
    fake = await robot(stage, stack)
    fake.set_faults({"commit_then_timeout_share": 1.0, "first_attempts_only": True})
    await stage.dead_letter("shop-a", "json")
    await stage.second(1)
    assert await stage.states() == {"sending": 1}
    await stage.dead_letter("shop-a", "shape")
    for _ in range(5):
        await stage.second(1)
    texts = [told.text for told in fake.told]
    assert texts[0] == texts[1] and len(texts) == 3
    assert await stage.results() == ["unknown", "sent", "sent"]
    keys = [row[0] for row in await stage.pool.fetch("SELECT key FROM notice_message ORDER BY message_id")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("hand_over_s", [90.0, 300.0, 900.0])
async def test_what_is_never_answered_goes_to_the_next_channel_however_long_that_is_waited_for(
    stage: Stage, stack: AsyncExitStack, hand_over_s: float
) -> None:
    fake, box = await robot(stage, stack), await mail(stage, stack)
    stage.hand_over_s = hand_over_s
    await stage.succeed()
    fake.set_faults({"garbage_share": 1.0})
    await stage.dead_letter("shop-a", "json")
    began = stage.at
    while not box.mails:
        await stage.second(10)
        assert stage.at - began <= timedelta(seconds=hand_over_s + 60)
    assert stage.at - began >= timedelta(seconds=hand_over_s)
    assert await stage.states() == {"sent": 1}


async def test_what_is_never_answered_has_failed_after_a_day_too(stage: Stage, stack: AsyncExitStack) -> None:
    fake = await robot(stage, stack)
    stage.hand_over_s = 900.0
    await stage.succeed()
    fake.set_faults({"garbage_share": 1.0})
    await stage.dead_letter("shop-a", "json")
    for _ in range(90):
        await stage.second(1000)
        await stage.second(1)
    assert await stage.states() == {"failed": 1}


@pytest.mark.parametrize(("where", "shown"), [("notice.before_send", 1), ("notice.after_send", 2)])
async def test_a_leader_that_is_killed_while_it_sends_is_followed_by_one_that_says_it_again(
    stage: Stage, stack: AsyncExitStack, where: str, shown: int
) -> None:
    fake = await robot(stage, stack)
    await stage.dead_letter("shop-a", "json")
    stage.kill_at = where
    with pytest.raises(Killed):
        await stage.second(1)
    stage.kill_at = ""
    await stage.succeed()
    await stage.second(1)
    await stage.second(1)
    assert len(fake.told) == shown and len({told.text for told in fake.told}) == 1
    assert await stage.states() == {"sent": 1}
    assert await stage.results() == ["unknown", "sent"]


class Picky:
    """A medium that will not take one word."""

    outlets = ("only",)
    limits = Limits(messages=20, window_s=60.0, text_bytes=2048)

    def __init__(self, word: str) -> None:
        self._word = word
        self.told: list[str] = []

    async def notify(self, message: Message, *, deadline_s: float) -> Answer:
        if self._word in message.text:
            return Rejected("word", "not that word")
        self.told.append(message.text)
        return Done()

    async def check(self, *, deadline_s: float) -> None: ...


async def test_one_text_that_is_refused_takes_no_other_with_it_and_is_accounted_for(stage: Stage) -> None:
    picky = Picky("报文结构不对")
    stage.channels["picky"] = picky
    for code in ("json", "shape", "field"):
        await stage.dead_letter("shop-a", code)
    for _ in range(5):
        await stage.second(1)
    assert await stage.states() == {"sent": 2, "failed": 1}
    assert [text.splitlines()[0] for text in picky.told] == [
        "死信：shop-a 报文字段缺失或多余，1 条",
        "死信：shop-a 报文不是 JSON，1 条",
    ]
    [row] = await list_notices(stage.pool, state="failed", kind=None, connection=None, before=None, limit=10)
    assert (row.subject, row.why) == ("shape", "picky: word not that word")


class Broken(Picky):
    """A medium of somebody else's making: it raises, is cancelled by its own doing, answers nonsense, or what no
    database takes."""

    def __init__(self) -> None:
        super().__init__("")
        self.answers: list[Any] = [
            RuntimeError(f"key={KEY}"),
            SystemExit(KEY),
            BaseException(KEY),
            asyncio.CancelledError(),
            None,
            Failed("\x00", "\x00 \udc80"),
            Throttled("1"),  # type: ignore[arg-type]
            Done("\x00\udc80"),
        ]

    async def notify(self, message: Message, *, deadline_s: float) -> Answer:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        self.told.append(message.text)
        return answer  # type: ignore[no-any-return]


async def test_a_broken_notifier_is_contained(stage: Stage) -> None:
    broken = stage.channels["broken"] = Broken()
    await stage.dead_letter("shop-a", "json")
    for _ in range(300):
        await stage.second(1)
    assert broken.answers == [] and await stage.states() == {"sent": 1}
    assert await stage.results() == ["unknown"] * 5 + ["failed", "throttled", "sent"]
    said = await stage.pool.fetch("SELECT code, detail FROM notice_message")
    assert KEY not in str([tuple(row) for row in said])


async def test_what_nobody_has_taken_within_a_day_has_failed_and_the_log_says_so(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    fake.keys.clear()
    await stage.dead_letter("shop-a", "json")
    for _ in range(26):
        await stage.second(3600)
    [row] = await list_notices(stage.pool, state="failed", kind=None, connection=None, before=None, limit=10)
    assert row.why == "no channel took it within 24 hours"
    assert any(isinstance(one, Trouble) and "reached nobody" in one.what for one in stage.happened)


async def test_a_worker_writes_what_it_sees_when_it_changes_and_its_end_takes_it_away(stage: Stage) -> None:
    worker = await start_worker(stage.pool, name="a/0", lease_s=15)
    seen: set[Sighting] = {Sighting("breaker", "wms-1/create", "timeouts")}
    sightings = Sightings(
        stage.pool, worker_id=worker, look=lambda: frozenset(seen), observe=stage.happened.extend, every_s=0.01
    )

    async def until(wanted: set[str]) -> None:
        for _ in range(1000):
            if {row[0] for row in await stage.pool.fetch("SELECT subject FROM sighting")} == wanted:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not {wanted}")

    task = asyncio.create_task(sightings.run())
    await until({"wms-1/create"})
    first = await stage.pool.fetchval("SELECT since FROM sighting")
    seen.add(Sighting("kafka", "", ""))
    await until({"wms-1/create", ""})
    assert await stage.pool.fetchval("SELECT min(since) FROM sighting") == first
    seen.clear()
    await until(set())
    seen.add(Sighting("kafka", "", ""))
    await until({""})
    await adopt(stage.pool, settle_s={}, dead=[worker])
    assert await stage.pool.fetchval("SELECT count(*) FROM sighting") == 0
    seen.add(Sighting("breaker", "wms-1/cancel", "timeouts"))  # it does not know yet that it was replaced
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await stage.pool.fetchval("SELECT count(*) FROM sighting") == 0
    assert [one for one in stage.happened if isinstance(one, Trouble)] == []


async def test_a_worker_that_was_adopted_is_told_of_until_another_one_starts(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    gone = await start_worker(stage.pool, name="a/0", lease_s=15)
    await start_worker(stage.pool, name="b/0", lease_s=15)
    await adopt(stage.pool, settle_s={}, dead=[gone])
    stage.at = datetime.now(UTC)
    await stage.second(4)
    assert fake.told == []
    await stage.second(3)
    await start_worker(stage.pool, name="c/0", lease_s=15)
    for _ in range(25):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == ["进程失联：a/0", "进程 a/0 已有接替"]


async def test_an_authorisation_that_is_refused_is_told_and_told_again_when_it_is_good(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    await stage.pool.execute("INSERT INTO connection (name) VALUES ('shop-a')")
    await stage.pool.execute(
        "INSERT INTO credential (connection_id, seed, token, refused, refused_at)"
        " SELECT connection_id, '\\x00', '\\x00', '27 session 61023abc wang', $1 FROM connection",
        stage.at,
    )
    await stage.second(1)
    await stage.pool.execute("UPDATE credential SET refused = NULL, refused_at = NULL")
    for _ in range(25):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == ["授权失效：shop-a", "授权已恢复：shop-a"]
    assert "平台返回 27，" in fake.told[0].text and "61023abc" not in fake.told[0].text


async def test_a_refused_renewal_is_told_before_the_end_and_the_end_by_itself(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    shop = await stage.pool.fetchval("INSERT INTO connection (name) VALUES ('shop-a') RETURNING connection_id")
    ends_at = datetime(2026, 5, 7, 1, 30, tzinfo=UTC)
    await plant(stage.pool, shop, Token("t1", "r1", ends_at))
    assert await refuse_renewal(stage.pool, shop, version=2, code="27") is None, "of another token"
    since = await refuse_renewal(stage.pool, shop, version=1, code="27")
    assert await refuse_renewal(stage.pool, shop, version=1, code="27") == since
    await stage.second(1)
    await stage.second(30)
    assert await refuse(stage.pool, shop, version=1, code="27", words="27 session expired")
    await stage.second(1)
    await authorise(stage.pool, shop, Token("t2"), name="shop-a", reason="r", actor="wang")
    for _ in range(25):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told][:2] == [
        "授权续期被拒：shop-a，现有授权到 05-07 09:30:00 (UTC+8) 为止",
        "授权失效：shop-a",
    ]
    ended = "\n".join(told.text for told in fake.told[2:])
    assert "授权已恢复：shop-a" in ended and "授权已更新：shop-a" in ended
    assert await list_conditions(stage.pool) == []


async def test_what_only_a_later_release_knows_of_is_left_to_it(stage: Stage) -> None:
    await stage.pool.execute(
        "INSERT INTO condition (kind, connection, subject, opened_at) VALUES ('of_2027', '', '', now())"
    )
    assert await list_conditions(stage.pool) == []
    await stage.second(1)
    assert await stage.pool.fetchval("SELECT count(*) FROM condition WHERE closed_at IS NULL") == 1


async def test_refused_stock_levels_are_told_once_for_a_shop_with_their_number(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    stage.owners = (OwnerRule(people=("wang",), kind="level"),)
    await stage.succeed()
    shop = await stage.pool.fetchval("INSERT INTO connection (name) VALUES ('shop-a') RETURNING connection_id")
    worker = await start_worker(stage.pool, name="a/0", lease_s=86_400)
    refused = (
        "INSERT INTO listing (connection_id, sku, publish, refused, refused_at)"
        " SELECT $1, n || $2, true, $2 || ': 13800000000', $3 FROM generate_series(1, $4) n"
    )
    await stage.pool.execute(refused, shop, "promoted", stage.at, 3)
    await stage.second(6)
    assert fake.told == [], "nobody owns the shop: nobody tells it levels"
    assert await claim_duty(stage.pool, shop, worker_id=worker)
    await stage.second(1)
    await stage.pool.execute(refused, shop, "no_such_item", stage.at, 2)
    await stage.second(1)
    await stage.pool.execute(refused, shop, "no_such_item_either", stage.at, 40)
    await stage.second(30)
    assert (await read_backlog(stage.connection)).levels_refused == {"shop-a": 45}
    await stage.pool.execute("UPDATE listing SET publish = false")
    for _ in range(25):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == [
        "库存回传被拒：shop-a，3 个商品（promoted）",
        "库存回传被拒：shop-a，45 个商品（no_such_item_either）（增多）",
        "库存回传已全部接受：shop-a",
    ]
    assert all("13800000000" not in told.text for told in fake.told)
    assert {person for row in await stage.pool.fetch("SELECT people FROM notice_message") for person in row[0]} == {
        "wang"
    }
    assert (await read_backlog(stage.connection)).levels_refused == {}


async def test_stock_levels_that_do_not_get_through_are_told(stage: Stage, stack: AsyncExitStack) -> None:
    """Of an application without the permission for it: no listing is refused, no breaker opens for a few of them."""
    fake = await robot(stage, stack)
    await stage.succeed()
    shop = await stage.pool.fetchval("INSERT INTO connection (name) VALUES ('shop-a') RETURNING connection_id")
    assert await claim_duty(stage.pool, shop, worker_id=await start_worker(stage.pool, name="a/0", lease_s=86_400))
    failing = (
        "INSERT INTO listing (connection_id, sku, publish, failures)"
        " SELECT $1, n || '', true, 4 FROM generate_series(1, 3) n"
    )
    await stage.pool.execute(failing, shop)
    await stage.second(6)
    assert fake.told == [], "that may be a hiccup"
    await stage.pool.execute("UPDATE listing SET failures = 5 WHERE sku = '1'")
    stage.at = await stage.pool.fetchval("SELECT now()")
    await stage.second(1)
    assert len(fake.told) == 1, "at once: it has lasted for minutes"
    await stage.pool.execute("UPDATE listing SET failures = 0 WHERE sku = '1'")
    for _ in range(25):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == [
        "库存回传一再失败：shop-a，3 个商品",
        "库存回传已恢复：shop-a",
    ]


@pytest.mark.feature("F74")
async def test_orders_near_their_ship_by_time_are_told_once_with_their_number(
    stage: Stage, stack: AsyncExitStack
) -> None:
    """From the tables to the people. One that is forgotten hides nothing that comes near afterwards."""
    fake = await robot(stage, stack)
    stage.owners = (OwnerRule(people=("wang",), kind="ship_by"),)
    await stage.succeed()
    stuck = (
        "WITH shop AS (INSERT INTO connection (name) VALUES ('shop-a') ON CONFLICT (name) DO UPDATE SET name = 'shop-a'"
        " RETURNING connection_id) INSERT INTO orders (order_id, number, connection_id, stage, reasons, state, ship_by)"
        " SELECT n, 'A' || n, connection_id, 'received', 'refund_open', '', now() + interval '90 minutes'"
        " FROM shop, generate_series($1::integer, $2::integer) n"
    )

    async def look(seconds: int) -> None:
        for _ in range(seconds):
            await stage.second(1)
            await stage.succeed()

    await stage.pool.execute(stuck, 1, 3)
    await look(10)
    first_by = await stage.pool.fetchval("UPDATE orders SET ship_by = now() - interval '1 s' RETURNING ship_by")
    await look(40)
    await stage.pool.execute(stuck, 4, 7)
    await look(10)
    await stage.pool.execute(stuck, 8, 50)
    await look(10)
    await stage.pool.execute("UPDATE orders SET stage = 'cancelled', reasons = '', ship_by = NULL")
    await look(60)
    told = await stage.pool.fetch("SELECT title, facts, state FROM notice ORDER BY notice_id")
    assert [row["title"] for row in told] == [
        "临近发货时限：shop-a，3 单未到仓库",
        "已过发货时限：shop-a，3 单未到仓库",
        "没有临近发货时限而未到仓库的订单了：shop-a，已过时限的有 3 单",
        "临近发货时限：shop-a，4 单未到仓库，另有 3 单已过时限",
        "临近发货时限：shop-a，47 单未到仓库，另有 3 单已过时限（增多）",
        "没有已过发货时限而未到仓库的订单了：shop-a",
        "没有临近发货时限而未到仓库的订单了：shop-a",
    ]
    assert f"最早的应在 {when(first_by)} 前发货" in told[1]["facts"]
    assert {row["state"] for row in told} <= {"sent", "merged"}
    assert all(message.mentioned == ("wangwu",) for message in fake.told)
    assert await list_conditions(stage.pool) == []


@pytest.mark.feature("F74")
async def test_a_leader_looks_for_ship_by_times_unless_nobody_is_to_be_told(stage: Stage) -> None:
    await stage.pool.execute(
        "INSERT INTO orders (order_id, number, stage, reasons, state, ship_by)"
        " VALUES (1, 'A1', 'received', 'over_limit', '', now())"
    )
    worker = await start_worker(stage.pool, name="a/0", lease_s=60)
    async with running(leading(stage, stage.pool, worker, mute=Kind.SHIP_BY)):
        await looked(stage, 3)
    assert await stage.pool.fetchval("SELECT count(*) FROM condition") == 0
    async with running(leading(stage, stage.pool, worker)), asyncio.timeout(20):
        while not await list_conditions(stage.pool):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.feature("F52")
async def test_a_ledger_that_is_off_is_told_once_for_a_warehouse_and_is_over_when_it_is_settled(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    stage.owners = (OwnerRule(people=("wang",), kind="ledger"),)
    await stage.succeed()
    places = [(Sku(sku), warehouse) for warehouse in ("杭州", "WH-2") for sku in ("CUP", "TEA")]
    await set_stock(stage.pool, dict.fromkeys(places, 10), reason="counted", actor="wang", now=stage.at)

    async def check() -> None:
        await sum_whole(stage.connection)
        await compare(stage.connection)

    await check()
    await stage.second(10)
    assert fake.told == []
    await stage.pool.execute("UPDATE stock SET on_hand = 12, locked = 1 WHERE warehouse = '杭州' AND sku = 'CUP'")
    await stage.pool.execute(
        "DELETE FROM movement USING stock s WHERE s.stock_id = movement.stock_id AND warehouse = '杭州' AND sku = 'TEA'"
    )
    for _ in range(20):
        await check()
        await stage.second(1)
    assert (await read_backlog(stage.connection)).ledger_off == 2
    for row in await stage.pool.fetch("SELECT sku, warehouse FROM ledger_off JOIN stock USING (stock_id)"):
        place = (Sku(row[0]), row[1])
        assert await settle(stage.pool, place, keep="balance", reason="counted", actor="wang", now=stage.at)
    for _ in range(25):
        await check()
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == ["库存账不平：杭州，2 个 SKU", "库存账已平：杭州"]
    assert "（如 TEA：在库差 +10）" in fake.told[0].text
    assert {person for row in await stage.pool.fetch("SELECT people FROM notice_message") for person in row[0]} == {
        "wang"
    }
    assert (await read_backlog(stage.connection)).ledger_off == 0


async def test_a_shop_that_cannot_be_read_is_told_when_nobody_knows_of_it_already(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    shop = await stage.pool.fetchval("INSERT INTO connection (name) VALUES ('shop-a') RETURNING connection_id")
    worker = await start_worker(stage.pool, name="a/0", lease_s=86_400)
    assert await claim_duty(stage.pool, shop, worker_id=worker)
    await begin(stage.pool, shop, worker_id=worker, at=stage.at)

    async def unread() -> bool:
        return bool((await read_changing(stage.connection)).unread)

    assert await set_failing(stage.pool, shop, "timeout")
    since = await stage.pool.fetchval("SELECT failing_at FROM pull")
    assert await set_failing(stage.pool, shop, "http_502")
    assert not await set_failing(stage.pool, shop, "http_502")
    assert await stage.pool.fetchval("SELECT failing_at FROM pull") == since, "another reason, the same outage"
    await stage.pool.execute("UPDATE connection SET paused = true")
    assert not await unread()
    await stage.pool.execute("UPDATE connection SET paused = false")
    await stage.pool.execute(
        "INSERT INTO credential (connection_id, seed, token, refused) VALUES ($1, '\\x00', '\\x00', '27')", shop
    )
    assert not await unread(), "that is another notice"
    await stage.pool.execute("UPDATE credential SET refused = NULL")

    # By the stage's clock, which stood still meanwhile.
    await stage.pool.execute("UPDATE pull SET failing_at = $1", stage.at)
    await stage.second(30)
    assert fake.told == []
    await stage.second(31)
    assert await set_failing(stage.pool, shop, None)
    assert not await unread()
    for _ in range(25):
        await stage.second(1)
    assert [told.text.splitlines()[0] for told in fake.told] == [
        "店铺读不到：shop-a（http_502）",
        "店铺已能读取：shop-a",
    ]


async def test_a_clock_that_is_off_is_told_with_by_how_much_and_told_again_when_it_is_right(
    stage: Stage, stack: AsyncExitStack
) -> None:
    fake = await robot(stage, stack)
    worker = await start_worker(stage.pool, name="a/0", lease_s=86_400)
    targets = {name: await stack.enter_async_context(FakeShop(secrets=(SECRET,))) for name in ("erp", "wms-1")}
    https = {name: await stack.enter_async_context(Http(connections=1)) for name in targets}

    async def talk(name: str, *, ahead_s: float) -> None:
        targets[name].set_faults({"clock_ahead_s": ahead_s})
        https[name]._look_at = 0.0  # ten seconds on
        assert (await https[name].request("GET", targets[name].url, deadline_s=5.0)).status == 405

    clocks = ClockWatch(
        stage.pool,
        readings=lambda: {name: http.reading for name, http in https.items() if http.reading is not None},
        askable={},
        machine="gateway-1",
        show=lambda _name, _ahead_s: None,
        observe=stage.happened.extend,
        now=lambda: datetime.now(UTC),
    )
    sightings = Sightings(stage.pool, worker_id=worker, look=clocks.sightings, observe=stage.happened.extend)

    async def look(passed_s: float) -> None:
        await clocks.look()
        await sightings.write()
        await stage.second(passed_s)

    await talk("wms-1", ahead_s=-63.0)
    await look(30)
    since = await stage.pool.fetchval("SELECT since FROM sighting")
    await talk("erp", ahead_s=0.0)
    await look(28)
    assert await stage.pool.fetchval("SELECT since FROM sighting") == since, "another code, the same clock"
    assert fake.told == []
    await look(4)
    await talk("wms-1", ahead_s=0.0)
    for _ in range(25):
        await look(1)
    begun, over = (told.text.splitlines() for told in fake.told)
    assert re.fullmatch("时钟不准：wms-1（慢 6[1-5] 秒）", begun[0])
    assert begun[1].endswith("本机与其余 1 个时钟（erp）一致。")
    assert begun[-1] == "docs/runbooks/clock.md"
    assert over[0] == "时钟不再有偏差：wms-1"


CANARIES = ("张三丰", "13912345678", "张江路1号", KEY, "whsec_c2VjcmV0")


@pytest.mark.feature("F103")
async def test_no_buyer_and_no_key_stands_in_any_message_notice_or_log(stage: Stage, stack: AsyncExitStack) -> None:
    fake, box = await robot(stage, stack), await mail(stage, stack)
    canary = " ".join(CANARIES)
    await stage.dead_letter("shop-a", f"bad {canary}", message=canary, body=canary.encode())
    await stage.dead_letter("shop-a", "13912345678", message=canary)
    await stage.dead_letter("shop-b", CANARIES[0], message=canary)
    await stage.pool.execute("INSERT INTO connection (name) VALUES ('wms-1')")
    await stage.pool.execute(
        "INSERT INTO lane (order_id, target_id, operation, head, tail, blocked, opened_at)"
        " SELECT n, connection_id, 'create', 1, 1, b, $1 FROM connection,"
        " unnest(ARRAY['rejected:' || $2, $2]) WITH ORDINALITY AS x(b, n)",
        stage.at - timedelta(seconds=10),
        canary,
    )
    await stage.second(1)
    fake.keys.clear()
    await stage.close_dead_letters()
    for _ in range(30):
        await stage.second(1)
    assert fake.told and box.mails
    rows = await stage.pool.fetch("SELECT * FROM notice")
    messages = await stage.pool.fetch("SELECT * FROM notice_message")
    conditions = await stage.pool.fetch("SELECT * FROM condition")
    said = "\n".join(
        [
            *(str(tuple(row)) for row in (*rows, *messages, *conditions)),
            *(told.text for told in fake.told),
            *(f"{one['Subject']} {one.get_content()}" for one in box.mails),
            *(repr(one) for one in stage.happened),
        ]
    )
    assert [canary for canary in CANARIES if canary in said] == []


def test_every_kind_has_its_runbook() -> None:
    from tests.architecture.test_imports import ROOT

    pages = {page.stem for page in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}
    # The others are of alerts that are no notices.
    assert pages >= {kind.value for kind in Kind}
