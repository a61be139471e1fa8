"""The server's figures of the last hour in steps of 5 seconds: sums and latency quantiles, never a request."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from finerank.ranking import Usage

INTERVAL_S = 5
_STEPS = 720
_FINEST_S = 1e-4
_GROWTH = 1.05
"""Latencies are counted in bins each 5% wider than the one before: a quantile is right to within 2.5%."""
_BINS = math.ceil(math.log(3600 / _FINEST_S) / math.log(_GROWTH))
_LOG_GROWTH = math.log(_GROWTH)


@dataclass(slots=True)
class _Step:
    """What one step has seen so far."""

    number: int
    requests: int = 0
    errors: int = 0
    pairs: int = 0
    cached: int = 0
    scored_pairs: int = 0
    scored_tokens: int = 0
    batches: int = 0
    fill: float = 0.0
    latencies: dict[int, int] = field(default_factory=dict)


class History:
    """Fed with each answer and each batch; keeps 720 finished steps. Safe between threads.

    `errors` are answers with status 400 or more. `pairs` and `cached` count those of answered requests, `pairs_per_s`
    and `tokens_per_s` what the model scored. `batch_fill`, tokens over their budget, is the mean of the step's batches.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._step = _Step(self._now())
        self._queue_pairs = 0
        self._finished: deque[dict[str, Any]] = deque(maxlen=_STEPS)

    def answered(self, status: int, seconds: float, usage: Usage | None = None) -> None:
        latency_bin = _latency_bin(seconds)
        with self._lock:
            step = self._present()
            step.requests += 1
            step.errors += status >= 400
            step.latencies[latency_bin] = step.latencies.get(latency_bin, 0) + 1
            if usage is not None:
                step.pairs += usage.pairs
                step.cached += usage.cached

    def forwarded(self, pairs: int, tokens: int, budget: int) -> None:
        with self._lock:
            step = self._present()
            step.scored_pairs += pairs
            step.scored_tokens += tokens
            step.batches += 1
            step.fill += tokens / budget

    def queued(self, pairs: int) -> None:
        with self._lock:
            self._present()
            self._queue_pairs = pairs

    def stats(self) -> dict[str, Any]:
        """The finished steps as JSON, oldest first; idle ones too."""
        with self._lock:
            self._present()
            return {"interval_s": INTERVAL_S, "samples": list(self._finished)}

    def _now(self) -> int:
        return math.floor(self._clock() / INTERVAL_S)

    def _present(self) -> _Step:
        """The step of now, once those before it are finished. A clock put back far starts the history anew."""
        number = self._now()
        if number > self._step.number:
            self._finished.append(self._sample(self._step))
            for idle in range(max(self._step.number + 1, number - _STEPS), number):
                self._finished.append(self._sample(_Step(idle)))
            self._step = _Step(number)
        elif number < self._step.number - 1:
            self._finished.clear()
            self._step = _Step(number)
        return self._step

    def _sample(self, step: _Step) -> dict[str, Any]:
        return {
            "time": step.number * INTERVAL_S,
            "requests": step.requests,
            "errors": step.errors,
            "pairs": step.pairs,
            "pairs_per_s": step.scored_pairs / INTERVAL_S,
            "tokens_per_s": step.scored_tokens / INTERVAL_S,
            "queue_pairs": self._queue_pairs,
            "latency_p50_ms": _quantile_ms(step.latencies, 0.5),
            "latency_p95_ms": _quantile_ms(step.latencies, 0.95),
            "batch_fill": step.fill / step.batches if step.batches else None,
            "cached": step.cached,
        }


def _latency_bin(seconds: float) -> int:
    return min(int(math.log(max(seconds, _FINEST_S) / _FINEST_S) / _LOG_GROWTH), _BINS)


def _quantile_ms(latencies: dict[int, int], share: float) -> float | None:
    """The smallest latency that `share` of all do not exceed, as the middle of its bin; None of none."""
    wanted = math.ceil(share * sum(latencies.values()))
    seen = 0
    for latency_bin in sorted(latencies):
        seen += latencies[latency_bin]
        if seen >= wanted:
            return round(1000 * _FINEST_S * math.exp((latency_bin + 0.5) * _LOG_GROWTH), 3)
    return None
