import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from finerank import InvalidSetting
from finerank.monitoring import monitor as module
from finerank.monitoring.monitor import Monitor
from finerank.ranking import Usage


def test_what_the_server_tells_is_what_it_can_ask(ranked) -> None:
    with Monitor() as monitor:
        monitor.watch_queue(lambda: (30, 3000))
        with monitor.in_flight():
            monitor.waited(0.01)
            monitor.forwarded(30, 900, 1024, 0.02)
            monitor.ranked(ranked([1.0, 2.0, -4.0]), 3, "faq")
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


def test_ranking_health_survives_a_restart(tmp_path: Path, ranked) -> None:
    path = tmp_path / "new" / "monitoring.json"
    with Monitor(state=path) as monitor:
        for _ in range(30):
            monitor.ranked(ranked([1.0, 2.0, -4.0]), 3, "faq")
        monitor.set_baseline()
        before = monitor.report("m", "faq")
    with Monitor(state=path) as monitor:
        after = monitor.report("m", "faq")
    assert {**after, "series": [], "alerts": []} == {**before, "series": [], "alerts": []}
    assert after["requests"] == 30
    assert after["scores"]["baseline"] is not None


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the monitor's thread turn quickly; the result waits for a check that begins later."""
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    turned = threading.Semaphore(0)
    tick = Monitor._tick

    def counted(self: Monitor, *, check: bool) -> None:
        tick(self, check=check)
        turned.release()

    monkeypatch.setattr(Monitor, "_tick", counted)

    def wait() -> None:
        while turned.acquire(blocking=False):
            pass
        for _ in range(2 * module._CHECK_EVERY + 1):
            assert turned.acquire(timeout=10)

    return wait


def test_alerts_are_checked_and_saved_while_it_runs(turns, tmp_path: Path, ranked, caplog) -> None:
    path = tmp_path / "state.json"
    with Monitor(state=path) as monitor:
        for _ in range(30):
            monitor.ranked(ranked([-5.0]), 1)
        turns()
        assert [alert["figure"] for alert in monitor.report()["alerts"]] == ["low_score_share"]
        assert [alert["figure"] for alert in json.loads(path.read_text())["alerts"]["active"]] == ["low_score_share"]
        path.unlink()
        turns()
        assert not path.exists()  # nothing new: nothing to save
    assert caplog.text.count("low_score_share") == 1


def test_the_queue_is_looked_at_while_nothing_else_happens(turns, clock) -> None:
    with Monitor(clock=clock) as monitor:
        monitor.watch_queue(lambda: (7, 700))
        turns()
        clock.turn(5)
        assert monitor.stats()["samples"][0]["queue_pairs"] == 7


def test_a_check_that_fails_is_logged_and_followed_by_others(turns, caplog) -> None:
    failing = True

    def read() -> tuple[int, int]:
        if failing:
            raise RuntimeError("the scheduler is gone")
        return 0, 0

    with Monitor() as monitor:
        monitor.watch_queue(read)
        turns()
        failing = False
        turns()
    assert "the scheduler is gone" in caplog.text


def test_closing_twice_or_unstarted_is_no_fault() -> None:
    Monitor().close()
    with Monitor() as monitor:
        monitor.close()


@pytest.mark.parametrize("options", [{"webhook": "ftp://host/"}, {"healthy": {"gap": (0, 1)}}, {"window_s": -1}])
def test_a_wrong_setting_is_refused(options: dict) -> None:
    with pytest.raises(InvalidSetting):
        Monitor(**options)


def test_an_alert_reaches_the_webhook_and_holds_no_text(ranked, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    posted: list[bytes] = []
    monkeypatch.setattr("finerank.monitoring.webhook.Webhook._post", lambda _, body: posted.append(body) or True)
    with Monitor(webhook="http://localhost:9/") as monitor:
        for _ in range(30):
            monitor.ranked(ranked([-5.0]), 1, "faq")
    assert [(json.loads(body)["figure"], json.loads(body)["tag"]) for body in posted] == [
        ("low_score_share", None),
        ("low_score_share", "faq"),
    ]
    said = [caplog.text, *map(bytes.decode, posted), json.dumps(monitor.report()), monitor.render()[1].decode()]
    assert not any("text 0" in each for each in said)
