import json
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank import InvalidInput, InvalidSetting
from finerank.monitoring.figures import stability_index
from finerank.monitoring.health import OTHER, HealthWindow
from finerank.monitoring.observe import Observation, observe

KEYS = {"window_s", "models", "tags", "model", "tag", "requests", "documents", "figures", "series", "scores"}
LOGITS = [[2.0, 1.0, -3.0], [-1.0, 3.0], [0.5], [], [-2.0, -2.0, -2.0, -1.0], [-4.0, -3.0, 1.0, -4.0]]


def values(report: dict[str, Any]) -> dict[str, float | None]:
    return {figure["name"]: figure["value"] for figure in report["figures"]}


def mean(numbers: list[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def by_hand(seen: list[Observation]) -> dict[str, float | None]:
    """The figures as documented, from the requests themselves."""
    compared = [each for each in seen if each.scored > 1]
    scored = sum(each.scored for each in seen)
    return {
        "top1_replacement_rate": mean([float(each.top1_replaced) for each in compared]),
        "mean_score_gap": mean([each.gap for each in compared]),
        "low_score_share": mean([float(each.best < 0.3) for each in seen if each.scored]),
        "low_document_share": sum(each.low_documents for each in seen) / scored if scored else None,
        "truncation_rate": sum(each.truncated for each in seen) / scored if scored else None,
        "tie_rate": sum(each.tied for each in compared) / sum(each.scored for each in compared) if compared else None,
        "kendall_tau": mean([each.tau for each in compared]),
        "drift": None,
    }


TRAFFIC = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 59, 60, 700, 3601]),
        st.sampled_from(["m", "n"]),
        st.sampled_from([None, "faq", "web"]),
        st.sampled_from(LOGITS),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(TRAFFIC, st.sampled_from([None, "m"]), st.sampled_from([None, "faq"]))
