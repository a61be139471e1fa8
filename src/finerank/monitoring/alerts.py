"""Alerts on ranking health: raised when a figure leaves its healthy range, cleared when it is well inside again."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finerank.monitoring.figures import Bounds, Reading
from finerank.monitoring.health import HealthWindow, Scope

logger = logging.getLogger("finerank")

_KEPT = 200
_MARGIN = 0.1
"""How far inside its range a figure must be before its alert clears, as a share of the bound: an alert that cleared
at the bound itself would flap."""

Send = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class Alert:
    """A figure of a model (and tag, if not None) that left its healthy range or came back, at `time` (Unix seconds).

    `value` is None where the alert was cleared because no requests are left.
    """

    time: float
    figure: str
    model: str | None
    tag: str | None
    state: Literal["raised", "cleared"]
    value: float | None
    message: str


class Alerts:
    """Compares every model and tag of a window with the healthy ranges each time `check` is called.

    Each alert is logged, handed to `send`, and kept in a history of 200. Safe between threads.
    """

    def __init__(
        self, health: HealthWindow, send: Send | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._health = health
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[tuple[str, Scope], Alert] = {}
        self._history: deque[Alert] = deque(maxlen=_KEPT)
        self._changes = 0

    @property
    def changes(self) -> int:
        """Goes up whenever there is something new to save."""
        return self._changes

    def check(self) -> list[Alert]:
        """Raise and clear what has become due; what that was."""
        with self._lock:
            due = [*self._changed(), *self._gone()]
            for alert in due:
                self._keep(alert)
        for alert in due:
            self._tell(alert)
        return due

    def active(self) -> list[Alert]:
        """The alerts raised and not cleared."""
        with self._lock:
            return list(self._active.values())

    def history(self, model: str | None = None, tag: str | None = None) -> list[dict[str, Any]]:
        """Alerts as JSON, newest first; None is every model, every tag."""
        with self._lock:
            kept = list(self._history)
        return [asdict(alert) for alert in reversed(kept) if model in (None, alert.model) and tag in (None, alert.tag)]

    def state(self) -> dict[str, Any]:
        """All there is to save, as JSON."""
        with self._lock:
            return {
                "active": [asdict(alert) for alert in self._active.values()],
                "history": [asdict(alert) for alert in self._history],
            }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state. Raises `ValueError`, `KeyError` or `TypeError` on anything else."""
        active, history = ([_checked(Alert(**each)) for each in state[name]] for name in ("active", "history"))
        known = {figure.name for figure in self._health.figures}
        with self._lock:
            self._history.extend(history)
            for alert in active:
                if alert.figure in known:
                    self._active[alert.figure, (alert.model, alert.tag)] = alert

    def _changed(self) -> list[Alert]:
        due = (
            self._due(scope, reading) for scope in self._health.scopes() for reading in self._health.readings(*scope)
        )
        return [alert for alert in due if alert is not None]

    def _due(self, scope: Scope, reading: Reading) -> Alert | None:
        if reading.value is None or not reading.enough:
            return None
        figure, value = reading.figure, reading.value
        if (figure.name, scope) not in self._active:
            departure = figure.departure(value)
            if not departure:
                return None
            said = f"{_named(figure.name, scope)} is {value:.3g}, healthy is {_range(figure.healthy)}: {departure}"
            return Alert(self._clock(), figure.name, *scope, "raised", value, said)
        if figure.departure(value, _MARGIN):
            return None
        said = f"{_named(figure.name, scope)} is {value:.3g}, inside its healthy range ({_range(figure.healthy)}) again"
        return Alert(self._clock(), figure.name, *scope, "cleared", value, said)

    def _gone(self) -> list[Alert]:
        """Alerts of what the window no longer holds: nothing would ever clear them."""
        there = set(self._health.scopes())
        return [
            Alert(self._clock(), name, *scope, "cleared", None, f"{_named(name, scope)}: no requests in the window")
            for name, scope in self._active
            if scope not in there
        ]

    def _keep(self, alert: Alert) -> None:
        where = (alert.figure, (alert.model, alert.tag))
        if alert.state == "raised":
            self._active[where] = alert
        else:
            del self._active[where]
        self._history.append(alert)
        self._changes += 1

    def _tell(self, alert: Alert) -> None:
        body = asdict(alert)
        logger.warning("ranking health: %s", alert.message, extra={"event": "ranking_health_alert", "alert": body})
        if self._send is not None:
            self._send({"text": f"finerank: {alert.message}", **body})


def _named(figure: str, scope: Scope) -> str:
    model, tag = scope
    return f"{figure} of {model}" + (f", tag {tag}" if tag else "")


def _range(healthy: Bounds) -> str:
    low, high = healthy
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def _checked(alert: Alert) -> Alert:
    names = (alert.figure, alert.message, *(name for name in (alert.model, alert.tag) if name is not None))
    numbers = (alert.time, *(() if alert.value is None else (alert.value,)))
    if not all(isinstance(name, str) for name in names) or alert.state not in ("raised", "cleared"):
        raise ValueError("not a saved alert")
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError("not a saved alert")
    return alert
