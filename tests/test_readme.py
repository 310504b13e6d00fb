"""What the READMEs tell people to type exists, in both languages, and the quick start's configuration is right.

The quick start's whole way (two fakes, check, run, sign, curl, look) is `tests/test_quickstart.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from gateway.cli import app
from gateway.plugins import discover
from gateway.settings import load, parse
from tests.certificates import Authority

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.zh-CN.md"]


def shell_lines(name: str) -> list[str]:
    """The commands in the `sh` blocks, continuation lines joined, comments cut."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in blocks.splitlines() if line.strip() and not line.startswith("#")]


def test_both_languages_give_the_same_commands() -> None:
    first, second = (shell_lines(name) for name in READMES)
    assert first == second and len(first) > 12


@pytest.mark.parametrize("name", READMES)
def test_every_ordergate_command_exists(name: str) -> None:
    commands = typer.main.get_command(app)
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"ordergate ((?:[a-z]+ ?)+)", "\n".join(shell_lines(name) + re.findall("`(.*?)`", text)))
    assert found
    for words in found:
        command = commands
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"{name}: ordergate {words}"
            command = command.commands[word]


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
