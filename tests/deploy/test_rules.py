"""The rules of Prometheus: what every alert carries, and that each fires and resolves when it should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.telemetry.metrics import METRICS
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


def test_every_alert_is_tested_firing_and_silent() -> None:
    fires, silent = set(), set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for check in test["promql_expr_test"]:
                found = re.search(r'ALERTS\{alertname="(\w+)"', check["expr"])
                if found is not None:
                    (fires if check["exp_samples"] else silent).add(found[1])
    names = {rule["alert"] for rule in ALERTS}
    assert fires == names
    assert silent == names - {"OrdergateWatchdog"}


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
