"""docs/adapters.md: the adapter that the page shows, made of its very text, run by a gateway against its own fake."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.pages.page import Page
from tests.pages.reading import ROOT, text_of
from tests.pages.stage import Stage, until
from tests.pages.town import SECRET, example_of, send_order, write_config

_FILE = re.compile(r"^`mywms/([\w./]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FAKE = (
    ".venv/bin/python -m ordergate_mywms.fake --port 8701 --token try-me --secret a-secret-of-16-or-more"
    " --hooks-url http://127.0.0.1:8080/hooks/wms-2"
)
_FAULTS = (
    "curl -s -X POST http://127.0.0.1:8701/faults"
    """ -d '{"commit_then_timeout_share": 1, "first_attempts_only": true}'"""
)


def files_of(page: str) -> dict[str, str]:
    """Name below `mywms/` → text, of every file that the page shows; the empty one included."""
    return {**dict(_FILE.findall(text_of(page))), "ordergate_mywms/__init__.py": ""}


def write_package(page: str, folder: Path) -> None:
    for name, text in files_of(page).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def story(page: Page, stage: Stage) -> None:
    with _installed(page.path, stage):
        listed = page.run(".venv/bin/ordergate adapters")
        assert re.search(r"mywms +自有 WMS", listed) and "下单、取消" in listed and "webhook" in listed
        document = example_of(page.path)
        write_config(stage, document)
        fakes = [
            page.start(_FAKE),
            page.start(f".venv/bin/python -m adapters.webhook.fake --port 8702 --secret {SECRET}"),
        ]
        until(lambda: all("http://" in fake.said() for fake in fakes), "the fakes")
        checked = page.run(".venv/bin/ordergate check -c ordergate.yaml")
        assert "没有问题" in checked and "connections.wms-2" in checked
        page.start_gateway(".venv/bin/ordergate run -c ordergate.yaml")

        send_order(stage, "A1001")
        until(lambda: "shop-a 1 成功" in stage.run("ordergate orders show AA1001").out, "the shipment to be told back")
        shown = page.run("ordergate orders show AA1001")
        assert "AA1001  shop-a  已发货" in shown and "wms-2 1 成功 W-AA1001" in shown
        books = f"http://127.0.0.1:{stage.port(8701)}/books"
        shop = f"http://127.0.0.1:{stage.port(8702)}/books"
        assert stage.get(books)["orders"]["AA1001"] | {"at": [], "requests": {}} == {
            "documents": 1, "cancelled": False, "commands": ["create"], "at": [], "requests": {}, "status": "",
        }  # fmt: skip
        assert "AA1001" in stage.get(shop)["orders"]

        assert '"commit_then_timeout_share":1.0' in page.run(_FAULTS)
        send_order(stage, "A1002")
        until(lambda: "AA1002" not in stage.run("ordergate deliveries list").out and _shipped(stage), "it to be found")
        page.run("curl -s http://127.0.0.1:8701/books")
        order: dict[str, Any] = stage.get(books)["orders"]["AA1002"]
        assert (order["documents"], order["requests"]["create"]) == (1, 1)
        assert "编号" in page.run("ordergate dead list")
    page.run_on("docs/configuration.md", "ordergate reference")


def _shipped(stage: Stage) -> bool:
    return "shop-a 1 成功" in stage.run("ordergate orders show AA1002").out


@contextmanager
def _installed(page: str, stage: Stage) -> Iterator[None]:
    """As pip leaves it, without a registry for what builds it: tests/real installs it in earnest."""
    site = stage.folder / "site"
    write_package(page, site)
    project = tomllib.loads((site / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / "ordergate_mywms-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {value}" for name, value in project["entry-points"]["ordergate.adapters"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[ordergate.adapters]", *points, ""]))
    stage.environment["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT)])
    sys.path.insert(0, str(site))
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in [name for name in sys.modules if name.partition(".")[0] == "ordergate_mywms"]:
            del sys.modules[name]
