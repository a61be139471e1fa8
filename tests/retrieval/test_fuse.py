"""Two kinds of recall as one order."""

import pytest

from finerank.ranking import Document
from finerank.retrieval.fuse import convex_fusion
from finerank.retrieval.retriever import WORDS_WEIGHT, fuse
from finerank.retrieval.store import Found


def found(**scores: float) -> list[Found]:
    return [Found(Document(id_, id_), score) for id_, score in scores.items()]


def order(words: list[Found], vectors: list[Found], k: int) -> list[str | None]:
    return [each.document.id for each in fuse(words, vectors, k)]


def test_words_order_and_vectors_find_what_words_cannot():
    assert order(found(a=9.0, b=3.0), found(b=0.9, c=0.8, a=0.1), 10) == ["a", "b", "c"]
    assert order([], found(c=0.9, d=0.8), 10) == ["c", "d"]
    assert order(found(a=9.0), [], 10) == ["a"]


def test_a_list_that_is_not_full_leaves_its_last_hit_its_score():
    few, many = fuse(found(a=9.0, b=8.0), [], 10), fuse(found(a=9.0, b=8.0), [], 2)
    assert few[1].score == pytest.approx(WORDS_WEIGHT * 8 / 9)
    assert many[1].score == 0.0


def test_equal_scores_all_count_as_best():
    assert convex_fusion([(1.0, 5.0, [("a", 5.0), ("b", 5.0)])]) == [("a", 1.0), ("b", 1.0)]
