"""The one notice that goes past the database, to a robot on loopback; the time is injected, but in the last test."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import msgspec
import pytest

from adapters.wecom.fake import FakeWecom
from adapters.wecom.notifier import WecomNotifier
from adapters.wecom.settings import Settings
from gateway.app import Worker, WorkerPlace
from gateway.core.happening import Happening, MessageEnded, Trouble
from gateway.core.notice import Kind
from gateway.core.owner import OwnerRule
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.plugins import discover
from gateway.sdk.http import Http
from gateway.sdk.notify import Notifier, Person
from gateway.settings import parse
from gateway.store.sql import migrate, open_pool
from gateway.supervise import listening
from gateway.testing.fakes import Faults
from gateway.watch.away import LOCK_FILE, TOLD_FILE, Answers, AwayWatch, Told
from gateway.watch.conditions import Policy
from gateway.watch.notices import Telling
from gateway.watch.wording import Language
from tests.ports import free_port
from tests.watch.test_end_to_end import CONFIG, ERP_SECRET, KEY, SHOP_SECRET, heard
from tests.watch.test_notices import _setup

T0 = datetime(2026, 5, 1, 1, 30, 5, tzinfo=UTC)
SECOND_KEY = KEY.replace("0f3c", "1f3c")


class Scene:
    """A database that is away when it is said to be, and a machine that looks at it once a second."""

    def __init__(self, folder: Path, channels: dict[str, Notifier], robot: FakeWecom) -> None:
        self.folder = folder
        self.channels = channels
        self.robot = robot
        self.at = 0.0
        self.renewed_at = 0.0
        self.happened: list[Happening] = []
        self.muted: frozenset[Kind] = frozenset()

    def watch(self, *, language: Language = "zh") -> AwayWatch:
        telling = Telling(
            policy=Policy(settle_s=20.0, mute=self.muted),
            language=language,
            people={"wang": Person(name="wang", userid="wangwu")},
            owners=(OwnerRule(people=("wang",), kind="database"),),
            runbooks="docs/runbooks/",
            hand_over_s=90.0,
        )
        return AwayWatch(
            unserved_s=lambda: self.at - self.renewed_at,
            heartbeat_s=3.0,
            channels=self.channels,
            telling=telling,
            folder=self.folder,
            machine="gateway-1",
            now=lambda: T0 + timedelta(seconds=self.at),
            clock_s=lambda: self.at,
            observe=self.happened.extend,
            every_s=0.01,
        )

    async def seconds(self, watch: AwayWatch, count: int, *, away: bool) -> None:
        for _ in range(count):
            self.at += 1
            if not away:
                self.renewed_at = self.at
            await watch.look()

    def known(self) -> Told:
        """What who comes next knows."""
        return msgspec.json.decode((self.folder / TOLD_FILE).read_bytes(), type=Told)

    @property
    def texts(self) -> list[str]:
        return [told.text for told in self.robot.told]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with FakeWecom(keys={KEY, SECOND_KEY}, clock=lambda: scene.at) as robot, Http(connections=2) as http:
        settings = Settings(robot_keys=(KEY, SECOND_KEY), base_url=robot.url)
        scene = Scene(tmp_path, {"robot": WecomNotifier(_setup(settings), http)}, robot)
        yield scene


@pytest.mark.feature("F80")
async def test_people_hear_once_that_it_is_away_and_once_that_it_is_back(scene: Scene) -> None:
    watch = scene.watch()
    await scene.seconds(watch, 60, away=False)
    await scene.seconds(watch, 34, away=True)
    assert scene.texts == []
    await scene.seconds(watch, 26, away=True)
    (told,) = scene.robot.told
    assert told.mentioned == ("wangwu",)
    assert told.text == (
        "数据库不可用：gateway-1\n"
        "始于 05-01 09:31:05 (UTC+8)。网关连不上 PostgreSQL，或写不进去：订单不再处理和下发，其他通知也发不出来。"
        "新事件留在 Kafka；没有 Kafka 的回 503，由发送方重试。恢复后自动续上，不会丢单，也不会重复。\n"
        "处理：检查 PostgreSQL 是否在运行、磁盘和连接数是否已满、是否只读（ordergate check）\n"
        "docs/runbooks/database.md"
    )
    await scene.seconds(watch, 600, away=True)
    await scene.seconds(watch, 19, away=False)
    assert len(scene.texts) == 1
    await scene.seconds(watch, 5, away=False)
    assert scene.texts[1:] == ["数据库已恢复：gateway-1\n始于 05-01 09:31:05 (UTC+8)，历时 11 分钟。"]
    await scene.seconds(watch, 100, away=False)
    assert len(scene.texts) == 2
    assert not any(isinstance(one, Trouble) for one in scene.happened)
    assert scene.known().since is None


async def test_it_reads_like_this_in_english(scene: Scene) -> None:
    watch = scene.watch(language="en")
    await scene.seconds(watch, 40, away=True)
    assert scene.texts[0].startswith("Database away: gateway-1\nSince 05-01 09:30:05 (UTC+8). The gateway cannot reach")


async def test_a_failover_within_half_a_minute_is_nobodys_business(scene: Scene) -> None:
    watch = scene.watch()
    for _ in range(5):
        await scene.seconds(watch, 28, away=True)
        await scene.seconds(watch, 5, away=False)
    assert scene.texts == []


async def test_a_process_that_was_stopped_tells_nothing(scene: Scene) -> None:
    """It finds its lease old, and renews it within seconds."""
    watch = scene.watch()
    await scene.seconds(watch, 5, away=False)
    scene.at += 3600
    await scene.seconds(watch, 4, away=True)
    await scene.seconds(watch, 60, away=False)
    assert scene.texts == []


async def test_one_that_flaps_is_back_when_it_has_stayed(scene: Scene) -> None:
    watch = scene.watch()
    for _ in range(60):
        await scene.seconds(watch, 25, away=False)
        await scene.seconds(watch, 35, away=True)
    assert len(scene.texts) == 3
    await scene.seconds(watch, 45, away=False)
    assert [text.split("：")[0] for text in scene.texts] == ["数据库不可用", "数据库已恢复"] * 2


async def test_one_that_flaps_is_known_for_it_whoever_tells(scene: Scene) -> None:
    """Once it is back, those whose leases ran out are replaced, and most often the one that tells is among them."""
    for _ in range(12):
        watch = scene.watch()
        watch.go_on()
        await scene.seconds(watch, 30, away=False)
        await scene.seconds(watch, 40, away=True)
    assert [text.split("：")[0] for text in scene.texts] == ["数据库不可用", "数据库已恢复", "数据库不可用"]


async def test_the_end_is_not_told_again_where_it_could_not_be_written_down(scene: Scene) -> None:
    watch = scene.watch()
    await scene.seconds(watch, 40, away=True)
    (scene.folder / TOLD_FILE).with_suffix(".new").mkdir()  # as on a disk that is full, nothing can be written
    await scene.seconds(watch, 40, away=False)
    after = scene.watch()
    after.go_on()
    await scene.seconds(after, 40, away=False)
    assert len(scene.texts) == 2


async def test_who_comes_after_a_restart_tells_the_end_and_not_the_beginning(scene: Scene) -> None:
    before = scene.watch()
    await scene.seconds(before, 40, away=True)
    after = asyncio.create_task(scene.watch().run())
    await scene_goes_on(scene, until=100, away=True)
    assert len(scene.texts) == 1
    await scene_goes_on(scene, until=200, away=False)
    after.cancel()
    with suppress(asyncio.CancelledError):
        await after
    assert [text.split("：")[0] for text in scene.texts] == ["数据库不可用", "数据库已恢复"]


async def test_of_the_workers_of_one_folder_one_tells_until_it_is_gone(scene: Scene) -> None:
    with (scene.folder / LOCK_FILE).open("a") as held_by_another:
        fcntl.flock(held_by_another, fcntl.LOCK_EX)
        watching = asyncio.create_task(scene.watch().run())
        await scene_goes_on(scene, until=100, away=True)
        assert scene.texts == []
    await scene_goes_on(scene, until=200, away=True)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert len(scene.texts) == 1


async def test_the_next_robot_has_it_when_the_first_is_gone_and_it_is_tried_again_when_none_takes_it(
    scene: Scene,
) -> None:
    scene.robot.keys = set()
    watch = scene.watch()
    await scene.seconds(watch, 60, away=True)
    assert scene.texts == []
    tries = [one for one in scene.happened if isinstance(one, MessageEnded)]
    assert {one.result for one in tries} == {"unauthorised"} and 4 <= len(tries) <= 8
    scene.robot.keys = {SECOND_KEY}
    await scene.seconds(watch, 11, away=True)
    assert [told.outlet for told in scene.robot.told] == [SECOND_KEY]


async def test_who_takes_it_and_never_says_so_is_not_told_all_the_time(scene: Scene) -> None:
    """A proxy, say, that passes requests on and loses the answers: one message of each try is with the people."""
    scene.robot.faults = Faults(garbage_share=1.0)
    scene.robot.keys = {KEY}
    watch = scene.watch()
    await scene.seconds(watch, 3600, away=True)
    shown = len(scene.texts)
    assert 10 <= shown <= 20
    scene.robot.faults = Faults()
    await scene.seconds(watch, 60, away=False)
    await scene.seconds(watch, 40, away=True)
    assert len(scene.texts) == shown + 1, "it does not wait for what went wrong before"


async def test_the_end_that_nobody_takes_is_given_up_after_a_day(scene: Scene) -> None:
    watch = scene.watch()
    await scene.seconds(watch, 40, away=True)
    scene.robot.faults = Faults(share_5xx=1.0)
    await scene.seconds(watch, 60, away=False)
    assert scene.known().since is not None
    scene.at += 86_400
    await scene.seconds(watch, 60, away=False)
    assert scene.known().since is None


async def test_without_a_folder_it_is_told_all_the_same(scene: Scene) -> None:
    """The disk that is full may be this one, too."""
    scene.folder = scene.folder / "gone"
    watch = scene.watch()
    await scene.seconds(watch, 60, away=True)
    await scene.seconds(watch, 60, away=False)
    assert len(scene.texts) == 2
    assert any(isinstance(one, Trouble) and TOLD_FILE in one.what for one in scene.happened)


async def test_a_broken_file_of_before_does_no_harm(scene: Scene) -> None:
    (scene.folder / TOLD_FILE).write_bytes(b"{")
    watching = asyncio.create_task(scene.watch().run())
    await scene_goes_on(scene, until=100, away=True)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert len(scene.texts) == 1


async def test_who_has_muted_it_hears_nothing(scene: Scene) -> None:
    scene.muted = frozenset({Kind.DATABASE})
    watching = asyncio.create_task(scene.watch().run())
    await scene_goes_on(scene, until=100, away=True)
    await watching
    assert scene.texts == []


async def scene_goes_on(scene: Scene, *, until: int, away: bool) -> None:
    """Time passes, a second in ten milliseconds, which is how often one that runs looks."""
    while scene.at < until:
        scene.at += 1
        if not away:
            scene.renewed_at = scene.at
        await asyncio.sleep(0.01)


async def test_a_server_that_takes_no_more_answers_nobody(postgres_server: EmbeddedPostgres, postgres_url: str) -> None:
    name = urlsplit(postgres_url).path[1:]
    at = 0.0
    admin = await asyncpg.connect(postgres_server.url)
    pool = await open_pool(postgres_url, size=2)
    answers = Answers(pool, clock_s=lambda: at, every_s=0.01)
    asking = asyncio.create_task(answers.run())

    async def answered() -> None:
        async with asyncio.timeout(10):
            while answers.unanswered_s() > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    try:
        at = 100.0
        await answered()
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)
        await asyncio.sleep(0.2)  # until then it may have been asked before
        at = 200.0
        await asyncio.sleep(0.2)
        assert answers.unanswered_s() == 100.0
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await answered()
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await pool.close()
        await admin.close()


@asynccontextmanager
async def _worker(url: str, folder: Path) -> AsyncIterator[FakeWecom]:
    """One that is ready, and the robot that it tells."""
    happened: list[Happening] = []
    async with FakeWecom(keys={KEY}) as wecom:
        pool = await open_pool(url, size=2)
        await migrate(pool)
        await pool.close()
        text = CONFIG.format(
            folder=folder,
            url=url,
            shop=SHOP_SECRET,
            erp=ERP_SECRET,
            port=free_port(),
            key=KEY,
            wecom=wecom.url,
        )
        sock = listening(("127.0.0.1", 0))
        worker = Worker(
            parse(text, {}, discover(), name="test.yaml", folder=folder),
            WorkerPlace(name="test/0", sock=sock, stop_within_s=5.0),
            url=url,
            observe=happened.extend,
        )
        running = asyncio.create_task(worker.run(), name="worker")
        ready = f"http://127.0.0.1:{sock.getsockname()[1]}/readyz"
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                if (await session.get(ready)).status == 200:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("not ready within 20 s")
        yield wecom
        worker.stop()
        await running


@pytest.mark.real
@pytest.mark.feature("F80")
async def test_a_postgresql_that_is_stopped_is_told_within_a_minute(server_folder: Path, tmp_path: Path) -> None:
    server = EmbeddedPostgres(server_folder / "pg")
    await server.start()
    async with _worker(server.url, tmp_path) as wecom:
        stopped_at = datetime.now(UTC).timestamp()
        await server.stop()
        away = await heard(wecom, lambda told: told.text.startswith("数据库不可用："), within_s=60)
        print(f"\nstopped to told: {away.at - stopped_at:.1f} s")
        await server.start()
        await heard(wecom, lambda told: told.text.startswith("数据库已恢复："), within_s=60)
    await server.stop()
    assert away.at - stopped_at < 60


# By what a heartbeat ends with.
_KEEPS_THE_LEASE = "query LIKE '%now() FROM worker' OR query LIKE 'SELECT % FROM lane WHERE worker_id = $1'"


@pytest.mark.real
async def test_a_postgresql_whose_connections_are_taken_is_told_though_it_renews_the_lease(
    server_folder: Path, tmp_path: Path
) -> None:
    """As after it was started again, when others are faster: what has come in first stays, and nothing else does."""
    async with EmbeddedPostgres(server_folder / "pg", tcp=True) as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute("CREATE ROLE merchant LOGIN PASSWORD 'merchant'")
        await admin.execute("CREATE DATABASE orders OWNER merchant")
        url = f"postgresql://merchant:merchant@127.0.0.1:{urlsplit(server.url).port}/orders"
        async with _worker(url, tmp_path) as wecom:
            orders = await asyncpg.connect(server.url_of("orders"))
            async with asyncio.timeout(20):
                while not await admin.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {_KEEPS_THE_LEASE}"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await admin.execute("ALTER ROLE merchant CONNECTION LIMIT 0")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE usename = 'merchant' AND NOT ({_KEEPS_THE_LEASE})"
            )
            taken_at = datetime.now(UTC).timestamp()
            away = await heard(wecom, lambda told: told.text.startswith("数据库不可用："), within_s=60)
            assert await orders.fetchval("SELECT now() - renewed_at < interval '10 s' FROM worker")
            await admin.execute("ALTER ROLE merchant CONNECTION LIMIT -1")
            await heard(wecom, lambda told: told.text.startswith("数据库已恢复："), within_s=60)
            await orders.close()
        await admin.close()
    assert away.at - taken_at < 60
