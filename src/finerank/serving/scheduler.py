"""One thread that scores the pairs of all waiting requests, in shared batches.

Knows pairs and tokens; nothing of queries, HTTP or order. Batches are planned over a window of waiting pairs, so that
they are as full as in offline use. By turns the batch that runs holds a pair of the oldest request, which thus never
starves, and one of the request that has least left, which thus does not wait for a large one.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from finerank.errors import Overloaded, Unavailable
from finerank.messages import Message
from finerank.scoring.backend import ScoringBackend
from finerank.scoring.batch import EncodedPair
from finerank.scoring.scorer import BatchTooLarge, Lookup, Progress, Scorer, Scores

WINDOW_BATCHES = 16
"""Batches' worth of tokens that are planned together; one request fills at most half of it."""

_FIRST_RATE = 2000.0  # tokens/s taken for granted before the first batch is timed: a slow laptop's
_RATE_MEMORY = 0.9

Scored = Callable[[Sequence[int], Sequence[float]], None]
"""Called with positions among a request's pairs, and their logits: on the scoring thread, or on `submit`'s for those
that the cache knew."""


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """One forward pass: pairs and tokens in it, the tokens it had room for, and the seconds it took."""

    pairs: int
    tokens: int
    room: int
    seconds: float


@dataclass(eq=False, slots=True)
class Ticket:
    """A request's pairs in the queue. `scores` will hold its answer or the exception; `cancel` takes it out.

    `queue_s`: seconds from the queue's door to its first batch; `forward_s`: seconds of the batches it was in.
    """

    pairs: Sequence[EncodedPair]
    lookup: Lookup
    on_scored: Scored | None = None
    scores: "Future[Scores]" = field(default_factory=Future)
    entered: float = field(default_factory=time.perf_counter)
    queue_s: float = 0.0
    forward_s: float = 0.0
    degraded: str = ""
    waiting: dict[int, int] = field(default_factory=dict)
    logits: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waiting = {position: len(self.pairs[position]) for position in self.lookup.misses}

    @property
    def tokens(self) -> int:
        """Tokens that are not scored yet."""
        return sum(self.waiting.values())

    def cancel(self) -> None:
        """Score no more of it. What is in the batch now running is dropped when that ends."""
        self.scores.cancel()

    def take(self, positions: Sequence[int], logits: Sequence[float], seconds: float, degraded: str) -> None:
        """Some of its pairs are scored."""
        if not self.logits:
            self.queue_s = max(0.0, time.perf_counter() - seconds - self.entered)
        self.forward_s += seconds
        self.degraded = degraded or self.degraded
        for position, logit in zip(positions, logits, strict=True):
            self.logits[position] = logit
            del self.waiting[position]


