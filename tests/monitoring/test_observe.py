import math
import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from finerank.monitoring import observe as module
from finerank.monitoring.observe import SCORE_BINS, Observation, kendall_tau, observe
from finerank.ranking import Ranking, sigmoid

LOGITS = st.lists(st.floats(-20, 20) | st.sampled_from([-3.0, 0.0, 1.5, 40.0]), max_size=60)


@given(st.integers(2, 700).flatmap(lambda n: st.permutations(range(n))))
def test_tau_is_scipys(order: list[int]) -> None:
    assert kendall_tau(order) == pytest.approx(kendalltau(range(len(order)), order).statistic, abs=1e-12)


def test_tau_of_a_part_of_the_candidates() -> None:
    order = random.Random(3).sample(range(10_000), 900)
    assert kendall_tau(order) == pytest.approx(kendalltau(range(900), order).statistic, abs=1e-12)
    assert kendall_tau(range(900)) == 1
    assert kendall_tau(range(900, 0, -1)) == -1


@given(LOGITS, st.floats(0.05, 0.95))
def test_every_fact_is_as_defined(ranked, logits: list[float], low_score: float) -> None:
    n, scores = len(logits), [sigmoid(logit) for logit in logits]
    first, *rest = sorted(scores, reverse=True) or [None]
    best = logits.index(max(logits)) if logits else None
    pairs = list(combinations(range(n), 2))
    kept = sum(logits[left] >= logits[right] for left, right in pairs)
    bins = [min(math.floor(score * SCORE_BINS), SCORE_BINS - 1) for score in scores]
    assert observe(ranked(logits), n, low_score) == Observation(
        documents=n,
        scored=n,
        top1_replaced=best != 0 if n > 1 else None,
        gap=first - rest[0] if n > 1 else None,
        best=first,
        low_best=first < low_score if n else None,
        low_documents=sum(score < low_score for score in scores),
        truncated=0,
        tied=sum(logits.count(logit) > 1 for logit in logits),
        tau=pytest.approx((2 * kept - len(pairs)) / len(pairs)) if n > 1 else None,
        histogram=tuple(bins.count(each) for each in range(SCORE_BINS)),
    )


def test_truncated_documents_are_counted(ranked) -> None:
    assert observe(ranked([1.0, 2.0, 3.0], truncated=[True, False, True]), 3).truncated == 2


def test_what_a_threshold_dropped_counts_only_as_given(ranked) -> None:
    seen = observe(Ranking(ranked([-3.0, 2.0, 1.0]).results[:2], "m"), 3)
    assert (seen.documents, seen.scored, seen.low_documents, seen.tau) == (3, 2, 0, 1.0)


def test_counting_by_merging_is_counting_by_insertion(monkeypatch: pytest.MonkeyPatch) -> None:
    order = random.Random(1).sample(range(500), 500)
    at_once = module._inversions_by_insertion(order)
    monkeypatch.setattr(module, "_INSERTED", 3)
    assert module._inversions(order) == at_once
