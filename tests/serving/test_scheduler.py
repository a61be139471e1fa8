import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from finerank.errors import OutOfMemory, Overloaded, Unavailable
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.cache import MemoryCache
from finerank.scoring.encode import PairEncoder
from finerank.scoring.scorer import Scorer
from finerank.serving.scheduler import BatchFacts, Scheduler
from finerank.testing import OverlapBackend, stub_reranker, word_tokenizer

ENCODER = PairEncoder(word_tokenizer(), 512)


def pairs_of(query: str, *passages: str) -> list[EncodedPair]:
    return ENCODER.encode(ENCODER.encode_query(query), passages)


@dataclass
class GatedBackend(OverlapBackend):
    """Waits at every forward until it may pass; `at_gate` is set while it waits."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    at_gate: threading.Event = field(default_factory=threading.Event)

    def forward(self, batch: Batch):
        self.at_gate.set()
        self.gate.acquire()
        self.at_gate.clear()
        return super().forward(batch)

    def open(self) -> None:
        self.gate.release(1_000_000)


class Bench:
    """A scheduler whose batches run one by one."""

    def __init__(self, *, budget: int = 64, max_queue_tokens: int = 100_000, cache=None, **faults: object) -> None:
        self.backend = GatedBackend(**faults)
        self.facts: list[BatchFacts] = []
        self.scorer = Scorer(self.backend, max_batch_tokens=budget, cache=cache)
        self.scheduler = Scheduler(self.scorer, max_queue_tokens=max_queue_tokens, on_batch=self.facts.append)

    def reached(self) -> None:
        assert self.backend.at_gate.wait(10)

    def close(self) -> None:
        self.backend.open()
        self.scheduler.close()


@pytest.fixture
def bench() -> Iterator[type[Bench]]:
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_scores_are_those_of_the_scorer(bench) -> None:
    one = bench()
    one.backend.open()
    pairs = pairs_of("green lamp", "a lamp", "green lamp", "nothing here", "a lamp")
    expected = Scorer(OverlapBackend(), max_batch_tokens=64).score(pairs)
    scores = one.scheduler.submit(pairs).scores.result(10)
    assert scores.logits.tolist() == expected.logits.tolist()
    assert sum(fact.pairs for fact in one.facts) == 3  # the duplicate is scored once


def test_requests_share_a_batch(bench) -> None:
    one = bench()
    first = one.scheduler.submit(pairs_of("one", "first"))
    one.reached()
    others = [one.scheduler.submit(pairs_of(f"query {n}", f"passage {n}")) for n in range(5)]
    one.backend.open()
    assert all(ticket.scores.result(10).logits.shape == (1,) for ticket in [first, *others])
    assert [fact.pairs for fact in one.facts] == [1, 5]
    assert one.facts[1].tokens == 35
    assert one.facts[1].room == 64


def test_the_oldest_request_does_not_starve(bench) -> None:
    """Long pairs are planned first; a short one must not wait behind newer long ones."""
    one = bench(budget=38)
    blocker = one.scheduler.submit(pairs_of("blocker", "blocker"))
    one.reached()
    short = one.scheduler.submit(pairs_of("q", "short"))
    long = [one.scheduler.submit(pairs_of("q", f"n{n} " + "word " * 30)) for n in range(20)]
    one.backend.gate.release(3)  # the blocker's, one to the oldest, one to the least
    short.scores.result(10)
    assert sum(ticket.scores.done() for ticket in long) <= 1
    one.backend.open()
    blocker.scores.result(10)


def test_a_small_request_is_served_beside_a_large_one(bench) -> None:
    one = bench(budget=64)
    large = one.scheduler.submit(pairs_of("q", *(f"passage number {n}" for n in range(2000))))
    one.reached()
    small = one.scheduler.submit(pairs_of("q", *(f"other passage {n}" for n in range(5))))
    for _ in range(100):
        one.backend.gate.release()
        if small.scores.done():
            break
        time.sleep(0.005)
    small.scores.result(10)
    assert len(large.waiting) > 1000


def test_a_cancelled_request_costs_nothing_more(bench) -> None:
    one = bench(budget=16)
    first = one.scheduler.submit(pairs_of("q", "one"))
    one.reached()
    gone = one.scheduler.submit(pairs_of("q", *(f"passage {n}" for n in range(50))))
    last = one.scheduler.submit(pairs_of("q", "two"))
    assert one.scheduler.queued[0] == 52
    gone.cancel()
    assert one.scheduler.queued[0] == 2
    one.backend.open()
    first.scores.result(10)
    last.scores.result(10)
    assert sum(fact.pairs for fact in one.facts) == 2


def test_a_request_cancelled_in_its_batch_harms_nobody(bench) -> None:
    one = bench()
    first = one.scheduler.submit(pairs_of("q", "one"))
    one.reached()
    first.cancel()
    second = one.scheduler.submit(pairs_of("q", "two"))
    one.backend.open()
    assert second.scores.result(10).logits.shape == (1,)


def test_a_full_queue_refuses_and_says_when_to_come_again(bench) -> None:
    one = bench(max_queue_tokens=100)
    one.scheduler.submit(pairs_of("q", *(f"passage {n}" for n in range(500))))  # an empty queue takes any request
    with pytest.raises(Overloaded, match="max_queue_tokens") as refused:
        one.scheduler.submit(pairs_of("q", "one more"))
    assert 1 <= refused.value.retry_after_s <= 60


def test_a_failed_forward_reaches_every_request_in_the_batch_and_no_other(bench) -> None:
    one = bench(budget=64)
    blocker = one.scheduler.submit(pairs_of("q", "blocker"))
    one.reached()
    hit = [one.scheduler.submit(pairs_of("q", f"passage {n}")) for n in range(3)]
    one.backend.error = RuntimeError("the GPU fell off the bus")
    one.backend.gate.release(2)
    for ticket in [blocker, *hit]:
        with pytest.raises(RuntimeError, match="bus"):
            ticket.scores.result(10)
    one.backend.error = None
    one.backend.open()
    assert one.scheduler.submit(pairs_of("q", "later")).scores.result(10).logits.shape == (1,)


def test_a_batch_too_large_is_planned_again(bench) -> None:
    one = bench(budget=500, memory_tokens=50)
    one.backend.open()
    pairs = pairs_of("green lamp", *(f"passage {n} of many words" for n in range(30)))
    scores = one.scheduler.submit(pairs).scores.result(10)
    assert scores.logits.tolist() == Scorer(OverlapBackend(), max_batch_tokens=64).score(pairs).logits.tolist()
    with pytest.raises(OutOfMemory):
        one.scheduler.submit(pairs_of("q", "word " * 100)).scores.result(10)


def test_partial_scores_are_told_as_they_are_made(bench) -> None:
    one = bench(budget=20)
    seen: dict[int, float] = {}
    pairs = pairs_of("green", *(f"green passage {'word ' * n}" for n in range(6)))
    ticket = one.scheduler.submit(pairs, lambda positions, logits: seen.update(zip(positions, logits, strict=True)))
    one.backend.gate.release()
    while not seen:
        time.sleep(0.001)
    assert not ticket.scores.done()
    one.backend.open()
    logits = ticket.scores.result(10).logits
    assert [seen[index] for index in range(6)] == logits.tolist()


def test_of_cached_and_repeated_pairs_too(bench) -> None:
    one = bench(cache=MemoryCache(100))
    one.backend.open()
    one.scheduler.submit(pairs_of("q", "one")).scores.result(10)
    seen: list[int] = []
    one.scheduler.submit(pairs_of("q", "two", "one", "two"), lambda positions, _: seen.extend(positions)).scores.result(
        10
    )
    assert seen == [1, 0, 2]


def test_a_watcher_that_fails_is_the_failure_of_its_request_alone(bench) -> None:
    one = bench()

    def fail(*_: object) -> None:
        raise RuntimeError("the watcher is gone")

    bad = one.scheduler.submit(pairs_of("q", "bad"), fail)
    good = one.scheduler.submit(pairs_of("q", "good"))
    one.backend.open()
    with pytest.raises(RuntimeError, match="gone"):
        bad.scores.result(10)
    assert good.scores.result(10).logits.shape == (1,)


def test_what_the_cache_knows_does_not_wait(bench) -> None:
    one = bench(cache=MemoryCache(100))
    one.backend.open()
    pairs = pairs_of("q", "one", "two")
    first = one.scheduler.submit(pairs).scores.result(10)
    one.backend.gate = threading.Semaphore(0)
    again = one.scheduler.submit(pairs)
    assert again.scores.done()
    assert again.scores.result().logits.tolist() == first.logits.tolist()
    assert again.scores.result().cached.all()


def test_closing_finishes_what_was_accepted_and_takes_no_more(bench) -> None:
    one = bench(budget=16)
    tickets = [one.scheduler.submit(pairs_of("q", f"passage {n}")) for n in range(10)]
    closing = threading.Thread(target=one.scheduler.close)
    closing.start()
    while not one.scheduler._closed:
        time.sleep(0.001)
    with pytest.raises(Unavailable):
        one.scheduler.submit(pairs_of("q", "late"))
    one.backend.open()
    closing.join(10)
    assert all(ticket.scores.done() for ticket in tickets)


def test_the_library_ranks_and_explains_through_the_queue() -> None:
    reranker = stub_reranker()
    scheduler = Scheduler(reranker.scorer, max_queue_tokens=1000)
    queued = reranker.scoring_with(scheduler)
    passages = ["Keep it dry. Hold the reset button.", "The lamp is green."]
    done: list[tuple[int, int]] = []
    ranking = queued.rank("reset button", passages, progress=lambda *counts: done.append(counts))
    assert [result.logit for result in ranking] == [r.logit for r in reranker.rank("reset button", passages)]
    assert done[-1] == (2, 2)
    assert queued.explain("reset button", passages[0]) == reranker.explain("reset button", passages[0])
    scheduler.close()


def test_many_threads_get_their_own_scores() -> None:
    reranker = stub_reranker()
    scheduler = Scheduler(reranker.scorer, max_queue_tokens=1_000_000)
    wrong: list[int] = []

    def ask(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(20):
            words = [f"w{n}" for n in rng.integers(0, 50, 8)]
            pairs = pairs_of(words[0], *(" ".join(rng.permutation(words)[: 1 + n % 7]) for n in range(12)))
            expected = Scorer(OverlapBackend(), max_batch_tokens=64).score(pairs).logits.tolist()
            if scheduler.submit(pairs).scores.result(30).logits.tolist() != expected:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scheduler.close()
    assert wrong == []
