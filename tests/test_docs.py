"""Pages that are made of the code are up to date, and every page's links and configuration are right.

Its commands are run by `tests/test_pages.py`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.admin import all_settings
from gateway.plugins import discover
from gateway.settings import parse
from tests.languages import CHINESE
from tests.pages.page import PLACEHOLDERS
from tests.pages.reading import commands_of, only_named, pages, text_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("docs", "adapters")
    for path in (ROOT / folder).rglob("*.md")
    if "decisions" not in path.parts
)
DECISIONS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/decisions").glob("*.md"))


@pytest.mark.parametrize(("page", "language"), [("configuration.md", "en"), ("configuration.zh-CN.md", "zh")])
def test_the_configuration_page_is_up_to_date(page: str, language: str) -> None:
    """`ordergate reference > docs/configuration.md` makes it, with `--lang zh` the Chinese one."""
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == all_settings(language).rstrip() + "\n"


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS])
def test_every_link_leads_somewhere(page: str) -> None:
    file = ROOT / page
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8"))
    assert [f"docs/decisions/{name}" for name in listed] == [page for page in DECISIONS if "README" not in page]


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("adapters/")])
def test_what_is_not_verified_is_told_in_both_languages_beside_its_adapter(page: str) -> None:
    _, _, part = (ROOT / page).read_text(encoding="utf-8").partition("\n## 未核实 · Not verified\n")
    head, line, *rows = [row for row in part.splitlines() if row.startswith("|")]
    assert (head, line) == ("| 内容 what | 取值 taken | 配置 setting |", "|---|---|---|")
    assert len(rows) > 5
    for row in rows:
        what = row.split("|")[1]
        assert CHINESE.search(what) and re.search("[a-z]{3}", re.sub("`[^`]*`", "", what)), row


@pytest.mark.parametrize("page", [page for page in PAGES if "cut-over" in page])
def test_the_steps_of_a_cut_over_are_configurations(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    observe, live = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    wms = yaml.safe_load((ROOT / "docs/quickstart.yaml").read_text(encoding="utf-8"))["connections"]["wms-1"]
    entries = yaml.safe_load(observe)["connections"]
    for change in ({}, yaml.safe_load(live)):
        entries["shop-a"].update(change)
        secret = "whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA=="
        document = yaml.safe_dump({"connections": {**entries, "wms-1": wms}})
        made = parse(document, {"SHOP_A_SECRET": secret}, discover(), name=page, folder=tmp_path)
        assert made.connections["shop-a"].mode == change.get("mode", "observe")  # type: ignore[index]


COMPOSE = "deploy/compose/compose.yaml"


def inside(command: str) -> str | None:
    """What `docker compose exec` and `run` have `ordergate` do; None for all else.

    Fails where the file or a service that is named is not there.
    """
    words = shlex.split(command)
    if words[:2] != ["docker", "compose"]:
        return None
    given = list(takewhile(lambda word: word[0] not in "|<>&;", words[2:]))
    file = given[given.index("-f") + 1] if "-f" in given else COMPOSE
    assert (ROOT / file).is_file(), f"`{command}`: there is no {file}"
    services: Mapping[str, Any] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["services"]
    verb = next((one for one in ("exec", "run", "stop", "logs") if one in given), None)
    if verb is None:
        return None
    given = given[given.index(verb) + 1 :]
    while given and given[0].startswith("-"):
        # Of the options only that for a variable has its value in a word of its own.
        del given[: 2 if given[0] in ("-e", "--env") else 1]
    assert given, f"`{command}`: of which service?"
    for service in given[:1] if verb in ("exec", "run") else given:
        assert service in services, f"`{command}`: {file} has no service `{service}`"
    service, *inner = given
    if verb == "run" and services[service]["image"].startswith("ordergate:"):
        return shlex.join(["ordergate", *inner])
    return shlex.join(inner) if verb == "exec" and inner[:1] == ["ordergate"] else None


def test_what_the_pages_have_containers_do_is_there() -> None:
    """No test runs these: they need an engine."""
    found = [command for page in pages() for command in commands_of(text_of(page), PLACEHOLDERS)]
    inner = [command for command in map(inside, found) if command is not None]
    assert [command for command in inner if only_named(command)] == []
    assert {"ordergate check", "ordergate orders list", "ordergate restored"} <= set(inner)


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("docker compose -f deploy/compose.yaml logs gateway-1", "there is no deploy/compose.yaml"),
        ("docker compose logs gateway-1 gateway-3 | grep x", "has no service `gateway-3`"),
        ("docker compose stop gateway", "has no service `gateway`"),
        ("docker compose exec -T postgresql pg_dump >ordergate.dump", "has no service `postgresql`"),
        ("docker compose exec -e ORDERGATE_TOKEN gateway-1 ordergate orders lst", "there is no `lst`"),
        ("docker compose run --rm gateway-1 check --confg x", "there is no option `--confg`"),
    ],
)
def test_what_no_container_can_do_is_told(command: str, wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        only_named(inside(command) or "")
