from collections.abc import Sequence

import numpy as np
import pytest

from finerank import OutOfMemory
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.cache import MemoryCache
from finerank.scoring.encode import PairEncoder
from finerank.scoring.scorer import Scorer, Scores
from finerank.testing import OverlapBackend, word_tokenizer

ENCODER = PairEncoder(word_tokenizer(), max_length=64)
QUERY = ENCODER.encode_query("reset button")
OVERHEAD = 5  # the tokens of a pair beside its passage


def pairs(*passages: str) -> list[EncodedPair]:
    return ENCODER.encode(QUERY, passages)


def pairs_of(lengths: Sequence[int]) -> list[EncodedPair]:
    """Pairs of so many tokens, each different from the others."""
    return pairs(*(" ".join(f"w{number}" for _ in range(length - OVERHEAD)) for number, length in enumerate(lengths)))


def make_scorer(backend: OverlapBackend | None = None, *, budget: int = 1000, **options) -> Scorer:
    return Scorer(backend or OverlapBackend(), max_batch_tokens=budget, **options)


def fits(backend: OverlapBackend, batch: Batch) -> bool:
    tokens = len(batch) * max(batch.lengths) if backend.padded else sum(batch.lengths)
    return backend.memory_tokens is None or tokens <= backend.memory_tokens


def completed(backend: OverlapBackend) -> list[int]:
    """The lengths of the pairs in batches that fitted, in order."""
    return [length for batch in backend.batches if fits(backend, batch) for length in batch.lengths.tolist()]


def failures(backend: OverlapBackend) -> int:
    return sum(not fits(backend, batch) for batch in backend.batches)


@pytest.mark.parametrize("padded", [True, False])
def test_logits_come_in_the_order_of_the_pairs(padded: bool) -> None:
    scores = make_scorer(OverlapBackend(padded=padded), budget=14).score(
        pairs("no", "press the reset button", "reset it", "", "button")
    )
    assert scores.logits.dtype == np.float64
    assert scores.logits.tolist() == pytest.approx([-0.0001, 0.9996, 0.4998, 0.0, 0.4999], abs=1e-6)


def test_no_pairs_no_forward() -> None:
    backend = OverlapBackend()
    scores = make_scorer(backend).score([])
    assert (scores.logits.shape, scores.cached.shape, backend.batches) == ((0,), (0,), [])


def test_duplicates_are_computed_once() -> None:
    backend = OverlapBackend()
    scores = make_scorer(backend).score(pairs("reset", "no", "reset", "reset"))
    assert scores.logits[0] == scores.logits[2] == scores.logits[3] != scores.logits[1]
    assert len(completed(backend)) == 2
    assert not scores.cached.any()


def test_only_misses_are_computed() -> None:
    backend = OverlapBackend()
    scorer = make_scorer(backend, cache=MemoryCache(10))
    first = scorer.score(pairs("reset", "button it"))
    again = scorer.score(pairs("new one", "button it", "reset", "new one"))
    assert again.cached.tolist() == [False, True, True, False]
    assert again.logits[[2, 1]].tolist() == first.logits.tolist()
    assert sorted(completed(backend)) == [OVERHEAD + 1, OVERHEAD + 2, OVERHEAD + 2]


def test_models_that_share_a_cache_do_not_share_scores() -> None:
    cache = MemoryCache(10)
    make_scorer(cache=cache, namespace="one").score(pairs("reset"))
    assert not make_scorer(cache=cache, namespace="two").score(pairs("reset")).cached.any()


def test_pairs_are_scored_alone_when_deterministic() -> None:
    backend = OverlapBackend()
    make_scorer(backend, deterministic=True).score(pairs("a", "b", "c d"))
    assert [len(batch) for batch in backend.batches] == [1, 1, 1]


