import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from finerank.errors import InvalidInput, InvalidSetting
from finerank.evaluation.calibrate import (
    Pairs,
    calibrate,
    choose_threshold,
    fit_isotonic,
    fit_platt,
    held_out,
    judge_pairs,
    quality,
)
from finerank.evaluation.datasets import JudgedQuery, JudgedSet, read_pairs
from finerank.evaluation.report import calibration_page
from finerank.ranking import Document, sigmoid
from finerank.scoring.calibration import Platt
from finerank.testing import stub_reranker


def pairs(logits: Sequence[float], relevant: Sequence[int], queries: Sequence[int] | None = None) -> Pairs:
    numbers = queries if queries is not None else range(len(logits))
    return Pairs(np.array(logits, np.float64), np.array(relevant, np.bool_), np.array(numbers, np.int64))


def drawn(count: int, slope: float, intercept: float, seed: int = 0) -> Pairs:
    """Pairs whose passages are relevant with the probability sigmoid(slope * logit + intercept), ten a query."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 4, count)
    chance = 1 / (1 + np.exp(-(slope * logits + intercept)))
    return pairs(logits.tolist(), random.random(count) < chance, np.arange(count) // 10)


def test_platt_finds_the_curve_the_labels_were_drawn_from() -> None:
    found = fit_platt(drawn(20_000, slope=0.5, intercept=-1.5))
    assert found.slope == pytest.approx(0.5, rel=0.05)
    assert found.intercept == pytest.approx(-1.5, rel=0.05)


def test_platt_is_the_maximum_of_the_likelihood_of_his_targets() -> None:
    data = drawn(200, 0.5, -1.0)
    found, positives = fit_platt(data), int(data.relevant.sum())
    target = np.where(data.relevant, (positives + 1) / (positives + 2), 1 / (200 - positives + 2))

    def loss(slope: float, intercept: float) -> float:
        said = np.array([Platt(slope, intercept).probability(logit) for logit in data.logits])
        return -float(np.sum(target * np.log(said) + (1 - target) * np.log(1 - said)))

    best = loss(found.slope, found.intercept)
    for step in (-1e-2, 1e-2):
        assert loss(found.slope + step, found.intercept) > best
        assert loss(found.slope, found.intercept + step) > best


def test_platt_stays_finite_where_the_logits_separate_the_pairs() -> None:
    found = fit_platt(pairs([-3, -2, 2, 3], [0, 0, 1, 1]))
    assert 0 < found.slope < 10
    assert found.probability(0.0) == pytest.approx(0.5, abs=1e-3)
    assert fit_platt(pairs([1e5 - 3, 1e5 - 2, 1e5 + 2, 1e5 + 3], [0, 0, 1, 1])).slope == pytest.approx(
        found.slope, rel=1e-4
    )


def test_logits_that_fall_with_relevance_are_refused() -> None:
    with pytest.raises(InvalidInput, match="check their labels"):
        fit_platt(pairs([3, 2, -2, -3], [0, 0, 1, 1]))


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40), st.integers(-70, 70))
@settings(deadline=None)
def test_isotonic_says_what_scikit_learn_says(rows: list[tuple[int, bool]], tenths: int) -> None:
    data = pairs([logit for logit, _ in rows], [label for _, label in rows])
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(data.logits, data.relevant.astype(float))
    said = fit_isotonic(data).probability(tenths / 10)
    assert said == pytest.approx(float(theirs.predict([tenths / 10])[0]), abs=1e-12)


def test_quality_by_hand() -> None:
    found = quality([0.05, 0.05, 0.95, 1.0], np.array([False, True, True, True]))
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.05**2 + 0) / 4)
    assert [(part.said, part.relevant, part.pairs) for part in found.bins] == [(0.05, 0.5, 2), (0.975, 1.0, 2)]
    assert found.calibration_error == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)


def test_no_pair_is_judged_by_a_curve_that_saw_its_query() -> None:
    data = pairs([float(number) for number in range(40)], [number % 2 for number in range(40)], np.arange(40) // 4)
    seen: list[set[int]] = []

    class Remembers:
        def __init__(self, part: Pairs) -> None:
            self.queries = set(part.queries.tolist())

        def probability(self, logit: float) -> float:
            assert int(logit) // 4 not in self.queries
            seen.append(self.queries)
            return logit / 100

    assert held_out(data, Remembers) == [number / 100 for number in range(40)]
    assert {len(queries) for queries in seen} == {8}, "ten queries in five parts"


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_calibration_makes_the_figures_truer_on_queries_it_has_not_seen(method: str) -> None:
    fit = calibrate(drawn(3000, slope=0.5, intercept=-2.0), method)
    assert fit.after.calibration_error < 0.03 < 0.1 < fit.before.calibration_error
    assert fit.after.brier < fit.before.brier
    assert (fit.pairs, fit.queries, fit.threshold) == (3000, 300, None)


def test_held_out_quality_does_not_flatter_a_curve_fitted_on_noise() -> None:
    """Isotonic regression learns noise by heart: on the pairs it was fitted on it would look far better."""
    random = np.random.default_rng(1)
    data = pairs(random.normal(size=60).tolist(), random.random(60) < 0.5, np.arange(60) // 2)
    by_heart = quality([fit_isotonic(data).probability(logit) for logit in data.logits], data.relevant)
    assert by_heart.calibration_error < 0.01
    assert calibrate(data, "isotonic").after.calibration_error > 0.05


ROWS = pairs([5, 4, 3, 3, 2, 1], [1, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("goal", "wanted", "logit", "precision", "recall"),
    [
        ("precision", 1.0, 4, 1.0, 0.5),
        ("precision", 0.75, 3, 0.75, 0.75),  # both pairs at 3 stay together
        ("precision", 0.6, 1, 4 / 6, 1.0),  # lower at 2, and higher again at 1
        ("recall", 0.5, 4, 1.0, 0.5),
        ("recall", 0.51, 3, 0.75, 0.75),
        ("recall", 1.0, 1, 4 / 6, 1.0),
    ],
)
def test_the_threshold_reaches_its_goal_at_the_least_cost(
    goal: str, wanted: float, logit: float, precision: float, recall: float
) -> None:
    curve = Platt(0.5, -1.0)
    found = choose_threshold(ROWS, curve, goal, wanted)
    assert (found.score, found.probability) == (sigmoid(logit), curve.probability(logit))
    assert (found.precision, found.recall) == pytest.approx((precision, recall))
    assert found.kept == sum(value >= logit for value in ROWS.logits)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30), st.floats(0.01, 1))
@settings(deadline=None)
def test_what_a_threshold_promises_it_keeps(rows: list[tuple[int, bool]], wanted: float) -> None:
    data = pairs([logit for logit, _ in rows], [label for _, label in rows])
    if not data.relevant.any():
        return
    for goal in ("precision", "recall"):
        try:
            found = choose_threshold(data, Platt(1.0, 0.0), goal, wanted)
        except InvalidInput:
            assert goal == "precision"
            continue
        kept = np.array([sigmoid(logit) >= found.score for logit in data.logits.tolist()])
        assert getattr(found, goal) >= wanted
        assert found.precision == data.relevant[kept].mean()
        assert found.recall == data.relevant[kept].sum() / data.relevant.sum()


def test_the_threshold_is_tried_on_queries_it_was_not_chosen_on() -> None:
    found = calibrate(drawn(3000, 0.5, -1.0), precision=0.8).threshold
    assert found is not None
    assert found.precision >= 0.8
    assert found.held_out_precision == pytest.approx(0.8, abs=0.05)
    assert found.held_out_precision != found.precision
    by_recall = calibrate(drawn(3000, 0.5, -1.0), recall=0.9).threshold
    assert by_recall is not None
    assert by_recall.held_out_recall == pytest.approx(0.9, abs=0.05)


def test_a_goal_out_of_reach_is_an_error_naming_the_best() -> None:
    with pytest.raises(
        InvalidInput, match=r"precision=0.9: no threshold reaches it on these pairs; the best is 0.6667"
    ):
        choose_threshold(pairs([3, 3, 3, 1], [1, 1, 0, 0]), Platt(1.0, 0.0), "precision", 0.9)
    for wrong in (0.0, 1.5):
        with pytest.raises(InvalidSetting, match="at most 1"):
            choose_threshold(ROWS, Platt(1.0, 0.0), "recall", wrong)


def test_a_goal_out_of_reach_in_some_part_leaves_the_held_out_figures_open() -> None:
    """Only query 0 has a relevant passage on top: the parts without it reach no precision of 1."""
    data = pairs([9, 8, 5, 6, 5, 6, 5, 6, 5, 6], [1, 0, 1, 0, 1, 0, 1, 0, 1, 0], np.arange(10) // 2)
    found = choose_threshold(data, Platt(1.0, 0.0), "precision", 1.0)
    assert (found.precision, found.kept) == (1.0, 1)
    assert found.held_out_precision is found.held_out_recall is None


@pytest.mark.parametrize(
    ("data", "options", "error", "complaint"),
    [
        (ROWS, {"method": "magic"}, InvalidSetting, "must be one of platt, isotonic"),
        (ROWS, {"precision": 0.5, "recall": 0.5}, InvalidSetting, "give one of them"),
        (pairs([1, 2], [1, 1]), {}, InvalidInput, "the data: 2 of 2 pairs are relevant"),
        (pairs([1, 2], [0, 0]), {}, InvalidInput, "the data: 0 of 2 pairs are relevant"),
        (pairs([], []), {}, InvalidInput, "the data: 0 of 0 pairs"),
        (pairs([1, 2], [0, 1], [0, 0]), {}, InvalidInput, "a single query"),
        (pairs([1, 2], [0, 1]), {}, InvalidInput, "1 of 2 parts of the queries: "),
    ],
)
def test_what_cannot_be_fitted_says_why(data: Pairs, options: dict, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        calibrate(data, **options)


def test_candidates_become_pairs_by_what_was_judged() -> None:
    documents = (Document("reset", id="a"), Document("dry", id="b"), Document("reset it now", id="c"))
    queries = (
        JudgedQuery("q1", "reset", documents, {"a": 2, "b": 0}),
        JudgedQuery("q2", "dry", documents[:2], {"b": 1, "unfound": 1}),
    )
    seen: list[tuple[int, int]] = []
    found = judge_pairs(stub_reranker(), [JudgedSet("s", queries)], lambda *counts: seen.append(counts))
    assert found.relevant[np.argsort(-found.logits)].tolist() == [True, True, False, False, False]
    assert sorted(found.queries.tolist()) == [0, 0, 0, 1, 1]
    assert seen == [(3, 5), (5, 5)]
    with pytest.raises(InvalidInput, match="0 of 0"):
        judge_pairs(stub_reranker(), [])


def test_labelled_pairs_are_read_query_by_query(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [("a", "one", 1), ("b", "two", False), ("a", "three", 0), ("b", "four", 2.0)]
    path.write_text("\n".join(json.dumps(dict(zip(("query", "passage", "label"), row, strict=True))) for row in rows))
    first, second = read_pairs(path).queries
    assert (first.text, [document.text for document in first.candidates]) == ("a", ["one", "three"])
    assert [document.id in first.relevant for document in first.candidates] == [True, False]
    assert [document.id in second.relevant for document in second.candidates] == [False, True]


@pytest.mark.parametrize("label", ['"yes"', "null", "-1", "0.5", "[]", "NaN"])
def test_a_label_that_is_none_is_named_by_line(tmp_path: Path, label: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"query": "q", "passage": "p", "label": 1}\n{"query": "q", "passage": "p", "label": ' + label + "}"
    )
    with pytest.raises(InvalidInput, match=r"pairs.jsonl, line 2: has the \"label\""):
        read_pairs(path)
    path.write_text('{"query": " ", "passage": "p", "label": 1}')
    with pytest.raises(InvalidInput, match="line 1: has an empty query"):
        read_pairs(path)


def test_the_page_shows_both_qualities_and_the_threshold() -> None:
    fit = calibrate(drawn(400, 0.5, -1.0), precision=0.8)
    html = calibration_page("<model>", "platt", fit)
    for shown in (
        "Calibration of &lt;model&gt;",
        "400 pairs of 40 queries",
        "<svg",
        "Threshold for a precision of 0.8",
    ):
        assert shown in html
    for value in (fit.before.calibration_error, fit.after.calibration_error, fit.before.brier, fit.after.brier):
        assert f"{value:.4f}" in html
    assert "Threshold" not in calibration_page("m", "platt", calibrate(drawn(400, 0.5, -1.0)))
