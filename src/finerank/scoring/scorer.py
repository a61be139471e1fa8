"""Encoded pairs to logits: duplicates and cached pairs aside, in planned batches, through a backend.

Knows nothing about text, documents or order.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from finerank.errors import CacheError, FinerankError, OutOfMemory
from finerank.scoring.backend import ScoringBackend
from finerank.scoring.batch import Batch, EncodedPair, plan_batches
from finerank.scoring.cache import ScoreCache, pair_key
from finerank.scoring.forks import forkable_lock

logger = logging.getLogger("finerank")

Progress = Callable[[int, int], None]
"""Called with pairs done and pairs in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """`logits` float64 [pairs]; `cached` bool [pairs]: which the cache answered; seconds spent in the backend; and in
    `degraded`, why it was not scored as asked, if so."""

    logits: NDArray[np.float64]
    cached: NDArray[np.bool_]
    seconds: float = 0.0
    degraded: str = ""

    def part(self, first: int, last: int) -> "Scores":
        """The scores of the pairs from `first` to before `last`."""
        return replace(self, logits=self.logits[first:last], cached=self.cached[first:last])


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the cache knows of some pairs: each pair's key, the logits found, and the positions of the first pair of
    every key that was not."""

    keys: list[bytes]
    found: dict[bytes, float]
    misses: list[int]


class BatchTooLarge(Exception):
    """A batch did not fit into memory; `max_batch_tokens` is lower now, and its pairs are to be planned again."""


class PairScorer(Protocol):
    """Whatever turns encoded pairs into logits: a `Scorer`, or a queue in front of one."""

    @property
    def backend(self) -> ScoringBackend: ...
    def score(self, pairs: Sequence[EncodedPair], progress: Progress | None = None) -> Scores: ...
    def close(self) -> None: ...


class Scorer:
    """Scores pairs. `namespace` sets one model's cache entries apart from another's; `open_fallback` opens a backend
    to go on with when a single pair does not fit into memory. Scorers with one `forward_lock` take turns."""

    def __init__(
        self,
        backend: ScoringBackend,
        *,
        max_batch_tokens: int,
        namespace: str = "",
        cache: ScoreCache | None = None,
        deterministic: bool = False,
        open_fallback: Callable[[], ScoringBackend] | None = None,
        forward_lock: "threading.Lock | None" = None,
    ) -> None:
        self.backend = backend
        self.max_batch_tokens = max_batch_tokens
        self._namespace = hashlib.blake2b(namespace.encode(), digest_size=16).digest()
        self._cache = cache
        self._deterministic = deterministic
        self._open_fallback = open_fallback
        self._fallback: ScoringBackend | None = None
        self.forward_lock = forward_lock or forkable_lock()
        self._closed = False

    def score(self, pairs: Sequence[EncodedPair], progress: Progress | None = None) -> Scores:
        """The logit of every pair, in the order given.

        Raises `OutOfMemory` when even one pair does not fit and there is no fallback.
        """
        lookup = self.look_up(pairs)
        start = time.perf_counter()
        logits, degraded = self._forward_all([pairs[index] for index in lookup.misses], progress)
        return self.settle(lookup, logits, time.perf_counter() - start, degraded)

    def look_up(self, pairs: Sequence[EncodedPair]) -> Lookup:
        """What the cache knows of these pairs."""
        if self._closed:
            raise FinerankError("the reranker is closed; load it again")
        keys = [pair_key(self._namespace, pair) for pair in pairs]
        first_of = {key: index for index, key in reversed(list(enumerate(keys)))}
        found: dict[bytes, float] = {}
        if self._cache is not None:
            unique = list(first_of)
            cached = zip(unique, self._cache.get_many(unique), strict=True)
            found = {key: logit for key, logit in cached if logit is not None}
        return Lookup(keys, found, [index for key, index in first_of.items() if key not in found])

    def settle(self, lookup: Lookup, logits: Sequence[float], seconds: float, degraded: str = "") -> Scores:
        """The scores of all the pairs looked up, from the logits of those missed; the cache gets these."""
        keys = lookup.keys
        fresh = {keys[index]: logit for index, logit in zip(lookup.misses, logits, strict=True)}
        if self._cache is not None and not degraded:
            self._keep(self._cache, {key: logit for key, logit in fresh.items() if np.isfinite(logit)})
        known = {**lookup.found, **fresh}
        return Scores(
            logits=np.array([known[key] for key in keys], np.float64),
            cached=np.array([key in lookup.found for key in keys], np.bool_),
            seconds=seconds,
            degraded=degraded,
        )

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        """Pairs of these lengths in batches, by position."""
        budget = 1 if self._deterministic else self.max_batch_tokens
        return plan_batches(lengths, budget, padded=self.backend.padded)

    def forward(self, pairs: Sequence[EncodedPair]) -> tuple[NDArray[np.float32], str]:
        """The logits of one batch, and why they were not made as asked, if so.

        Raises `BatchTooLarge` after lowering the budget, or `OutOfMemory` when a single pair does not fit and there is
        no fallback.
        """
        try:
            with self.forward_lock:  # one batch at a time: two would double the memory, and gain nothing
                return self.backend.forward(Batch.of(pairs)), ""
        except OutOfMemory as error:
            if len(pairs) > 1:
                self.max_batch_tokens = min(self.max_batch_tokens, sum(len(pair) for pair in pairs) // 2)
                raise BatchTooLarge from error
            return self._fall_back(pairs[0], error)

    def close(self) -> None:
        """Release the model and the cache; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for resource in (self.backend, self._fallback, self._cache):
            if resource is not None:
                resource.close()

    def _keep(self, cache: ScoreCache, logits: dict[bytes, float]) -> None:
        """Put scores into the cache. They are computed: a full disk is reported, and costs no ranking."""
        try:
            cache.put_many(logits.items())
        except CacheError as error:
            logger.warning("scores are not cached: %s", error)

    def _forward_all(self, pairs: Sequence[EncodedPair], progress: Progress | None) -> tuple[list[float], str]:
        logits = [0.0] * len(pairs)
        done, degraded = 0, ""
        waiting = self._groups(pairs, range(len(pairs)))
        while waiting:
            group = waiting.pop()
            try:
                values, reason = self.forward([pairs[index] for index in group])
            except BatchTooLarge:
                waiting = self._groups(pairs, [*group, *(index for later in waiting for index in later)])
                continue
            degraded = reason or degraded
            for index, value in zip(group, values, strict=True):
                logits[index] = float(value)
            done += len(group)
            if progress is not None:
                progress(done, len(pairs))
        return logits, degraded

    def _groups(self, pairs: Sequence[EncodedPair], indices: Sequence[int]) -> list[list[int]]:
        """The pairs at `indices` in batches, the one to begin with last."""
        plan = self.plan([len(pairs[index]) for index in indices])
        return [[indices[position] for position in group] for group in reversed(plan)]

    def _fall_back(self, pair: EncodedPair, error: OutOfMemory) -> tuple[NDArray[np.float32], str]:
        if self._open_fallback is None:
            raise OutOfMemory(
                f"one pair of {len(pair)} tokens does not fit into the device's memory: {error}. Use a smaller "
                "max_length, device='cpu', or fallback='cpu'."
            ) from error
        reason = f"scored partly on the CPU: one pair of {len(pair)} tokens does not fit into the GPU's memory"
        with self.forward_lock:
            if self._fallback is None:
                self._fallback = self._open_fallback()
            return self._fallback.forward(Batch.of([pair])), reason