class Scheduler:
    """Scores for many requests at once. Also a `PairScorer`: the library ranks through it with `scoring_with`.

    >>> scheduler = Scheduler(reranker.scorer, max_queue_tokens=250_000)   # doctest: +SKIP
    >>> scheduler.submit(pairs).scores.result().logits                     # doctest: +SKIP
    """

    def __init__(
        self, scorer: Scorer, *, max_queue_tokens: int, on_batch: Callable[[BatchFacts], None] | None = None
    ) -> None:
        self._scorer = scorer
        self._max_queue_tokens = max_queue_tokens
        self._on_batch = on_batch
        self._queue: list[Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._oldest_is_next = False
        self._tokens_per_s = _FIRST_RATE
        self._thread = threading.Thread(target=self._run, name="finerank-scoring", daemon=True)
        self._thread.start()

    @property
    def backend(self) -> ScoringBackend:
        return self._scorer.backend

    @property
    def max_batch_tokens(self) -> int:
        return self._scorer.max_batch_tokens

    @property
    def queued(self) -> tuple[int, int]:
        """Pairs and tokens that wait."""
        with self._changed:
            live = [ticket for ticket in self._queue if not ticket.scores.cancelled()]
            return sum(len(ticket.waiting) for ticket in live), sum(ticket.tokens for ticket in live)

    def submit(self, pairs: Sequence[EncodedPair], on_scored: Scored | None = None) -> Ticket:
        """Queue the pairs that the cache does not know.

        Raises `Overloaded` when they do not fit into the queue; an empty queue takes any request.
        Raises `Unavailable` after `close`.
        """
        ticket = Ticket(pairs, self._scorer.look_up(pairs), on_scored)
        _tell(ticket, ticket.lookup.found)
        if not ticket.waiting:
            ticket.scores.set_result(self._scorer.settle(ticket.lookup, [], 0.0))
            return ticket
        with self._changed:
            _, queued = self.queued
            if self._closed:
                raise Unavailable(
                    Message("the model is being unloaded; send the request again", "model.unloading"), retry_after_s=1
                )
            if queued and queued + ticket.tokens > self._max_queue_tokens:
                wait_s = min(max(math.ceil(queued / self._tokens_per_s), 1), 60)
                raise Overloaded(
                    Message(
                        "{queued} tokens wait and {limit} may; these {tokens} do not fit. Try again in {seconds} s, "
                        "or raise max_queue_tokens",
                        "server.queue",
                        queued=queued,
                        limit=self._max_queue_tokens,
                        tokens=ticket.tokens,
                        seconds=wait_s,
                    ),
                    retry_after_s=wait_s,
                )
            self._queue.append(ticket)
            self._changed.notify()
        return ticket

    def score(self, pairs: Sequence[EncodedPair], progress: Progress | None = None) -> Scores:
        """`Scorer.score`, through the queue. Blocks: not for the event loop."""
        done = 0

        def count(positions: Sequence[int], logits: Sequence[float]) -> None:
            nonlocal done
            done += len(positions)
            if progress is not None:
                progress(done, len(pairs))

        return self.submit(pairs, count).scores.result()

    def abort(self, error: Exception) -> None:
        """Give every waiting request this error, the ones in the batch now running too."""
        with self._changed:
            waiting = list(self._queue)
        for ticket in waiting:
            _settle(ticket, error)

    def close(self) -> None:
        """Score what is queued, take no more, and end the thread. The scorer stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (group := self._next_group()):
                    if self._closed:
                        return
                    self._changed.wait()
            try:
                self._forward(group)
            except BatchTooLarge:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, every waiter learns of it
                for ticket, _ in group:
                    _settle(ticket, error)

    def _next_group(self) -> list[tuple[Ticket, int]]:
        """The next batch, as pairs of a ticket and a position; empty if nothing waits."""
        self._queue = [ticket for ticket in self._queue if ticket.waiting and not ticket.scores.done()]
        if not self._queue:
            return []
        self._oldest_is_next = not self._oldest_is_next
        first = self._queue[0] if self._oldest_is_next else min(self._queue, key=lambda ticket: ticket.tokens)
        window = self._window([first, *(ticket for ticket in self._queue if ticket is not first)])
        plan = self._scorer.plan([ticket.waiting[position] for ticket, position in window])
        return next([window[index] for index in group] for group in plan if 0 in group)

    def _window(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, int]]:
        room = WINDOW_BATCHES * self._scorer.max_batch_tokens
        share = room // 2
        window: list[tuple[Ticket, int]] = []
        for ticket in tickets:
            taken = 0
            for position, tokens in ticket.waiting.items():
                window.append((ticket, position))
                taken += tokens
                if taken >= min(room, share):
                    break
            room -= taken
            if room <= 0:
                break
        return window

    def _forward(self, group: Sequence[tuple[Ticket, int]]) -> None:
        positions: dict[Ticket, list[int]] = {}
        for ticket, position in group:
            positions.setdefault(ticket, []).append(position)
        pairs = [ticket.pairs[position] for ticket, places in positions.items() for position in places]
        start = time.perf_counter()
        values, degraded = self._scorer.forward(pairs)
        seconds = time.perf_counter() - start
        self._report(pairs, seconds)
        logits, first = values.tolist(), 0
        for ticket, places in positions.items():
            last = first + len(places)
            try:
                self._take(ticket, places, logits[first:last], seconds, degraded)
            except Exception as error:  # noqa: BLE001 - of this request only: its cache, or who watches it
                _settle(ticket, error)
            first = last

    def _take(
        self, ticket: Ticket, positions: Sequence[int], logits: Sequence[float], seconds: float, degraded: str
    ) -> None:
        with self._changed:
            ticket.take(positions, logits, seconds, degraded)
        keys = ticket.lookup.keys
        _tell(ticket, {keys[position]: logit for position, logit in zip(positions, logits, strict=True)})
        if not ticket.waiting:
            every = [ticket.logits[position] for position in ticket.lookup.misses]
            _settle(ticket, self._scorer.settle(ticket.lookup, every, ticket.forward_s, ticket.degraded))

    def _report(self, pairs: Sequence[EncodedPair], seconds: float) -> None:
        tokens = sum(len(pair) for pair in pairs)
        self._tokens_per_s = _RATE_MEMORY * self._tokens_per_s + (1 - _RATE_MEMORY) * tokens / max(seconds, 1e-6)
        if self._on_batch is not None:
            self._on_batch(BatchFacts(len(pairs), tokens, max(self._scorer.max_batch_tokens, tokens), seconds))


def _tell(ticket: Ticket, scored: Mapping[bytes, float]) -> None:
    """Tell who watches, of every pair that has one of these keys."""
    if ticket.on_scored is not None and scored and not ticket.scores.cancelled():
        places = [position for position, key in enumerate(ticket.lookup.keys) if key in scored]
        ticket.on_scored(places, [scored[ticket.lookup.keys[position]] for position in places])


def _settle(ticket: Ticket, outcome: Scores | Exception) -> None:
    """Answer a ticket, unless it is answered or cancelled by now."""
    with suppress(InvalidStateError):
        if isinstance(outcome, Exception):
            ticket.scores.set_exception(outcome)
        else:
            ticket.scores.set_result(outcome)