@pytest.mark.parametrize("padded", [True, False])
def test_out_of_memory_halves_the_batch_and_computes_no_pair_twice(padded: bool) -> None:
    lengths = [10 + number % 7 for number in range(64)]
    backend = OverlapBackend(memory_tokens=64, padded=padded)
    scorer = make_scorer(backend, budget=512)
    logits = scorer.score(pairs_of(lengths)).logits
    assert logits.tolist() == make_scorer().score(pairs_of(lengths)).logits.tolist()
    assert completed(backend) == sorted(lengths, reverse=True)
    assert failures(backend) <= 4  # 512 -> 256 -> 128 -> 64 tokens, and not again in every batch


def test_a_budget_lowered_once_stays_lowered() -> None:
    backend = OverlapBackend(memory_tokens=64)
    scorer = make_scorer(backend, budget=512)
    scorer.score(pairs_of([10] * 30))
    failed = failures(backend)
    scorer.score(pairs_of([10] * 40))
    assert failures(backend) == failed
    assert 32 <= scorer.max_batch_tokens <= 64


def test_a_pair_that_does_not_fit_alone_is_an_error_that_says_what_to_do() -> None:
    backend = OverlapBackend(memory_tokens=19)
    with pytest.raises(OutOfMemory, match=r"one pair of 20 tokens does not fit.*device='cpu'") as caught:
        make_scorer(backend, budget=80).score(pairs_of([20] * 4))
    assert isinstance(caught.value.__cause__, OutOfMemory)
    assert [len(batch) for batch in backend.batches] == [4, 2, 1]


def test_a_fallback_takes_only_what_does_not_fit_and_says_so() -> None:
    backend, fallback = OverlapBackend(memory_tokens=19), OverlapBackend()
    scorer = make_scorer(backend, cache=MemoryCache(10), open_fallback=lambda: fallback)
    job = pairs_of([20, 10, 30])
    scores = scorer.score(job)
    assert scores.logits.tolist() == make_scorer().score(job).logits.tolist()
    assert "scored partly on the CPU: one pair of 20 tokens" in scores.degraded
    assert completed(fallback) == [30, 20]
    assert completed(backend) == [10]
    assert not scorer.score(job).cached.any()
    scorer.close()
    assert backend.closed
    assert fallback.closed


def test_one_fallback_is_opened_and_none_without_need() -> None:
    opened: list[OverlapBackend] = []

    def open_fallback() -> OverlapBackend:
        opened.append(OverlapBackend())
        return opened[-1]

    scorer = make_scorer(OverlapBackend(memory_tokens=19), open_fallback=open_fallback)
    assert (scorer.score(pairs_of([10])).degraded, opened) == ("", [])
    scorer.score(pairs_of([20, 21]))
    scorer.score(pairs_of([22]))
    assert len(opened) == 1


def test_an_error_of_the_backend_reaches_the_caller_and_leaves_nothing_behind() -> None:
    backend, cache = OverlapBackend(error=RuntimeError("the driver is gone")), MemoryCache(10)
    scorer = make_scorer(backend, cache=cache)
    with pytest.raises(RuntimeError, match="the driver is gone"):
        scorer.score(pairs("reset"))
    assert len(cache) == 0
    backend.error = None
    assert scorer.score(pairs("reset")).logits.tolist() == pytest.approx([0.4999])


def test_nan_is_handed_on_and_not_cached() -> None:
    scorer = make_scorer(OverlapBackend(nan_word="poison"), cache=MemoryCache(10))

    def score() -> Scores:
        return scorer.score(pairs("poison", "reset"))

    assert np.isnan(score().logits).tolist() == [True, False]
    assert score().cached.tolist() == [False, True]


def test_progress_counts_pairs_up_to_all() -> None:
    calls: list[tuple[int, int]] = []
    scorer = make_scorer(OverlapBackend(memory_tokens=20), budget=40)
    scorer.score(pairs_of([10] * 5), lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_close_releases_backend_and_cache() -> None:
    backend, cache = OverlapBackend(), MemoryCache(10)
    scorer = make_scorer(backend, cache=cache)
    scorer.score(pairs("reset"))
    scorer.close()
    assert backend.closed
    assert len(cache) == 0
