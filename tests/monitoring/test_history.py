import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finerank.monitoring.history import History, _latency_bin, _quantile_ms
from finerank.ranking import Usage

KEYS = {
    "time",
    "requests",
    "errors",
    "pairs",
    "pairs_per_s",
    "tokens_per_s",
    "queue_pairs",
    "latency_p50_ms",
    "latency_p95_ms",
    "batch_fill",
    "cached",
}


@given(st.lists(st.floats(1e-4, 600), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_right_to_within_its_bin(seconds: list[float], share: float) -> None:
    counts: dict[int, int] = {}
    for each in seconds:
        counts[_latency_bin(each)] = counts.get(_latency_bin(each), 0) + 1
    exact = np.quantile(seconds, share, method="inverted_cdf")
    assert _quantile_ms(counts, share) == pytest.approx(1000 * exact, rel=0.026, abs=0.001)


def test_latencies_of_any_size_fit() -> None:
    assert [_latency_bin(seconds) for seconds in (-1.0, 0.0, 1e-9)] == [0, 0, 0]
    assert _latency_bin(1e12) == _latency_bin(1e6)


def test_a_step_says_what_happened_in_it(clock) -> None:
    clock.now = 1000.0
    history = History(clock=clock)
    history.answered(200, 0.1, Usage(pairs=30, tokens=900, cached=10))
    history.answered(429, 0.001)
    history.forwarded(20, 600, 1000)
    history.forwarded(5, 400, 1000)
    history.queued(7)
    assert history.stats() == {"interval_s": 5, "samples": []}
    clock.turn(5)
    (sample,) = history.stats()["samples"]
    assert set(sample) == KEYS
    assert sample["latency_p95_ms"] == pytest.approx(100, rel=0.026)
    assert sample["latency_p50_ms"] == pytest.approx(1, rel=0.026)
    assert {name: sample[name] for name in KEYS if not name.startswith("latency")} == {
        "time": 1000,
        "requests": 2,
        "errors": 1,
        "pairs": 30,
        "pairs_per_s": 5.0,
        "tokens_per_s": 200.0,
        "queue_pairs": 7,
        "batch_fill": 0.5,
        "cached": 10,
    }


def test_idle_steps_are_there_and_an_hour_is_kept(clock) -> None:
    clock.now = 1000.0
    history = History(clock=clock)
    history.answered(200, 0.1)
    clock.turn(20)
    samples = history.stats()["samples"]
    assert [(sample["time"], sample["requests"]) for sample in samples] == [(1000, 1), (1005, 0), (1010, 0), (1015, 0)]
    assert (samples[1]["latency_p50_ms"], samples[1]["batch_fill"]) == (None, None)
    clock.turn(1_000_000)
    samples = history.stats()["samples"]
    assert len(samples) == 720
    assert [samples[0]["time"], samples[-1]["time"]] == [clock.now - 3600, clock.now - 5]
    json.dumps(samples, allow_nan=False)


def test_a_clock_put_back_begins_anew(clock) -> None:
    clock.now = 1000.0
    history = History(clock=clock)
    clock.turn(100)
    history.answered(200, 0.1)
    clock.turn(-4)  # a correction of the clock: still the same step
    history.answered(200, 0.1)
    clock.turn(9)
    assert history.stats()["samples"][-1]["requests"] == 2
    clock.turn(-500)
    assert history.stats()["samples"] == []
    clock.turn(5)
    assert len(history.stats()["samples"]) == 1
