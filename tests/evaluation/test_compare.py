from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.errors import InvalidInput
from finerank.evaluation import compare
from finerank.evaluation.compare import compare_evaluations, compare_with_first_stage, difference, slice_changes
from finerank.evaluation.results import Evaluation, QueryResult, SetResult

DELTAS = [0.5, -0.1, 0.2, 0.0, 0.3, -0.2, 0.4, 0.1]


def query(id_: str, before: float, after: float, length: int = 10, right: bool = False) -> QueryResult:
    return QueryResult(id_, {"RR": before}, {"RR": after}, right, after == 1, length, 5)


def evaluation(*sets: SetResult, model: str = "ours") -> Evaluation:
    return Evaluation(model, ("RR",), sets)


def one_set(afters: list[float], name: str = "s", language: str = "en") -> SetResult:
    return SetResult(name, language, tuple(query(f"q{number}", 0.5, after) for number, after in enumerate(afters)))


def test_the_p_value_is_that_of_all_sign_patterns() -> None:
    found = abs(sum(DELTAS))
    patterns = list(product((-1, 1), repeat=len(DELTAS)))
    exact = np.mean([abs(np.dot(signs, DELTAS)) >= found - 1e-12 for signs in patterns])
    assert 0.01 < exact < 0.2
    assert difference(DELTAS).p_value == pytest.approx(exact, abs=0.01)


def test_no_difference_is_no_evidence_and_a_clear_one_is() -> None:
    assert difference([0.0] * 20).p_value == 1.0
    assert difference([0.0] * 20).low == difference([0.0] * 20).high == 0.0
    clear = difference([0.1] * 30)
    assert clear.p_value == pytest.approx(1 / (compare.RESAMPLES + 1))
    assert (clear.helped, clear.hurt, clear.queries) == (30, 0, 30)


def test_the_interval_is_as_wide_as_the_normal_one_on_many_queries() -> None:
    deltas = np.random.default_rng(3).normal(0.05, 0.2, 400)
    found = difference(list(deltas))
    half = 1.96 * deltas.std() / 20
    assert found.low == pytest.approx(deltas.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(deltas.mean() + half, abs=0.1 * half)


def test_a_set_counts_once_whatever_its_size() -> None:
    found = difference([1.0, *[0.0] * 9], ["small", *["large"] * 9])
    assert found.mean == found.low == found.high == 0.5


def test_the_same_seed_gives_the_same_figures_and_another_one_others() -> None:
    assert difference(DELTAS, seed=1) == difference(DELTAS, seed=1)
    assert difference(DELTAS, seed=1) != difference(DELTAS, seed=2)


def test_many_queries_are_drawn_in_blocks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = difference(DELTAS)
    monkeypatch.setattr(compare, "_BLOCK_ELEMENTS", 8 * 999)
    in_blocks = difference(DELTAS)
    assert in_blocks.p_value == pytest.approx(whole.p_value, abs=0.01)
    assert (in_blocks.low, in_blocks.high) == pytest.approx((whole.low, whole.high), abs=0.02)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=20)
def test_the_mean_lies_in_its_interval_and_turning_the_signs_turns_it(deltas: list[float]) -> None:
    found, turned = difference(deltas), difference([-delta for delta in deltas])
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert turned.mean == pytest.approx(-found.mean)
    assert turned.p_value == found.p_value
    assert (turned.helped, turned.hurt) == (found.hurt, found.helped)


def test_a_ranker_is_held_against_its_first_stage() -> None:
    found = compare_with_first_stage(evaluation(one_set([1.0, 1.0]), one_set([0.25], "drei", "de")))
    assert (found.before, found.after, found.measure) == ("first stage", "ours", "RR")
    assert found.overall.mean == pytest.approx((0.5 - 0.25) / 2)
    assert found.languages["en"].mean == 0.5
    assert found.languages["de"].hurt == 1


def test_two_evaluations_are_paired_by_set_and_query() -> None:
    theirs = evaluation(one_set([0.5, 0.25, 1.0]), one_set([0.1], "only theirs"), model="theirs")
    ours = evaluation(SetResult("s", "en", tuple(reversed(one_set([1.0, 0.5]).queries))))
    found = compare_evaluations(theirs, ours)
    assert (found.before, found.after) == ("theirs", "ours")
    assert found.overall.mean == pytest.approx((0.5 + 0.25) / 2)
    assert found.overall.queries == 2
    assert found.notes == ("2 queries are in one of the evaluations only and were left out",)


def test_evaluations_that_cannot_be_compared_say_why() -> None:
    ours = evaluation(one_set([1.0]))
    with pytest.raises(InvalidInput, match="theirs and ours have no query in common"):
        compare_evaluations(evaluation(one_set([1.0], "other"), model="theirs"), ours)
    with pytest.raises(InvalidInput, match="theirs: was not measured in RR"):
        compare_evaluations(Evaluation("theirs", ("AP",), ()), ours)
    (found,) = ours.sets
    for changed in ({"candidates": 6}, {"first_stage": {"RR": 0.4}}):
        other = replace(found, queries=(replace(found.queries[0], **changed),))
        with pytest.raises(InvalidInput, match="s, query 'q0': the two evaluations had other candidates"):
            compare_evaluations(evaluation(other), ours)


def test_slices_say_where_reranking_hurts_with_the_worst_first() -> None:
    rows = [query(f"q{n}", 1.0, 1.0 - n / 10, length=n, right=True) for n in range(9)]
    rows += [query("better", 0.2, 0.9, length=99)]
    found = compare_with_first_stage(evaluation(SetResult("s", "en", tuple(rows))))
    slices = {(part.by, part.name): part for part in found.slices}
    right, wrong = slices["rank 1 before", "right"], slices["rank 1 before", "wrong"]
    assert (right.queries, right.hurt, right.helped) == (9, 8, 0)
    assert right.mean == pytest.approx(-0.4)
    assert [change.id for change in right.worst] == ["q8", "q7", "q6", "q5", "q4"]
    assert (wrong.mean, wrong.worst) == (pytest.approx(0.7), ())
    assert slices["set", "s"].queries == slices["language", "en"].queries == 10
    thirds = [slices["query length", name].queries for name in ("short", "middle", "long")]
    assert thirds == [4, 3, 3]
    assert slice_changes([]) == []


def test_long_is_long_for_its_language() -> None:
    english = SetResult("e", "en", tuple(query(f"q{n}", 0, 0, length=100 * n) for n in (1, 2, 3)))
    chinese = SetResult("z", "zh", tuple(query(f"q{n}", 0, 1, length=n) for n in (1, 2, 3)))
    found = compare_with_first_stage(evaluation(english, chinese))
    thirds = {part.name: part for part in found.slices if part.by == "query length"}
    assert {name: part.mean for name, part in thirds.items()} == {"short": 0.5, "middle": 0.5, "long": 0.5}
