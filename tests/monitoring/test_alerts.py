import json
import logging
from collections.abc import Sequence

import pytest

from finerank.monitoring.alerts import Alerts
from finerank.monitoring.health import HealthWindow
from finerank.monitoring.observe import observe

GOOD, BAD = [-3.0, 3.0, -4.0], [-1.0, -2.0, -3.0]  # the second replaces nothing, and is low throughout


@pytest.fixture
def watch(ranked, clock):
    """A window, its alerts, and a way to record requests."""
    window = HealthWindow(clock=clock)
    sent: list[dict] = []
    alerts = Alerts(window, sent.append, clock=clock)

    def record(count: int, logits: Sequence[float], model: str = "m", tag: str | None = None) -> None:
        for _ in range(count):
            window.record(observe(ranked(logits), len(logits)), model, tag)

    return alerts, record, sent


def told(alerts: Alerts) -> list[tuple[str, str, str | None, str]]:
    return sorted(((alert.figure, alert.model, alert.tag, alert.state) for alert in alerts.check()), key=str)


def test_an_alert_is_raised_once_and_cleared_once(watch, clock, caplog) -> None:
    alerts, record, sent = watch
    record(29, BAD)
    assert told(alerts) == []
    record(1, BAD)
    with caplog.at_level(logging.WARNING, "finerank"):
        due = told(alerts)
    assert [(figure, state) for figure, _, _, state in due] == [
        (figure, "raised") for figure in ("kendall_tau", "low_score_share", "mean_score_gap", "top1_replacement_rate")
    ]
    assert told(alerts) == []
    assert len(alerts.active()) == 4
    assert len(sent) == len(caplog.records) == 4
    (record_of,) = (each for each in caplog.records if "low_score_share" in each.message)
    assert (record_of.levelname, record_of.event) == ("WARNING", "ranking_health_alert")
    assert record_of.alert["value"] == 1
    assert "low_score_share of m is 1, healthy is at most 0.15: many requests have no good" in record_of.message
    clock.turn(3600)
    record(30, GOOD)
    assert {state for *_, state in told(alerts)} == {"cleared"}
    assert (alerts.active(), len(alerts.history())) == ([], 8)
    assert [alert["state"] for alert in alerts.history()] == ["cleared"] * 4 + ["raised"] * 4


def test_an_alert_does_not_flap_at_the_bound(watch) -> None:
    alerts, record, _ = watch
    record(84, GOOD)
    record(16, [-3.0, -1.0])  # 16% low
    assert ("low_score_share", "m", None, "raised") in told(alerts)
    record(8, GOOD)  # 14.8%: inside, and barely so
    assert told(alerts) == []
    record(1, [-3.0, -1.0])
    assert told(alerts) == []
    record(30, GOOD)  # 12.2%: inside by a tenth of the bound
    assert told(alerts) == [("low_score_share", "m", None, "cleared")]


def test_a_tag_alone_can_be_unhealthy(watch) -> None:
    alerts, record, _ = watch
    record(1000, GOOD, "m", "faq")
    record(30, BAD, "m", "web")
    assert {(model, tag) for _, model, tag, _ in told(alerts)} == {("m", "web")}
    assert alerts.history("m", "faq") == []
    assert len(alerts.history("m")) == len(alerts.history(None, "web")) == 4


def test_an_alert_stays_while_there_is_too_little_to_judge_and_goes_with_the_last_request(watch, clock) -> None:
    alerts, record, _ = watch
    record(30, BAD)
    told(alerts)
    clock.turn(3600)
    record(5, GOOD)
    assert told(alerts) == []
    clock.turn(3600)
    assert {state for *_, state in told(alerts)} == {"cleared"}
    assert alerts.history()[0]["value"] is None
    assert alerts.active() == []


def test_the_history_is_bounded(watch, clock) -> None:
    alerts, record, _ = watch
    for _ in range(60):
        record(30, BAD)
        alerts.check()
        clock.turn(3600)
        alerts.check()
        clock.turn(3600)
    assert len(alerts.history()) == 200


def test_what_is_sent_holds_a_text_and_the_facts(watch) -> None:
    alerts, record, sent = watch
    record(30, BAD, "m", "faq")
    alerts.check()
    for body in sent:
        assert set(body) == {"text", "time", "figure", "model", "tag", "state", "value", "message"}
        assert body["text"] == f"finerank: {body['message']}"
    json.dumps(sent, allow_nan=False)


def test_a_restart_raises_nothing_anew(watch, clock, ranked) -> None:
    alerts, record, _ = watch
    record(30, BAD)
    alerts.check()
    saved = json.loads(json.dumps(alerts.state()))
    again = Alerts(alerts._health, clock=clock)
    again.restore(saved)
    assert (again.check(), again.active(), again.history()) == ([], alerts.active(), alerts.history())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("active"),
        lambda state: state["active"].append({"figure": "drift"}),
        lambda state: state["history"][0].update(time="noon"),
        lambda state: state["history"][0].update(state="unsure"),
        lambda state: state["history"][0].update(model=["m"]),
    ],
)
def test_a_spoilt_state_is_refused(watch, spoil) -> None:
    alerts, record, _ = watch
    record(30, BAD)
    alerts.check()
    state = json.loads(json.dumps(alerts.state()))
    spoil(state)
    empty = Alerts(alerts._health)
    with pytest.raises((ValueError, KeyError, TypeError)):
        empty.restore(state)
    assert (empty.active(), empty.history()) == ([], [])
