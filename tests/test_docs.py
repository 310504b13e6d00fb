"""Pages that are made of the code are up to date, and every page's links and configuration are right.

Its commands are run by `tests/test_pages.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gateway.admin import all_settings
from gateway.plugins import discover
from gateway.settings import parse
from tests.languages import CHINESE

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("docs", "adapters")
    for path in (ROOT / folder).rglob("*.md")
    if "decisions" not in path.parts
)


@pytest.mark.parametrize(("page", "language"), [("configuration.md", "en"), ("configuration.zh-CN.md", "zh")])
def test_the_configuration_page_is_up_to_date(page: str, language: str) -> None:
    """`ordergate reference > docs/configuration.md` makes it, with `--lang zh` the Chinese one."""
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == all_settings(language).rstrip() + "\n"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    file = ROOT / page
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


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
