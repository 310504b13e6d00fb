"""The worker ends, as by kill -9, at every boundary between two steps; what it was doing is finished by the next one.

All points at once, each with a gateway, a WMS, a database and a topic of its own: most of the time is waiting for a
dead group member's session to end, ten seconds with the in-memory cluster.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from adapters.wecom.fake import FakeWecom
from gateway.embedded.postgres import EmbeddedPostgres
from tests.chaos.checker import offsets_ahead
from tests.chaos.gateway import SHOPS, Fake, Gateway, until
from tests.chaos.journal import Journal
from tests.chaos.load import stories
from tests.chaos.run import make_database

KAFKA_POINTS = (
    "kafka.polled:2",
    "kafka.prepared:2",
    "intake.facts_read:2",
    "intake.orders_written:2",
    "intake.before_commit:2",
    "intake.after_commit:2",
    "kafka.before_offset:2",
    "kafka.after_offset:2",  # the first commit is of where reading begins
)
INBOX_POINTS = (
    "inbox.before_commit:3",
    "inbox.after_commit:3",
    "gate.before_send:20",
    "gate.after_send:20",
    "outcome.before_commit:3",
    "outcome.after_commit:3",
)
# How often people then see the message: twice is better than not at all.
NOTICE_POINTS = {"notice.before_send:1": 1, "notice.after_send:1": 2}
# Where the crash at a point that no order of these tests comes by is looked at.
ELSEWHERE = {
    "poller.after_page": "shops/test_crash.py",
    "poller.before_cursor": "shops/test_crash.py",
    "renewal.before_swap": "shops/test_crash.py",
    "redrive.before_commit": "chaos/test_redrive.py",
    "redrive.after_commit": "chaos/test_redrive.py",
    "levels.after_send": "dispatch/test_levels.py",
}
ROBOT_KEY = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
SECTIONS = {"database": {"pool_size": 4}, "intake": {"batch_events": 20}}


async def crash(point: str, folder: Path, *, url: str, kafka: str | None) -> list[str]:
    """What was wrong after a crash at `point`, and after the next worker has come to rest."""
    folder.mkdir()
    fake = Fake("qimen", folder)
    topic = point.replace(":", "-")
    gateway = Gateway(folder, database_url=url, fakes=[fake], kafka=kafka, topic=topic, settle_s=2.0, sections=SECTIONS)
    documents = stories(60, shops=SHOPS, seed=5)
    wrong: list[str] = []
    with Journal(gateway.journal_path) as journal:
        async with fake:
            await gateway.prepare()
            producer = gateway.producer(journal, webhooks=kafka is None)
            try:
                worker = await gateway.start_worker(crash_at=point)
                await producer.tell(documents, per_s=150, stop=lambda: worker.poll() is not None)
                code = await asyncio.to_thread(worker.wait, 30)
                if code != 137:
                    wrong.append(f"ended with {code} instead of crashing there")
                wrong += [str(violation) for violation in offsets_ahead(await gateway.evidence())]
                await gateway.start_worker()
                await producer.tell(documents)
                await gateway.quiet(within_s=60)
                wrong += [str(violation) for violation in await gateway.verdict()]
                books = await fake.books()
                # One request may have been under way; it is asked about, not repeated.
                if books.duplicates or books.repeats:
                    wrong.append(f"{books.duplicates} documents doubled, {books.repeats} requests repeated")
            finally:
                gateway.kill()
    return wrong


async def test_a_crash_at_every_step_boundary(
    postgres_server: EmbeddedPostgres, kafka_mock: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    # As many workers at a time as two cores carry.
    turn = asyncio.Semaphore(8)

    async def one(number: int, point: str, kafka: str | None) -> list[str]:
        async with turn:
            name = f"crash_{number}"
            url = await make_database(postgres_server, name)
            return await crash(point, folder / name, url=url, kafka=kafka)

    points = [(point, kafka_mock) for point in KAFKA_POINTS] + [(point, None) for point in INBOX_POINTS]
    found = await asyncio.gather(*(one(number, point, kafka) for number, (point, kafka) in enumerate(points)))
    with capsys.disabled():
        print(f"\ncrash points: {len(points)}, {time.monotonic() - started:.1f} s")
    assert {point: wrong for (point, _), wrong in zip(points, found, strict=True) if wrong} == {}


@pytest.mark.parametrize("point", NOTICE_POINTS)
async def test_a_crash_while_people_are_told(postgres_url: str, folder: Path, point: str) -> None:
    async with FakeWecom(keys={ROBOT_KEY}) as wecom:
        gateway = Gateway(
            folder,
            database_url=postgres_url,
            fakes=[Fake("qimen", folder)],
            sections={"notices": {"channels": ["robot"]}},
            connections={"robot": {"adapter": "wecom", "settings": {"robot_keys": [ROBOT_KEY], "base_url": wecom.url}}},
        )
        await gateway.prepare()
        database = await asyncpg.connect(postgres_url)
        try:
            worker = await gateway.start_worker(crash_at=point)
            await database.execute(
                "INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, body, leg,"
                " partition, position, code, message, created_at) SELECT 'e', 'shop-a', 't', 'k', '', at, at, '',"
                " 'inbox', 0, 0, 'json', '', at FROM (SELECT now() - interval '10 s' AS at) AS ago"
            )
            assert await asyncio.to_thread(worker.wait, 30) == 137
            assert await database.fetchval("SELECT state FROM notice") == "sending"
            await gateway.start_worker()

            async def told() -> bool:
                return await database.fetchval("SELECT state FROM notice") == "sent"

            await until(told, within_s=30, what="the notice to be sent", log=gateway.log)
        finally:
            gateway.kill()
            await database.close()
    assert len(wecom.told) == NOTICE_POINTS[point]
    assert {one.text.splitlines()[0] for one in wecom.told} == {"死信：shop-a 报文不是 JSON，1 条"}


def test_every_point_is_on_the_list() -> None:
    source = Path(__file__).resolve().parents[2] / "gateway"
    reached: set[str] = set()
    for file in source.rglob("*.py"):
        for part in file.read_text(encoding="utf-8").split('reach("')[1:]:
            reached.add(part.partition('"')[0])
    here = {point.partition(":")[0] for point in KAFKA_POINTS + INBOX_POINTS + tuple(NOTICE_POINTS)}
    assert reached == here | ELSEWHERE.keys()
    tests = Path(__file__).resolve().parents[1]
    for point, file in ELSEWHERE.items():
        assert point in (tests / file).read_text(encoding="utf-8"), f"nothing crashes at {point} in tests/{file}"
