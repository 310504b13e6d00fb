"""The READMEs' links lead somewhere, and their configurations are right. What they tell people to type is run by
`tests/test_pages.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.check import MIN_POSTGRES
from gateway.plugins import discover
from gateway.settings import load, parse
from tests.certificates import Authority

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.zh-CN.md"]


@pytest.mark.parametrize("name", READMES)
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_quick_start_s_configuration_is_right() -> None:
    settings = load(ROOT / "docs/quickstart.yaml", {}, discover())
    assert sorted(settings.connections) == ["shop-a", "wms-1"]


@pytest.mark.parametrize("name", READMES)
def test_the_managed_kafka_is_configured_right(name: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(kafka:\n.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    Authority(tmp_path, "kafka-ca")
    made = parse(block, {"KAFKA_PASSWORD": "p"}, discover(), name=name, folder=tmp_path)
    assert made.kafka is not None and made.kafka.security.check_hostname is False


@pytest.mark.parametrize("name", READMES)
def test_the_postgresql_it_asks_for_is_the_one_that_is_checked(name: str) -> None:
    asked = re.findall(r"PostgreSQL (\d+)", (ROOT / name).read_text(encoding="utf-8"))
    assert asked == [str(MIN_POSTGRES)]
