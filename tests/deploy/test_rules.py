"""The rules of Prometheus: what every alert carries, and that each fires and resolves when it should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.telemetry.metrics import METRICS
from grafana.board import ROWS
from grafana.catalogue import RULES, names_in
from tests.real.prometheus import NoPrometheus, program

ROOT = Path(__file__).resolve().parents[2]
TESTS = sorted((RULES.parent / "tests").glob("*.yml"))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_tells_what_it_is_in_both_languages_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "none")
    assert re.search("[一-鿿]", rule["annotations"]["summary"])
    assert not re.search("[一-鿿]", rule["annotations"]["summary_en"])
    runbook = ROOT / rule["annotations"]["runbook"]
    assert runbook.parent == ROOT / "docs" / "runbooks"
    assert runbook.is_file(), f"{rule['annotations']['runbook']} is not written"


def test_rules_look_only_at_series_there_are() -> None:
    known = {metric.name for metric in METRICS} | {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert names_in(rule["expr"]) <= known, rule.get("alert") or rule["record"]


def test_what_is_recorded_is_read_by_an_alert_or_on_the_board() -> None:
    read = {name for rule in rules() for name in names_in(rule["expr"])}
    read |= {name for row in ROWS for panel in row.panels for query in panel.queries for name in names_in(query.expr)}
    assert {rule["record"] for rule in rules() if "record" in rule} <= read


def test_every_alert_is_tested_silent_then_firing_then_silent_again() -> None:
    """In one story each: silence before, or in another story, does not show that it ever ends."""
    fires, ends = set(), set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for name, seen in _seen(test).items():
                fires |= {name} if "F" in seen else set()
                ends |= {name} if re.search("SF+S", seen) else set()
    names = {rule["alert"] for rule in ALERTS}
    assert fires == names
    assert ends == names - {"OrdergateWatchdog"}


def _seen(test: dict[str, Any]) -> dict[str, str]:
    """Per alert what one story of promtool expects of it, in the sequence of time: F it fires, S it is silent."""
    seen: dict[str, list[tuple[int, str]]] = {}
    for check in test["promql_expr_test"]:
        found = re.fullmatch(r'ALERTS\{alertname="(\w+)",alertstate="firing"\}', check["expr"])
        if found is not None:
            at = re.fullmatch(r"(\d+)m(?:(\d+)s)?", check["eval_time"])
            assert at is not None, check
            seen.setdefault(found[1], []).append(
                (60 * int(at[1]) + int(at[2] or 0), "F" if check["exp_samples"] else "S")
            )
    return {name: "".join(state for _, state in sorted(checks)) for name, checks in seen.items()}


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return program("promtool")
    except NoPrometheus as error:
        pytest.skip(str(error))


@pytest.mark.real
@pytest.mark.feature("F86")
def test_promtool_accepts_the_rules_and_each_fires_and_resolves(promtool: Path) -> None:
    for command in (["check", "rules", RULES], ["test", "rules", *TESTS]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_promtool_accepts_the_configuration(promtool: Path) -> None:
    for file in sorted(RULES.parent.glob("prometheus*.yml")):
        done = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
