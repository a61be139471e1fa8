import math

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.errors import InvalidSetting
from finerank.evaluation.measures import MEASURES, check_measures, measure

TREC_EVAL = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG": "ndcg",
    "AP": "map",
    "R@50": "recall_50",
    "R@10": "recall_10",
    "P@5": "P_5",
    "RR": "recip_rank",
}

DOCUMENTS = [f"d{number}" for number in range(30)]
GRADES = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1)
RANKING = st.lists(st.sampled_from(DOCUMENTS), unique=True)


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(GRADES, RANKING), min_size=1))
@settings(deadline=None, max_examples=50)
def test_the_numbers_are_trec_evals(judged: dict) -> None:
    grades = {query: pair[0] for query, pair in judged.items()}
    rankings = {query: pair[1] for query, pair in judged.items()}
    ours = measure(grades, rankings, list(TREC_EVAL))
    run = {query: {id_: 1 / (place + 1) for place, id_ in enumerate(r)} for query, r in rankings.items() if r}
    theirs = pytrec_eval.RelevanceEvaluator(grades, set(TREC_EVAL.values())).evaluate(run)
    for query in grades:
        for name, trec_name in TREC_EVAL.items():
            assert ours[query][name] == pytest.approx(theirs.get(query, {}).get(trec_name, 0.0), abs=1e-9)


def test_values_by_hand() -> None:
    values = measure({"q": {"a": 2, "b": 1, "c": 0}}, {"q": ["c", "a", "x"]})["q"]
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert values["nDCG@10"] == pytest.approx(2 / math.log2(3) / best)
    assert values["RR@10"] == 0.5
    assert values["AP"] == pytest.approx((1 / 2) / 2)
    assert values["R@50"] == 0.5


def test_the_order_given_is_the_order_judged_however_the_ids_sort() -> None:
    for ranking in (["a", "z"], ["z", "a"]):
        assert measure({"q": {"z": 1}}, {"q": ranking}, ["RR@10"]) == {"q": {"RR@10": 1 / (ranking.index("z") + 1)}}


def test_ten_thousand_ranks_stay_apart() -> None:
    ranking = [f"{number:05}" for number in range(10_000)]
    assert measure({"q": {ranking[-1]: 1}}, {"q": ranking}, ["RR"])["q"]["RR"] == pytest.approx(1e-4)


def test_a_judged_query_without_a_ranking_counts_0() -> None:
    values = measure({"q": {"a": 1}, "missing": {"a": 1}, "empty": {"a": 1}}, {"q": ["a"], "empty": []})
    assert values["q"] == dict.fromkeys(MEASURES, 1.0)
    assert values["missing"] == values["empty"] == dict.fromkeys(MEASURES, 0.0)
    assert measure({"q": {"a": 1}}, {}) == {"q": dict.fromkeys(MEASURES, 0.0)}


def test_a_query_without_relevant_documents_counts_0_and_an_unjudged_one_not_at_all() -> None:
    values = measure({"q": {"a": 0}}, {"q": ["a"], "unjudged": ["a"]})
    assert values == {"q": dict.fromkeys(MEASURES, 0.0)}


def test_reciprocal_rank_ends_at_its_cutoff() -> None:
    ranking = [*(f"x{number}" for number in range(10)), "a"]
    values = measure({"q": {"a": 1}}, {"q": ranking}, ["RR@10", "RR", "RR@11"])["q"]
    assert values == pytest.approx({"RR@10": 0.0, "RR": 1 / 11, "RR@11": 1 / 11})


@pytest.mark.parametrize("wrong", ["ndcg", "nDCG@0", "R", "P", "nDCG@ten", "AP; import os", "", "RR@-1"])
def test_a_name_that_is_no_measure_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidSetting, match="is none of nDCG"):
        check_measures([wrong])


def test_measures_named_twice_are_taken_once() -> None:
    assert check_measures(["AP", "nDCG@10", "AP"]) == ("AP", "nDCG@10")
    with pytest.raises(InvalidSetting, match="at least one"):
        check_measures([])
