from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank import Document, InvalidInput, Ranking, ScoreError, Usage, rank_by_score
from finerank.ranking import check_documents, check_pairs, check_query, is_blank, sigmoid

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


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\u3000",
        "\u200b",
        "\ufeff\u2060",
        "\u00ad",
        "\u180e",
        "\ufe0f\U000e0100",
        "\u200e\u202e\u2069",
        "\x00\x1b",
        "\u3164",
        "\uffa0",
        "\u115f\u1160",
        "\u2800",
        "\u0301\u20dd",
        "\u093e",
        "\U000e0041",
        "\ufdd0\uffff",
        "\u200b" * 10_000,
    ],
)
def test_a_text_in_which_nothing_can_be_seen_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}a")
    assert not is_blank(f"?{text}")
    with pytest.raises(InvalidInput, match=r"query is empty.*nothing to rank by"):
        check_query(text)


@pytest.mark.parametrize("text", [".", "0", "人", "é", "\ufffd", "🤖", "\U0001fae8", "\ue000", "का", "\u200bא\u200b"])
def test_a_text_in_which_something_can_be_seen_is_not(text: str) -> None:
    assert not is_blank(text)
    assert check_query(text) == text


def test_a_query_of_invisible_characters_is_refused_by_their_names() -> None:
    with pytest.raises(InvalidInput, match=r"only invisible characters \(U\+200B, U\+FEFF\)"):
        check_query("\u200b \ufeff\u200b")


def test_documents_and_results_are_hashable_and_equal_ones_alike() -> None:
    one, same = (Document("a", id=7, metadata={"tags": ["x"]}) for _ in range(2))
    assert len({one, same, Document("a", id=7, metadata={"tags": []}), Document("a")}) == 3
    results = rank_by_score([one, same], [1.0, 0.0])
    assert len({*results, results[0]}) == 2
    assert len({Ranking(results, "m"), Ranking(results, "m", Usage(seconds={"total": 1.0}))}) == 2


class Node:
    """As other frameworks' documents are."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


class Column(list[Any]):
    """As pandas' Series is: its items in order, and a way to NumPy."""

    def to_numpy(self) -> Any:
        return np.array(self, object)


class Table(list[str]):
    """As pandas' DataFrame is: iterated, it gives the names of its columns."""

    columns = ("query", "passage")

    def to_numpy(self) -> Any:
        return np.array([["who?", "I"], ["what?", "you"]], object)


class Scalar:
    """As pyarrow's are."""

    def as_py(self) -> str:
        return "a"


@pytest.mark.parametrize(
    "documents",
    [
        np.array(["a", "b"]),
        np.array(["a", "b"], object),
        Column(["a", "b"]),
        ("a", "b"),
        (text for text in "ab"),
        {1: "a", 2: "b"}.values(),
        [np.str_("a"), Document("b")],
        [{"text": "a"}, {"content": "b"}],
        [{"page_content": "a"}, Node(page_content="b")],
        [Node(content="a"), Node(text="b")],
        [Scalar(), "b"],
        rank_by_score([Document("a"), Document("b")], [1.0, 0.0]),
    ],
)
def test_documents_come_in_many_forms(documents: object) -> None:
    checked = check_documents(documents)
    assert checked == [Document("a"), Document("b")]
    assert {type(document.text) for document in checked} == {str}


def test_a_documents_id_and_whatever_else_it_has_is_kept() -> None:
    given = {"content": "a", "id": 3, "meta": {"source": "kb"}, "page": 7}
    assert check_documents([given]) == [Document("a", id=3, metadata={"source": "kb", "page": 7})]
    node = Node(page_content="a", id="n1", metadata={"source": "kb"})
    assert check_documents([node]) == [Document("a", id="n1", metadata={"source": "kb"})]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (Table(["query", "passage"]), "documents is of type Table; give the column with the texts"),
        (np.array([["a", "b"]]), r"documents\[0\] is of type ndarray"),
        (["a", float("nan")], r"documents\[1\] is of type float"),
        ([{"body": "a"}], r"documents\[0\] has no text: .* 'text', 'content', 'page_content'"),
        ([{"text": None}], r"documents\[0\] has no text"),
        ([b"a"], r"documents\[0\] is of type bytes"),
        (np.array("a"), r"documents is of type ndarray"),
    ],
)
def test_what_is_no_list_of_documents_is_refused(documents: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_documents(documents)


@pytest.mark.parametrize(
    "pairs",
    [
        np.array([["who?", "I"], ["what?", "you"]]),
        np.array([["who?", "I"], ["what?", "you"]], object),
        [np.array(["who?", "I"]), ["what?", {"text": "you"}]],
        zip(["who?", "what?"], ["I", Document("you")], strict=True),
        Table(["query", "passage"]),
    ],
)
def test_pairs_come_in_many_forms(pairs: object) -> None:
    assert check_pairs(pairs) == [("who?", Document("I")), ("what?", Document("you"))]


@pytest.mark.parametrize("pairs", ["ab", ["ab"], [("a",)], np.array(["ab", "cd"]), [{"a": "b"}], [{"a", "b"}], 7, None])
def test_what_are_no_pairs_is_refused(pairs: object) -> None:
    with pytest.raises(InvalidInput, match="pairs"):
        check_pairs(pairs)