def test_a_window_holds_what_the_last_hour_held(ranked, traffic: list, model: str | None, tag: str | None) -> None:
    now = 1_732_000_000.0
    window = HealthWindow(clock=lambda: now)
    given_: list[tuple[float, str, str | None, Observation]] = []
    for wait_s, of_model, of_tag, logits in traffic:
        now += wait_s
        seen = observe(ranked(logits, of_model), len(logits))
        window.record(seen, of_model, of_tag)
        given_.append((now // 60, of_model, of_tag, seen))
    live = [
        seen
        for minute, of_model, of_tag, seen in given_
        if minute > now // 60 - 60 and model in (None, of_model) and tag in (None, of_tag)
    ]
    report = window.report(model, tag)
    assert report["requests"] == len(live) == window.requests(model, tag)
    assert report["documents"] == sum(each.documents for each in live)
    assert values(report) == pytest.approx(by_hand(live), nan_ok=False)
    assert report["scores"]["counts"] == [sum(each.histogram[nth] for each in live) for nth in range(20)]
    assert sum(point["requests"] for point in report["series"]) == len(live)


def fill(
    window: HealthWindow, ranked, count: int, logits: list[float], model: str = "m", tag: str | None = None
) -> None:
    seen = observe(ranked(logits, model), len(logits), window.low_score)
    for _ in range(count):
        window.record(seen, model, tag)


def test_the_report_is_as_agreed_with_the_page(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 30, LOGITS[0], tag="faq")
    report = window.report()
    assert set(report) == KEYS
    assert (report["models"], report["tags"], report["model"], report["tag"]) == (["m"], ["faq"], None, None)
    assert set(report["figures"][0]) == {"name", "value", "healthy", "state", "meaning", "advice"}
    assert len(report["series"]) == 60
    last = report["series"][-1]
    assert (last["requests"], last["time"] <= clock.now < last["time"] + 60) == (30, True)
    assert set(last["figures"]) == set(values(report))
    assert (len(report["scores"]["edges"]), len(report["scores"]["counts"])) == (21, 20)
    assert report["scores"]["baseline"] is None
    json.dumps(report, allow_nan=False)


def test_thirty_requests_are_needed_to_judge(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 29, [-5.0, -6.0])
    fill(window, ranked, 1, [-5.0])
    states = {figure["name"]: figure["state"] for figure in window.report()["figures"]}
    assert states["low_score_share"] == "unhealthy"
    assert states["top1_replacement_rate"] == "unknown"  # a single candidate replaces nothing
    fill(window, ranked, 1, [-5.0, -6.0])
    states = {figure["name"]: figure["state"] for figure in window.report()["figures"]}
    assert states["top1_replacement_rate"] == "unhealthy"
    assert states["drift"] == "unknown"


def test_an_unknown_model_has_no_requests(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 1, LOGITS[0])
    report = window.report("another", "tag")
    assert (report["requests"], report["models"]) == (0, ["m"])
    assert set(values(report).values()) == {None}


def test_memory_is_bounded_whatever_the_names(ranked, clock) -> None:
    window = HealthWindow(clock=clock, max_models=3, max_tags=5)
    for number in range(2000):
        fill(window, ranked, 1, LOGITS[0], f"model {number}", f"tag {number}")
    report = window.report()
    assert report["models"] == [OTHER, "model 0", "model 1", "model 2"]
    assert report["tags"] == [OTHER, *(f"tag {number}" for number in range(5))]
    assert report["requests"] == 2000
    assert window.report(tag=OTHER)["requests"] == 1995
    assert len(window._series) <= 4 * 6
    size = len(json.dumps(window.state()))
    for number in range(2000):
        fill(window, ranked, 1, LOGITS[0], f"model {number}", f"tag {number}")
        clock.turn(0.01)
    assert len(json.dumps(window.state())) < size + 2000


def test_a_name_out_of_use_makes_room(ranked, clock) -> None:
    window = HealthWindow(clock=clock, max_tags=1)
    fill(window, ranked, 1, LOGITS[0], tag="old")
    clock.turn(1800)
    fill(window, ranked, 1, LOGITS[0], tag="new")
    assert window.report()["tags"] == [OTHER, "old"]
    clock.turn(1860)
    fill(window, ranked, 1, LOGITS[0], tag="newer")
    assert window.report()["tags"] == [OTHER, "newer"]
    clock.turn(3600)
    assert (window.report()["tags"], window._series) == ([], {})


def test_a_tag_is_cut_and_printable(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 1, LOGITS[0], tag="客服\nERROR" + "x" * 100)
    (tag,) = window.report()["tags"]
    assert tag == "客服?ERROR" + "x" * 56


def test_a_clock_put_back_loses_the_future_and_goes_on(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 5, LOGITS[0])
    clock.turn(-86_400)
    assert window.report()["requests"] == 0
    fill(window, ranked, 2, LOGITS[0])
    assert window.report()["requests"] == 2


def test_many_threads_lose_nothing(ranked) -> None:
    window = HealthWindow()
    threads = [threading.Thread(target=fill, args=(window, ranked, 500, LOGITS[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        window.report()
        window.state()
    for thread in threads:
        thread.join()
    assert window.report()["requests"] == 2000


def test_drift_needs_a_baseline_and_enough_scores(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 40, [3.0] * 2 + [-3.0] * 10)
    window.set_baseline()
    baseline = window.report()["scores"]
    assert sum(baseline["baseline"]) == pytest.approx(1)
    assert baseline["baseline"] == [count / 480 for count in baseline["counts"]]
    (same,) = (figure for figure in window.report("m")["figures"] if figure["name"] == "drift")
    assert (same["value"], same["state"]) == (0, "healthy")
    clock.turn(3600)
    fill(window, ranked, 30, [-0.5] * 12)
    (other,) = (figure for figure in window.report("m")["figures"] if figure["name"] == "drift")
    assert other["value"] == pytest.approx(stability_index(window.report()["scores"]["counts"], baseline["counts"]))
    assert other["state"] == "unhealthy"
    clock.turn(3600)
    fill(window, ranked, 40, [-0.5] * 2)  # 80 scores: the index could be that large by chance
    (few,) = (figure for figure in window.report("m")["figures"] if figure["name"] == "drift")
    assert (few["value"] > 0.25, few["state"]) == (True, "unknown")
    assert {point["figures"]["drift"] for point in window.report("m")["series"]} == {None}


def test_a_baseline_is_set_for_all_it_names(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 40, LOGITS[0], "m", "faq")
    fill(window, ranked, 40, LOGITS[0], "n", "faq")
    fill(window, ranked, 3, LOGITS[0], "n", "web")

    def based() -> set[tuple[str | None, str | None]]:
        scopes = [(model, tag) for model in (None, "m", "n") for tag in (None, "faq", "web")]
        return {scope for scope in scopes if window.report(*scope)["scores"]["baseline"] is not None}

    window.set_baseline("n")
    assert based() == {("n", None), ("n", "faq")}
    window.set_baseline()
    assert based() == {("n", None), ("n", "faq"), ("m", None), ("m", "faq"), (None, None), (None, "faq")}
    with pytest.raises(InvalidInput, match=r"model='n', tag='web': 3 requests.*needs 30"):
        window.set_baseline("n", "web")
    with pytest.raises(InvalidInput, match="all models: 0 requests"):
        HealthWindow().set_baseline()


def restored(state: dict[str, Any], **options: Any) -> HealthWindow:
    window = HealthWindow(**options)
    window.restore(json.loads(json.dumps(state, allow_nan=False)))
    return window


def test_a_restart_keeps_what_is_not_too_old(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 40, LOGITS[0], tag="faq")
    window.set_baseline()
    clock.turn(1800)
    fill(window, ranked, 7, LOGITS[4], "n")
    state = window.state()
    assert restored(state, clock=clock).report() == window.report()
    assert restored(state, clock=clock).report("m", "faq") == window.report("m", "faq")
    assert restored(state, clock=clock).state() == state
    clock.turn(1860)
    later = restored(state, clock=clock).report()
    assert (later["requests"], later["models"], later["scores"]["baseline"] is not None) == (7, ["n"], True)
    clock.turn(-86_400)
    assert restored(state, clock=clock).report()["requests"] == 0


def test_a_restart_with_other_settings(ranked, clock) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 40, LOGITS[0])
    window.set_baseline()
    state = window.state()
    assert restored(state, clock=clock, window_s=600, buckets=20).requests() == 40
    other = restored(state, clock=clock, low_score=0.5).report()
    assert (other["requests"], other["scores"]["baseline"] is not None) == (0, True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("series"),
        lambda state: state["series"].append(3),
        lambda state: state["series"][0].update(buckets=[[0, [1, 2]]]),
        lambda state: state["series"][0]["buckets"][0][1].__setitem__(3, "many"),
        lambda state: state["series"][0]["buckets"][0][1].__setitem__(3, float("nan")),
        lambda state: state["series"][0]["buckets"][0][1].__setitem__(-1, -4),
        lambda state: state["series"][0]["buckets"][0].__setitem__(0, float("inf")),
        lambda state: state["baselines"][0].update(counts=[0] * 20),
        lambda state: state["baselines"][0].update(counts=[1] * 19),
        lambda state: state["baselines"][0].update(model=["m"]),
    ],
)
def test_a_spoilt_state_is_refused_whole(ranked, clock, spoil) -> None:
    window = HealthWindow(clock=clock)
    fill(window, ranked, 40, LOGITS[0])
    window.set_baseline()
    state = json.loads(json.dumps(window.state()))
    spoil(state)
    empty = HealthWindow(clock=clock)
    with pytest.raises((ValueError, KeyError, TypeError)):
        empty.restore(state)
    assert (empty.requests(), empty.report()["scores"]["baseline"]) == (0, None)


@pytest.mark.parametrize("options", [{"window_s": 0}, {"window_s": float("nan")}, {"buckets": 121}, {"buckets": 0}])
def test_a_window_of_no_length_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match="window_s="):
        HealthWindow(**options)
