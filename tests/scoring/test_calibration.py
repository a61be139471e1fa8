import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finerank.errors import BrokenModel
from finerank.scoring.calibration import (
    Calibration,
    Isotonic,
    Platt,
    calibration_json,
    find_calibration,
    read_calibration,
)

LOGITS = st.floats(-1e6, 1e6)
STEPS = Isotonic((-2.0, 0.0, 0.5, 4.0), (0.0, 0.25, 0.25, 0.875))


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    logits = sorted(draw(st.sets(st.floats(-50, 50), min_size=1, max_size=8)))
    probabilities = draw(st.lists(st.floats(0, 1), min_size=len(logits), max_size=len(logits)))
    return Isotonic(tuple(logits), tuple(sorted(probabilities)))


CALIBRATIONS = st.one_of(st.builds(Platt, st.floats(1e-3, 100), st.floats(-100, 100)), isotonics())


@given(CALIBRATIONS, LOGITS, LOGITS)
def test_a_higher_logit_never_has_a_lower_probability(calibration: Calibration, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= calibration.probability(low) <= calibration.probability(high) <= 1


@given(CALIBRATIONS)
def test_a_calibration_comes_back_from_its_file(calibration: Calibration) -> None:
    fields = json.loads(json.dumps(calibration_json(calibration, {"pairs": 3})))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.json"
        path.write_text(json.dumps(fields), encoding="utf-8")
        assert read_calibration(path) == calibration
    assert fields["fitted_on"] == {"pairs": 3}


def test_platt_is_a_sigmoid_in_float64_without_overflow() -> None:
    calibration = Platt(slope=2.0, intercept=-1.0)
    assert calibration.probability(1.0) == pytest.approx(1 / (1 + math.exp(-1.0)), rel=1e-15)
    assert (calibration.probability(1e300), calibration.probability(-1e300)) == (1.0, 0.0)


def test_isotonic_goes_straight_between_its_knots_and_level_beyond_them() -> None:
    said = [STEPS.probability(logit) for logit in (-9.0, -2.0, -1.0, 0.0, 0.25, 0.5, 2.25, 4.0, 9.0)]
    assert said == [0.0, 0.0, 0.125, 0.25, 0.25, 0.25, 0.5625, 0.875, 0.875]


def test_rounding_does_not_pass_a_knot() -> None:
    """Just below the knot the line's formula says 0.9610000000000001."""
    knots = Isotonic((-1e6, 1.0), (0.185, 0.961))
    assert 0.185 + (0.961 - 0.185) > 0.961
    assert knots.probability(math.nextafter(1.0, 0.0)) == knots.probability(1.0) == 0.961


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is no calibration"),
        ("[]", "is no calibration"),
        ('{"format": 2}', "format 2, not 1"),
        ('{"format": 1, "method": "magic"}', "'magic'"),
        ('{"format": 1, "method": "platt", "slope": 1}', "'intercept'"),
        ('{"format": 1, "method": "platt", "slope": -1, "intercept": 0}', "the slope above 0"),
        ('{"format": 1, "method": "platt", "slope": NaN, "intercept": 0}', "must be finite"),
        ('{"format": 1, "method": "isotonic", "logits": [], "probabilities": []}', "must be as many"),
        ('{"format": 1, "method": "isotonic", "logits": [1, 1], "probabilities": [0, 1]}', "logits must rise"),
        ('{"format": 1, "method": "isotonic", "logits": [1, 2], "probabilities": [0.5, 0.4]}', "must not fall"),
        ('{"format": 1, "method": "isotonic", "logits": [1], "probabilities": [1.5]}', "between 0 and 1"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BrokenModel, match=complaint) as raised:
        read_calibration(path)
    assert "calibration='off'" in str(raised.value)


def test_which_calibration_is_used(tmp_path: Path) -> None:
    beside = tmp_path / "calibration.json"
    beside.write_text(json.dumps(calibration_json(STEPS, {})), encoding="utf-8")
    named = tmp_path / "other.json"
    named.write_text(json.dumps(calibration_json(Platt(1.0, 0.0), {})), encoding="utf-8")
    assert find_calibration("auto", tmp_path) == STEPS
    assert find_calibration("off", tmp_path) is None
    assert find_calibration(str(named), tmp_path) == Platt(1.0, 0.0)
    assert find_calibration("auto", tmp_path / "elsewhere") is find_calibration("auto", None) is None
    with pytest.raises(BrokenModel, match=r"missing.json: No such file"):
        find_calibration(str(tmp_path / "missing.json"), None)


def test_applying_needs_neither_numpy_nor_scikit_learn() -> None:
    code = (
        "import sys; from finerank.scoring.calibration import Isotonic; "
        "print(Isotonic((0.0, 2.0), (0.0, 1.0)).probability(1.0), {'numpy', 'sklearn', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0.5 set()\n"
