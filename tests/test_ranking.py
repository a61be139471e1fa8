import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank import Document, Ranking, ScoreError, rank_by_score
from finerank.ranking import sigmoid

DOCUMENTS = [Document(text) for text in "abcd"]


def order(logits: list[float], **options: object) -> list[int]:
    return [result.index for result in rank_by_score(DOCUMENTS[: len(logits)], logits, **options)]


def test_best_logit_first_and_ties_in_the_callers_order() -> None:
    assert order([0.0, 2.0, -1.0, 2.0]) == [1, 3, 0, 2]


def test_a_result_carries_its_document_scores_and_places() -> None:
    best, _ = rank_by_score(DOCUMENTS[:2], [-1.0, 0.0], truncated=[False, True], best_spans=[None, (3, 5)], top_n=None)
    assert best.document is DOCUMENTS[1]
    assert (best.logit, best.score, best.index, best.rank) == (0.0, 0.5, 1, 1)
    assert (best.truncated, best.best_span) == (True, (3, 5))


def test_probabilities_go_with_their_documents_and_decide_nothing() -> None:
    ranked = rank_by_score(DOCUMENTS[:3], [0.0, 2.0, 1.0], probabilities=[0.9, 0.1, 0.5])
    assert [(result.index, result.probability) for result in ranked] == [(1, 0.1), (2, 0.5), (0, 0.9)]
    assert rank_by_score(DOCUMENTS[:1], [0.0])[0].probability is None


def test_logits_that_float32_cannot_tell_apart_keep_distinct_scores() -> None:
    logits = [17.0 + step for step in range(20)]
    scores = [sigmoid(logit) for logit in logits]
    assert scores == sorted(set(scores))
    assert scores[-1] < 1


def test_scores_reach_both_ends_without_overflow() -> None:
    assert (sigmoid(-1000.0), sigmoid(0.0), sigmoid(1000.0)) == (0.0, 0.5, 1.0)


def test_logits_decide_where_scores_are_equal() -> None:
    assert order([900.0, 1000.0]) == [1, 0]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_is_no_number_is_an_error_naming_the_document(wrong: float) -> None:
    with pytest.raises(ScoreError, match=r"documents\[2\].*(nan|inf)"):
        order([0.0, 1.0, wrong, 2.0], top_n=1)


def test_top_n_counts_after_the_threshold() -> None:
    logits = [2.0, -0.1, 0.0, 1.0]
    assert order(logits, top_n=2) == [0, 3]
    assert order(logits, top_n=0) == []
    assert order(logits, top_n=9) == [0, 3, 2, 1]
    assert order(logits, threshold=0.5) == [0, 3, 2]
    assert order(logits, threshold=0.5, top_n=1) == [0]
    assert order(logits, threshold=1.0) == []


def test_nothing_in_nothing_out() -> None:
    assert rank_by_score([], []) == ()


@given(st.lists(st.floats(-50, 50), max_size=30))
@settings(deadline=None)
def test_ranking_is_a_sorted_permutation(logits: list[float]) -> None:
    results = rank_by_score([Document("")] * len(logits), logits)
    assert sorted(result.index for result in results) == list(range(len(logits)))
    assert [result.logit for result in results] == sorted(logits, reverse=True)
    assert [result.rank for result in results] == list(range(1, len(logits) + 1))


def test_a_ranking_is_a_sequence_of_its_results() -> None:
    results = rank_by_score(DOCUMENTS, [1.0, 2.0, 3.0, 4.0])
    ranking = Ranking(results, "model")
    assert len(ranking) == 4
    assert list(ranking) == list(results)
    assert ranking[0] is results[0]
    assert ranking[1:3] == results[1:3]
    assert results[3] in ranking
    assert list(reversed(ranking)) == list(reversed(results))
