"""All of monitoring behind one object: the server tells it what happened, and asks it how things stand.

`start` takes up the saved state and begins to check alerts and to save, in a thread of its own; `close` ends that. What
the methods mean stands at `Metrics`, `HealthWindow` and `History`. Knows no query and no document text.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

from finerank.monitoring.alerts import Alerts
from finerank.monitoring.figures import NO_BOUNDS, Bounds
from finerank.monitoring.health import HealthWindow
from finerank.monitoring.history import INTERVAL_S, History
from finerank.monitoring.metrics import Metrics, ReadQueue
from finerank.monitoring.observe import observe
from finerank.monitoring.state import load_state, save_state
from finerank.monitoring.webhook import Webhook
from finerank.ranking import Ranking, Usage

logger = logging.getLogger("finerank")

_CHECK_EVERY = 3
"""Alerts are checked and the state is saved at every third look at the queue: every 15 seconds."""


class Monitor:
    """Metrics, ranking health, alerts and history of one server.

    `state`: the file that ranking health survives a restart in; None keeps it in memory. `webhook`: the URL that
    alerts are posted to. `healthy`: healthy ranges, by figure, in the place of the usual ones.

    >>> with Monitor() as monitor:
    ...     monitor.report()["requests"]
    0
    """

    def __init__(
        self,
        *,
        state: Path | None = None,
        webhook: str | None = None,
        window_s: float = 3600,
        low_score: float = 0.3,
        healthy: Mapping[str, Bounds] = NO_BOUNDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._health = HealthWindow(window_s, low_score=low_score, healthy=healthy, clock=clock)
        self._webhook = Webhook(webhook) if webhook else None
        self._alerts = Alerts(self._health, self._webhook.send if self._webhook else None, clock=clock)
        self._metrics = Metrics(self._health, self._alerts)
        self._history = History(clock=clock)
        self._state = state
        self._saved = (0, 0)
        self._read_queue: ReadQueue = _no_queue
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Monitor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Take up the saved state, and begin to watch the queue, check and save."""
        if self._state is not None:
            load_state(self._state, self._restore)
        self._thread = threading.Thread(target=self._run, name="finerank-monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Save, and post the alerts that wait; takes some seconds at most."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._tick(check=True)
        if self._webhook is not None:
            self._webhook.close()

    def in_flight(self) -> AbstractContextManager[object]:
        """Counts a request as being answered inside the with-block."""
        return self._metrics.in_flight()

    def answered(self, dialect: str, status: int, seconds: float, usage: Usage | None = None) -> None:
        """A request was answered, well or not."""
        self._metrics.answered(dialect, status, seconds, usage)
        self._history.answered(status, seconds, usage)

    def refused(self, kind: str) -> None:
        """A request had a problem of this kind (overloaded, invalid, failed ...)."""
        self._metrics.refused(kind)

    def ranked(self, ranking: Ranking, given: int, tag: str | None = None) -> None:
        """A model ranked so many documents as were `given`. Takes the full ranking, before `top_n`, and only a model's:
        an answer in the caller's own order says nothing of ranking."""
        self._health.record(observe(ranking, given, self._health.low_score), ranking.model, tag)

    def forwarded(self, pairs: int, tokens: int, budget: int, seconds: float) -> None:
        """The model scored a batch of so many tokens, out of a `budget` of tokens."""
        self._metrics.forwarded(pairs, tokens, budget, seconds)
        self._history.forwarded(pairs, tokens, budget)

    def watch_queue(self, read: ReadQueue) -> None:
        """Ask `read` for the pairs and tokens that wait: every 5 seconds, and whenever metrics are rendered."""
        self._read_queue = read
        self._metrics.watch_queue(read)

    def waited(self, seconds: float) -> None:
        """A request's first pair was taken from the queue after so long."""
        self._metrics.waited(seconds)

    def loaded(self, model: str, seconds: float) -> None:
        """A model has been loaded, in so long."""
        self._metrics.loaded(model, seconds)

    def unloaded(self, model: str) -> None:
        """A loaded copy of a model has left the memory."""
        self._metrics.unloaded(model)

    def swapped(self) -> None:
        """A model now answers in another's place, or anew."""
        self._metrics.swapped()

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """The content type and the text of all metrics, in the format an Accept header asks for."""
        return self._metrics.render(accept)

    def stats(self) -> dict[str, Any]:
        """The last hour of the server's figures as JSON."""
        return self._history.stats()

    def report(self, model: str | None = None, tag: str | None = None) -> dict[str, Any]:
        """Ranking health as JSON, with its alerts; None is every model, every tag."""
        return {**self._health.report(model, tag), "alerts": self._alerts.history(model, tag)}

    def alarm(self, model: str) -> str:
        """What is wrong with a model's rankings at the moment, in words; empty if nothing is."""
        active = [alert for alert in self._alerts.active() if alert.model == model and alert.tag is None]
        return active[0].message if active else ""

    def set_baseline(self, model: str | None = None, tag: str | None = None) -> None:
        """Store the present scores as the baseline of drift; see `HealthWindow.set_baseline`."""
        self._health.set_baseline(model, tag)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._health.restore(state["health"])
        self._alerts.restore(state["alerts"])

    def _run(self) -> None:
        for turn in count(1):
            if self._closing.wait(INTERVAL_S):
                return
            self._tick(check=turn % _CHECK_EVERY == 0)

    def _tick(self, *, check: bool) -> None:
        try:
            self._history.queued(self._read_queue()[0])
            if check:
                self._alerts.check()
                self._save()
        except Exception:
            logger.exception("monitoring: a check failed; the next follows in a few seconds")

    def _save(self) -> None:
        now = (self._health.changes, self._alerts.changes)
        if self._state is None or now == self._saved:
            return
        try:
            save_state(self._state, {"health": self._health.state(), "alerts": self._alerts.state()})
            self._saved = now
        except OSError as error:
            logger.warning("%s: the monitoring state cannot be saved: %s", self._state, error)


def _no_queue() -> tuple[int, int]:
    return 0, 0
