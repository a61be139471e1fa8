"""Every Prometheus metric of the server, in a registry of its own. Takes plain facts; knows neither HTTP nor models.

Called by the server once per request: `with in_flight()`, then `waited` when its first pair is taken from the queue,
`answered` with its dialect, status and what it took, and `refused` with the kind of problem if it had one; once per
batch: `forwarded`; and `loaded`, `swapped`, `unloaded` about models. The queue (`watch_queue`) and ranking health are
read when Prometheus asks.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from finerank.errors import MissingExtra
from finerank.monitoring.alerts import Alerts
from finerank.monitoring.health import HealthWindow
from finerank.ranking import Usage

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra("metrics", "serve") from error

ReadQueue = Callable[[], tuple[int, int]]
"""Pairs and tokens that wait to be scored."""

ERROR_KINDS = (
    *("invalid", "too_large", "unauthorized", "forbidden", "not_found"),
    *("overloaded", "unavailable", "timeout", "failed"),
)
"""The kinds of problems. All are exported from the start: a rate does not see the first step of a new counter."""

_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_FILL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_LOAD_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one server. A call costs a few microseconds; safe between threads.

    >>> metrics = Metrics()
    >>> metrics.answered("cohere", 200, 0.02, Usage(pairs=10, tokens=1311))
    >>> metrics.render()[1].decode().count('finerank_requests_total{dialect="cohere",status="200"} 1.0')
    1
    """

    def __init__(self, health: HealthWindow | None = None, alerts: Alerts | None = None) -> None:
        registry = self._registry = CollectorRegistry()
        counter = partial(Counter, namespace="finerank", registry=registry)
        gauge = partial(Gauge, namespace="finerank", registry=registry)
        histogram = partial(Histogram, namespace="finerank", registry=registry)
        self._requests = counter("requests", "Requests answered", ("dialect", "status"))
        self._errors = counter("errors", "Requests that had a problem, by its kind", ("kind",))
        for kind in ERROR_KINDS:
            self._errors.labels(kind)
        self._request_s = histogram(
            "request_duration_seconds", "From a request's arrival to its answer", ("dialect",), buckets=_REQUEST_S
        )
        self._in_flight = gauge("requests_in_flight", "Requests being answered now")
        self._pairs = counter("pairs", "Query-passage pairs answered, from the cache too")
        self._tokens = counter("tokens", "Tokens of the pairs answered, from the cache too")
        self._truncated = counter("truncated_documents", "Documents cut before scoring")
        self._cached = counter("cache_hits", "Pairs answered by the score cache")
        self._queue_pairs = gauge("queue_pairs", "Pairs that wait to be scored")
        self._queue_tokens = gauge("queue_tokens", "Tokens of the pairs that wait to be scored")
        self._wait_s = histogram(
            "queue_wait_seconds", "From a request's submission to the taking of its first pair", buckets=_BATCH_S
        )
        self._forward_s = histogram("forward_duration_seconds", "The model's time for one batch", buckets=_BATCH_S)
        self._batch_pairs = histogram("batch_pairs", "Pairs in a batch", buckets=_PAIRS)
        self._fill = histogram("batch_fill_ratio", "Tokens in a batch over its budget", buckets=_FILL)
        self._scored_pairs = counter("scored_pairs", "Pairs the model has scored")
        self._scored_tokens = counter("scored_tokens", "Tokens the model has scored")
        self._model_loaded = gauge("model_loaded", "Copies of the model in memory: 2 while it is reloaded", ("model",))
        self._load_s = histogram(
            "model_load_duration_seconds", "The time it took to load a model", ("model",), buckets=_LOAD_S
        )
        self._swaps = counter("model_swaps", "Models put in the place of another, or reloaded, while serving")
        ProcessCollector(namespace="finerank", registry=registry)
        if health is not None:
            registry.register(_RankingHealth(health, alerts))

    def in_flight(self) -> AbstractContextManager[object]:
        """Counts a request as being answered inside the with-block."""
        return self._in_flight.track_inprogress()

    def answered(self, dialect: str, status: int, seconds: float, usage: Usage | None = None) -> None:
        """A request was answered, well or not. `dialect` must be one of a few names, never the caller's text."""
        self._requests.labels(dialect, str(status)).inc()
        self._request_s.labels(dialect).observe(seconds)
        if usage is not None:
            self._pairs.inc(usage.pairs)
            self._tokens.inc(usage.tokens)
            self._truncated.inc(usage.truncated)
            self._cached.inc(usage.cached)

    def refused(self, kind: str) -> None:
        """A request had a problem of this kind (overloaded, invalid, failed ...)."""
        self._errors.labels(kind).inc()

    def watch_queue(self, read: ReadQueue) -> None:
        """Ask `read` for the pairs and tokens that wait, whenever metrics are rendered."""
        self._queue_pairs.set_function(lambda: read()[0])
        self._queue_tokens.set_function(lambda: read()[1])

    def waited(self, seconds: float) -> None:
        """A request's first pair was taken from the queue after so long."""
        self._wait_s.observe(seconds)

    def forwarded(self, pairs: int, tokens: int, budget: int, seconds: float) -> None:
        """The model scored a batch of so many tokens, out of a `budget` of tokens."""
        self._batch_pairs.observe(pairs)
        self._scored_pairs.inc(pairs)
        self._scored_tokens.inc(tokens)
        self._fill.observe(tokens / budget)
        self._forward_s.observe(seconds)

    def loaded(self, model: str, seconds: float) -> None:
        """A model has been loaded, in so long."""
        self._model_loaded.labels(model).inc()
        self._load_s.labels(model).observe(seconds)

    def unloaded(self, model: str) -> None:
        """A loaded copy of a model has left the memory."""
        self._model_loaded.labels(model).dec()

    def swapped(self) -> None:
        """A model now answers in another's place, or anew."""
        self._swaps.inc()

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """The content type and the text of all metrics, in the format an Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


class _RankingHealth(Collector):
    """Reads the window at the time of asking. A figure that too few requests stand behind is left out."""

    def __init__(self, health: HealthWindow, alerts: Alerts | None) -> None:
        self._health = health
        self._alerts = alerts

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {figure.name: _gauge(figure.name, figure.meaning, "model", "tag") for figure in self._health.figures}
        requests = _gauge("requests", "Requests in the window of ranking health", "model", "tag")
        for model, tag in self._health.scopes():
            labels = (model or "", tag or "")
            requests.add_metric(labels, self._health.requests(model, tag))
            for reading in self._health.readings(model, tag):
                if reading.enough and reading.value is not None:
                    families[reading.figure.name].add_metric(labels, reading.value)
        active = _gauge("alert_active", "1 while a figure is outside its healthy range", "figure", "model", "tag")
        for alert in self._alerts.active() if self._alerts is not None else ():
            active.add_metric((alert.figure, alert.model or "", alert.tag or ""), 1)
        return iter((requests, *families.values(), active))


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"finerank_ranking_{name}", meaning[0].upper() + meaning[1:], labels=labels)
