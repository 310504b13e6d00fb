"""The board as Grafana will read it: in step with its source, without overlaps, and only of metrics there are."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from gateway.telemetry.metrics import METRICS
from grafana import board, catalogue

PANELS: list[dict[str, Any]] = board.board()["panels"]


def test_the_files_are_what_their_sources_say() -> None:
    assert board.FILE.read_text(encoding="utf-8") == board.text(), "run ./dev generate"
    assert catalogue.FILE.read_text(encoding="utf-8") == catalogue.page(), "run ./dev generate"


def test_the_catalogue_has_every_metric_in_chinese_and_english_and_where_it_is_seen() -> None:
    page = catalogue.page()
    for metric in METRICS:
        section = page.split(f"## {metric.name}\n")[1].split("\n## ")[0]
        assert re.search("[一-鿿]", metric.zh) and metric.help in section
        assert "看板 panels" in section, f"{metric.name} stands on no panel"
        for label in metric.labels:
            assert f"`{label.name}`" in section


def test_panels_do_not_overlap_and_have_their_own_number() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells


def test_titles_and_texts_are_chinese_first() -> None:
    for panel in PANELS:
        texts = [panel["title"], *([panel["description"]] if panel["type"] != "row" else [])]
        for text in texts:
            assert re.search("[一-鿿]", text) and re.search("[A-Za-z]{3}", text), text


def test_queries_use_the_chosen_source_and_metrics_there_are() -> None:
    known = {metric.name for metric in METRICS}
    used: set[str] = set()
    for panel in PANELS:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job="$job"' in target["expr"] or "ALERTS" in target["expr"]
            used |= catalogue.names_in(target["expr"])
    assert used <= known
    assert {metric.name for metric in METRICS} <= used


def test_variables_are_all_defined() -> None:
    text = json.dumps(board.board())
    defined = {variable["name"] for variable in board.board()["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)\}?", text)) - {"rate"} <= defined
