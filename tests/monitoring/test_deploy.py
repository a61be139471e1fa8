"""The dashboard and the alerting rules name only metrics and labels that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from finerank.monitoring.alerts import Alerts
from finerank.monitoring.figures import FIGURES
from finerank.monitoring.health import HealthWindow
from finerank.monitoring.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "deploy/monitoring"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


@pytest.fixture(scope="module")
def names() -> set[str]:
    health = HealthWindow()
    families = Metrics(health, Alerts(health))._registry.collect()
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, [])}


def dashboard() -> dict[str, Any]:
    return json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def used(queries: list[str]) -> set[str]:
    return {name for query in queries for name in re.findall(r"\bfinerank_\w+", query)}


def test_the_dashboard_asks_for_metrics_that_exist(names: set[str]) -> None:
    variables = [each["definition"] for each in dashboard()["templating"]["list"] if each["type"] == "query"]
    assert used([*queries(), *variables]) <= names
    assert {f"finerank_ranking_{figure.name}" for figure in FIGURES} <= used(queries())


def test_the_panels_lie_side_by_side() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(places)


def test_the_rules_ask_for_metrics_that_exist(names: set[str]) -> None:
    assert used([rule["expr"] for rule in rules()]) <= names
    for rule in rules():
        assert {"alert", "expr", "for", "labels", "annotations"} == set(rule)
        said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert said <= {word for words in re.findall(r"by \(([\w, ]+)\)", rule["expr"]) for word in words.split(", ")}
