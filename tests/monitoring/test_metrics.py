import re
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from finerank import MissingExtra
from finerank.monitoring.alerts import Alerts
from finerank.monitoring.figures import FIGURES
from finerank.monitoring.health import HealthWindow
from finerank.monitoring.metrics import Metrics
from finerank.monitoring.observe import observe
from finerank.ranking import Usage
from finerank.serving import problems
from finerank.settings import ServeSettings

ROOT = Path(__file__).parents[2]


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    text = metrics.render()[1].decode()
    return {
        (sample.name, *(f"{name}={value}" for name, value in sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_facts_become_metrics() -> None:
    metrics = Metrics()
    metrics.answered("cohere", 200, 0.02, Usage(pairs=10, tokens=1311, truncated=2, cached=3))
    metrics.answered("cohere", 429, 0.001)
    metrics.answered("tei", 200, 0.02, Usage(pairs=1, tokens=9))
    metrics.refused("overloaded")
    metrics.forwarded(8, 512, 1024, 0.03)
    metrics.waited(0.004)
    metrics.watch_queue(lambda: (12, 1700))
    metrics.loaded("m", 0.4)
    metrics.loaded("n", 0.5)
    metrics.unloaded("m")
    metrics.swapped()
    with metrics.in_flight():
        during = samples(metrics)
    found = samples(metrics)
    assert during["finerank_requests_in_flight",] == 1
    expected = {
        ("finerank_requests_in_flight",): 0,
        ("finerank_requests_total", "dialect=cohere", "status=200"): 1,
        ("finerank_requests_total", "dialect=cohere", "status=429"): 1,
        ("finerank_requests_total", "dialect=tei", "status=200"): 1,
        ("finerank_request_duration_seconds_count", "dialect=cohere"): 2,
        ("finerank_request_duration_seconds_bucket", "dialect=cohere", "le=0.005"): 1,
        ("finerank_pairs_total",): 11,
        ("finerank_tokens_total",): 1320,
        ("finerank_truncated_documents_total",): 2,
        ("finerank_cache_hits_total",): 3,
        ("finerank_errors_total", "kind=overloaded"): 1,
        ("finerank_batch_pairs_sum",): 8,
        ("finerank_batch_fill_ratio_sum",): 0.5,
        ("finerank_forward_duration_seconds_sum",): 0.03,
        ("finerank_scored_pairs_total",): 8,
        ("finerank_scored_tokens_total",): 512,
        ("finerank_queue_wait_seconds_sum",): 0.004,
        ("finerank_queue_pairs",): 12,
        ("finerank_queue_tokens",): 1700,
        ("finerank_model_loaded", "model=m"): 0,
        ("finerank_model_loaded", "model=n"): 1,
        ("finerank_model_load_duration_seconds_count", "model=n"): 1,
        ("finerank_model_swaps_total",): 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["finerank_process_resident_memory_bytes",] > 1e6


def test_what_is_alerted_and_scaled_on_is_there_before_the_first_request() -> None:
    metrics = Metrics()
    metrics.watch_queue(lambda: (0, 0))
    found = samples(metrics)
    assert found["finerank_queue_tokens",] == found["finerank_requests_in_flight",] == 0
    kinds = {kind for _, kind in problems._KINDS} | {"failed"}
    assert {name[1].removeprefix("kind=") for name in found if name[0] == "finerank_errors_total"} == kinds
    assert {found["finerank_errors_total", f"kind={kind}"] for kind in kinds} == {0}


def test_a_model_that_is_reloaded_stays_loaded() -> None:
    metrics = Metrics()
    metrics.loaded("m", 0.4)
    metrics.loaded("m", 0.4)
    metrics.unloaded("m")
    assert samples(metrics)["finerank_model_loaded", "model=m"] == 1


def test_without_its_extra_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "finerank.monitoring.metrics")
    with pytest.raises(MissingExtra, match=r"finerank\[serve\]"):
        import_module("finerank.monitoring.metrics")


def test_two_servers_in_a_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.swapped()
    assert samples(other)["finerank_model_swaps_total",] == 0


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    content_type, text = full().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(text.decode())} == declared()


def full() -> Metrics:
    health = HealthWindow()
    return Metrics(health, Alerts(health))


def declared() -> set[str]:
    return {family.name for family in full()._registry.collect()}


def test_every_name_has_the_prefix() -> None:
    assert all(name.startswith("finerank_") for name in declared())


def test_ranking_health_is_read_when_asked(ranked) -> None:
    health = HealthWindow()
    alerts = Alerts(health)
    metrics = Metrics(health, alerts)
    for turn in range(30):
        health.record(observe(ranked([-1.0, -2.0]), 2), "m", 'a "b"' if turn else None)
    alerts.check()
    found = samples(metrics)
    assert found["finerank_ranking_requests", "model=m", "tag="] == 30
    assert found["finerank_ranking_requests", "model=m", 'tag=a "b"'] == 29
    assert found["finerank_ranking_low_score_share", "model=m", "tag="] == 1
    assert ("finerank_ranking_low_score_share", "model=m", 'tag=a "b"') not in found  # 29 are too few to judge
    assert ("finerank_ranking_drift", "model=m", "tag=") not in found
    assert found["finerank_ranking_alert_active", "figure=low_score_share", "model=m", "tag="] == 1


def test_every_figure_is_a_metric() -> None:
    assert {f"finerank_ranking_{figure.name}" for figure in FIGURES} <= declared()


def test_the_manual_lists_every_metric_and_no_other() -> None:
    manual = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(finerank_\w+)`", manual, re.M))
    counters = {family.name for family in full()._registry.collect() if family.type == "counter"}
    assert listed == {f"{name}_total" if name in counters else name for name in declared()}


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_the_manual_explains_every_figure(figure) -> None:
    manual = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{figure.name}` \|.*$", manual, re.M)
    bounds = [f"{bound:g}" for bound in figure.healthy if bound is not None]
    assert all(bound in row for bound in bounds)


def test_the_manual_gives_the_settings_their_defaults() -> None:
    manual = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    defaults = {option.name: option.default for option in fields(ServeSettings)}
    listed = dict(re.findall(r"^\| `(\w+)` \| (`[\d.]+`|unset) \|", manual, re.M))
    assert set(listed) == {"health_window_s", "low_score", "alert_webhook", "state_dir"}
    for name, shown in listed.items():
        assert defaults[name] == (None if shown == "unset" else float(shown.strip("`")))
