import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

from finerank import InvalidSetting
from finerank.monitoring.figures import FIGURES, Reading, figures, stability_index, stability_noise

BY_NAME = {figure.name: figure for figure in figures(0.3)}
COUNTS = st.lists(st.integers(0, 1000), min_size=20, max_size=20)


def test_the_figures_are_those_the_page_knows() -> None:
    assert list(BY_NAME) == [
        "top1_replacement_rate",
        "mean_score_gap",
        "low_score_share",
        "low_document_share",
        "truncation_rate",
        "tie_rate",
        "kendall_tau",
        "drift",
    ]


@pytest.mark.parametrize(
    ("name", "healthy", "unhealthy"),
    [
        ("top1_replacement_rate", 0.15, 0.14),
        ("mean_score_gap", 0.25, 0.24),
        ("low_score_share", 0.15, 0.16),
        ("truncation_rate", 0.1, 0.11),
        ("tie_rate", 0.05, 0.06),
        ("kendall_tau", 0.95, 0.96),
        ("kendall_tau", -0.1, -0.11),
        ("drift", 0.25, 0.26),
    ],
)
def test_a_departure_says_what_it_means(name: str, healthy: float, unhealthy: float) -> None:
    inside, outside = (Reading(BY_NAME[name], value, enough=True).as_json() for value in (healthy, unhealthy))
    assert (inside["state"], inside["advice"]) == ("healthy", "")
    assert (outside["state"], len(str(outside["advice"])) > 50) == ("unhealthy", True)


@pytest.mark.parametrize(("value", "enough"), [(None, True), (0.99, False)])
def test_too_little_is_unknown(value: float | None, enough: bool) -> None:
    said = Reading(BY_NAME["low_score_share"], value, enough).as_json()
    assert (said["state"], said["advice"]) == ("unknown", "")


def test_the_low_score_is_named() -> None:
    assert "under 0.45" in {figure.name: figure for figure in figures(0.45)}["low_score_share"].meaning
    assert not any("{" in figure.meaning for figure in figures(0.45))


def test_a_healthy_range_can_be_given() -> None:
    mine = {figure.name: figure for figure in figures(0.3, {"low_document_share": (0.1, 0.9), "drift": (None, None)})}
    assert mine["low_document_share"].departure(0.95)
    assert mine["low_document_share"].departure(0.05)
    assert not mine["drift"].departure(7.0)
    assert mine["tie_rate"] == BY_NAME["tie_rate"]


@pytest.mark.parametrize(
    ("healthy", "message"), [({"top_1": (0, 1)}, "top_1.*top1_replacement_rate"), ({"drift": (2, 1)}, "2 to 1")]
)
def test_a_wrong_range_is_refused(healthy: dict, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        figures(0.3, healthy)


def test_a_margin_narrows_the_range_from_both_ends() -> None:
    tau = BY_NAME["kendall_tau"]
    assert [bool(tau.departure(value, 0.1)) for value in (-0.095, -0.05, 0.8, 0.9)] == [True, False, False, True]


def test_a_narrow_range_keeps_a_middle() -> None:
    (gap,) = (figure for figure in figures(0.3, {"mean_score_gap": (0.5, 0.52)}) if figure.name == "mean_score_gap")
    assert [bool(gap.departure(value, 0.1)) for value in (0.504, 0.51, 0.516)] == [True, False, True]


@given(COUNTS, COUNTS)
def test_the_stability_index_is_the_sum_of_both_relative_entropies(left: list[int], right: list[int]) -> None:
    p, q = ((np.array(counts) + 0.5) / (sum(counts) + 10) for counts in (left, right))
    index = stability_index(left, right)
    assert index == pytest.approx(float((rel_entr(p, q) + rel_entr(q, p)).sum()), abs=1e-9)
    assert index == pytest.approx(stability_index(right, left), abs=1e-9)
    assert index >= 0


def test_the_stability_index_by_chance_is_as_large_as_said() -> None:
    draws = np.random.default_rng(1).multinomial(1000, np.full(20, 0.05), (400, 2))
    mean = np.mean([stability_index(left.tolist(), right.tolist()) for left, right in draws])
    assert mean == pytest.approx(stability_noise([50] * 20, [50] * 20), rel=0.05)
    assert stability_noise([0] * 20, [50] * 20) == math.inf


def test_every_figure_is_a_ratio_of_sums_that_are_kept() -> None:
    from finerank.monitoring.health import _SUMS

    named = {name for figure in FIGURES for name in (figure.of, figure.over, figure.requests) if name}
    assert named <= set(_SUMS)
