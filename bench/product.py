"""The gateway as users run it: `ordergate run --workers N` in a process of its own, with a configuration file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bench import orders
from bench.machine import tree
from tests.lifelines import end_with_us

SECRET = "whsec_b3JkZXJnYXRlLWJlbmNobWFyay1zZWNyZXQ="


class Product:
    """A running gateway between a topic and a URL; its configuration and log stay in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str,
        bootstrap: str,
        topic: str,
        group: str,
        target_url: str,
        in_flight: int,
        adaptive: bool = False,
        workers: int = 1,
    ) -> None:
        folder.mkdir(parents=True)
        self._config = folder / "ordergate.yaml"
        self._config.write_text(
            yaml.safe_dump(
                configuration(
                    folder,
                    database_url=database_url,
                    bootstrap=bootstrap,
                    topic=topic,
                    group=group,
                    target_url=target_url,
                    in_flight=in_flight,
                    adaptive=adaptive,
                ),
                allow_unicode=True,
            )
        )
        self.log = folder / "ordergate.log"
        self._workers = workers

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("ordergate")),
                    "run",
                    "--config",
                    str(self._config),
                    "--workers",
                    str(self._workers),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_us,  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        """The parent of the workers."""
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        return [pid for pid in tree(self.pid) if pid != self.pid]

    def stop(self) -> None:
        """Orderly. Raises RuntimeError with the end of the log if the gateway had ended by itself or does not stop."""
        ended = self._process.poll()
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"the gateway did not stop\n{self.tail()}") from None
        if ended is not None:
            raise RuntimeError(f"the gateway ended with code {ended}\n{self.tail()}")

    def tail(self) -> str:
        """What the log says beside the lines of single orders."""
        lines = self.log.read_text(errors="replace").splitlines()
        said = [line for line in lines if '"order_decided"' not in line and '"attempt_ended"' not in line]
        return "\n".join(said[-20:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except RuntimeError:
            if kind is None:
                raise


def configuration(
    folder: Path,
    *,
    database_url: str,
    bootstrap: str,
    topic: str,
    group: str,
    target_url: str,
    in_flight: int,
    adaptive: bool,
) -> dict[str, Any]:
    """One shop, one target, and the defaults of everything else but the in-flight limit."""
    return {
        "data_dir": str(folder / "data"),
        "database": {"url": database_url},
        "kafka": {"bootstrap": bootstrap, "topic": topic, "group": group},
        "http": {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"},
        "connections": {
            orders.CONNECTION: {
                "adapter": "webhook",
                "prefix": orders.PREFIX,
                "mode": "live",
                "route": [{"target": "sink", "warehouse": orders.WAREHOUSE}],
                "settings": {"secrets": [SECRET]},
            },
            "sink": {
                "adapter": "webhook",
                "gates": {"create": {"in_flight": in_flight, "adaptive": adaptive}},
                "settings": {"secrets": [SECRET], "url": target_url},
            },
        },
    }
