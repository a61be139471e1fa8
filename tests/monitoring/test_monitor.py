import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from finerank.monitoring.monitor import Monitor
from finerank.ranking import Document, Ranking, Usage, rank_by_score


def ranking(*logits: float, model: str = "m") -> Ranking:
    return Ranking(rank_by_score([Document(str(logit)) for logit in logits], logits), model)


def test_what_the_server_tells_is_what_it_can_ask() -> None:
    with Monitor() as monitor:
        monitor.watch_queue(lambda: (30, 3000))
        with monitor.in_flight():
            monitor.waited(0.01)
            monitor.forwarded(30, 900, 1024, 0.02)
            monitor.ranked(ranking(1.0, 2.0, -4.0), 3, "faq")
            monitor.answered("cohere", 200, 0.05, Usage(pairs=3, tokens=90, truncated=1, cached=2))
        monitor.refused("overloaded")
        report = monitor.report("m", "faq")
        assert (report["requests"], report["documents"], report["alerts"]) == (1, 3, [])
        json.dumps([report, monitor.stats()], allow_nan=False)
        content_type, text = monitor.render()
        assert content_type.startswith("text/plain")
        names = {family.name for family in text_string_to_metric_families(text.decode())}
        assert b"finerank_queue_pairs 30.0" in text
        assert {"finerank_requests", "finerank_queue_pairs", "finerank_ranking_requests"} <= names


def test_ranking_health_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "monitoring.json"
    with Monitor(state=path) as monitor:
        for _ in range(30):
            monitor.ranked(ranking(1.0, 2.0, -4.0), 3, "faq")
        monitor.set_baseline()
        before = monitor.report("m", "faq")
    with Monitor(state=path) as monitor:
        after = monitor.report("m", "faq")
    assert {**after, "series": [], "alerts": []} == {**before, "series": [], "alerts": []}
    assert after["requests"] == 30
    assert after["scores"]["baseline"] is not None
