"""A page as a story plays it: its commands one after the other, every one of them run."""

from __future__ import annotations

from collections.abc import Mapping

from tests.pages.reading import begins, commands_of, only_named, pages, text_of
from tests.pages.stage import Running, Stage

PLACEHOLDERS = {
    "NAME": "wms-1",
    "单号": "NUMBER",
    "序号": "SEQ",
    "编号": "ID",
    "连接名": "wms-1",
    "名称": "wms-1",
    "CHANNEL": "ops-mail",
    "N": "2",
    "<target>": "wms-1",
    "<目标>": "wms-1",
    "<operation>": "create",
    "<操作>": "create",
    "FILE": "given",
    "文件": "given",
    "…": "why",
    "...": "why",
}
"""What a word of a page stands for where its story says nothing else."""

FETCHING = {
    "kafka": (
        ".venv/bin/python -m tests.real.broker run --port 9092 --dir /tmp/kafka",
        "kafka-topics.sh --bootstrap-server 127.0.0.1:9092 --create --topic ordergate.inbound --partitions 8",
    ),
    "service": ("python3 -m venv /opt/ordergate && /opt/ordergate/bin/pip install '.[embedded]'",),
    "plugin": (".venv/bin/python -m pip install -e ./mywms",),
    "lock": (
        "uv pip compile pyproject.toml --extra embedded --generate-hashes --python-version 3.13 --no-header"
        " -o deploy/requirements.lock",
    ),
}
"""Commands that need a package registry: played by tests/real/test_pages.py, under these names."""

NOT_RUN = {
    "./dev demo": "takes minutes; played short by tests/demo, whole by tests/real",
    "./dev demo --without-gateway": "takes minutes; played short by tests/demo",
    "./dev bench --quick": "measures for minutes; tests/real starts only its `--kill`, and kills that",
    "./dev test": "is what runs this test",
    "./dev test -k stock": "is what runs this test",
    "./dev test-real": "runs tests",
    "./dev test-soak -k simulated": "runs tests",
    "./dev test-soak tests/deploy/test_image.py": "runs tests",
    "./dev check": "runs tests",
    "./dev generate": "writes into the checkout; what it would write is compared by tests/grafana",
    "docker compose -f deploy/compose/compose.yaml up --build -d": "needs a Docker engine",
    "docker compose -f deploy/compose/compose.yaml logs gateway-1 gateway-2 | grep 'administrator token'": (
        "needs a Docker engine"
    ),
    "docker run -p 127.0.0.1:8080:8080 -e ORDERGATE_HTTP_LISTEN=0.0.0.0:8080 --stop-timeout 40"
    " -v ordergate:/var/lib/ordergate -v $PWD/ordergate.yaml:/etc/ordergate/ordergate.yaml:ro ordergate": (
        "needs a Docker engine"
    ),
    "docker compose ps": "needs a Docker engine",
    "docker compose -f deploy/compose/compose.yaml exec -e ORDERGATE_TOKEN gateway-1 ordergate orders list": (
        "needs a Docker engine"
    ),
    "docker compose -f deploy/compose/compose.yaml exec gateway-1 ordergate check": "needs a Docker engine",
    "docker compose -f deploy/compose/compose.yaml stop gateway-1 gateway-2": "needs a Docker engine",
    "docker compose -f deploy/compose/compose.yaml exec postgres dropdb -U ordergate --if-exists ordergate": (
        "needs a Docker engine"
    ),
    "docker compose -f deploy/compose/compose.yaml exec postgres createdb -U ordergate ordergate": (
        "needs a Docker engine"
    ),
    "docker compose -f deploy/compose/compose.yaml run --rm gateway-1 restored": "needs a Docker engine",
    "docker compose -f deploy/compose/compose.yaml exec -T postgres pg_dump -U ordergate --format=custom ordergate"
    " >ordergate.dump": "needs a Docker engine",
    "docker compose -f deploy/compose/compose.yaml exec -T postgres pg_restore -U ordergate --exit-on-error"
    " --dbname=ordergate <ordergate.dump": "needs a Docker engine",
    "pg_restore --clean": "is named only: tests/test_supervise.py runs it whole",
    "su postgres -c 'createuser --pwprompt ordergate && createdb --owner=ordergate ordergate'": (
        "needs root, and changes the machine's database"
    ),
    "useradd --system --home-dir /var/lib/ordergate --shell /usr/sbin/nologin ordergate": (
        "needs root, and changes the machine"
    ),
    "systemctl daemon-reload && systemctl enable --now ordergate": "needs systemd",
    "journalctl -u ordergate | grep 'administrator token'": "needs systemd",
    "/opt/ordergate/bin/pip install '.[embedded]' && systemctl restart ordergate": "needs systemd",
    "systemctl start ordergate": "needs systemd",
    "systemctl status ordergate": "needs systemd",
}
"""Commands that no test can run, and why."""

ELSEWHERE = {*NOT_RUN, *(command for commands in FETCHING.values() for command in commands)}
"""Commands that are in no story of these pages."""


class Page:
    """The commands of `path` that are to be run. One that is only named is run where a page has it whole."""

    def __init__(self, path: str, stage: Stage | None = None, names: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.stage = stage
        names = {**PLACEHOLDERS, **(names or {})}
        whole = [command for page in pages() for command in commands_of(text_of(page), names)]
        self._left = [
            command
            for command in commands_of(text_of(path), names)
            if command not in ELSEWHERE
            and not (only_named(command) and any(begins(other, command) and not only_named(other) for other in whole))
        ]

    def run(self, command: str, *, more: str = "", instead: Mapping[str, str] | None = None, code: int = 0) -> str:
        """Run the page's next command, with `more` that the page leaves to its reader; it has to end with `code`.

        `instead`: parts of it that only the story knows. Returns what it printed, or what it complained of.
        """
        self._next(command)
        for part, wanted in (instead or {}).items():
            assert part in command
            command = command.replace(part, wanted)
        ran = self.stage.run(f"{command} {more}".strip())
        assert ran.code == code, f"{self.path}: `{command}` ended with {ran.code}:\n{ran.out}\n{ran.err}"
        return ran.out or ran.err

    def run_on(self, other: str, command: str) -> None:
        """The story of the page `other` runs this very command."""
        self._next(command)
        assert command in commands_of(text_of(other), PLACEHOLDERS)

    def start(self, command: str) -> Running:
        """The same for a command that runs until it is stopped."""
        self._next(command)
        return self.stage.start(command)

    def start_gateway(self, command: str) -> Running:
        self._next(command)
        return self.stage.start_gateway(command)

    def over(self) -> None:
        assert not self._left, (
            f"{self.path}: `{self._left[0]}` is run by no test. Add it to the page's story in tests/pages; if nothing"
            " can run it, to NOT_RUN in tests/pages/page.py, with the reason."
        )

    def _next(self, command: str) -> None:
        following = self._left.pop(0) if self._left else "(nothing)"
        assert following == command, (
            f"{self.path}: the page goes on with\n    {following}\nand its story in tests/pages with\n    {command}"
        )
