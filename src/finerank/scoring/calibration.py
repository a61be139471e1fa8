"""A logit to the probability that its passage is relevant, by a curve fitted before. Fits nothing itself.

`finerank calibrate` fits one on judged pairs and writes it as calibration.json beside the model.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from finerank.errors import BrokenModel
from finerank.paths import expand
from finerank.ranking import sigmoid

CALIBRATION_FILE = "calibration.json"

FORMAT = 1
"""The version of the file's form."""


@dataclass(frozen=True, slots=True)
class Platt:
    """sigmoid(slope * logit + intercept), after Platt 1999. The slope is above 0: the order stays.

    >>> Platt(slope=2.0, intercept=-1.0).probability(0.5)
    0.5
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope > 0):
            raise ValueError(f"slope={self.slope}, intercept={self.intercept}: must be finite, the slope above 0")

    def probability(self, logit: float) -> float:
        return sigmoid(self.slope * logit + self.intercept)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Straight lines between knots, level beyond the first and the last; it never falls.

    >>> Isotonic(logits=(-1.0, 3.0), probabilities=(0.25, 0.75)).probability(1.0)
    0.5
    """

    logits: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.logits or len(self.logits) != len(self.probabilities):
            raise ValueError(f"{len(self.logits)} logits and {len(self.probabilities)} probabilities: must be as many")
        if not all(map(math.isfinite, self.logits)) or not all(low < high for low, high in pairwise(self.logits)):
            raise ValueError("the knots' logits must rise")
        if not all(0 <= value <= 1 for value in self.probabilities):
            raise ValueError("the knots' probabilities must lie between 0 and 1")
        if not all(low <= high for low, high in pairwise(self.probabilities)):
            raise ValueError("the knots' probabilities must not fall")

    def probability(self, logit: float) -> float:
        right = bisect_right(self.logits, logit)
        if right == 0:
            return self.probabilities[0]
        if right == len(self.logits):
            return self.probabilities[-1]
        low, high = self.probabilities[right - 1 : right + 1]
        start, end = self.logits[right - 1 : right + 1]
        return min(high, low + (high - low) * ((logit - start) / (end - start)))  # rounding must not pass the knot


Calibration = Platt | Isotonic

METHODS: Mapping[str, type[Calibration]] = {"platt": Platt, "isotonic": Isotonic}


def calibration_json(calibration: Calibration, fitted_on: Mapping[str, Any]) -> dict[str, Any]:
    """The content of calibration.json; `fitted_on` is for people and is not read back."""
    method = next(name for name, kind in METHODS.items() if isinstance(calibration, kind))
    return {"format": FORMAT, "method": method, **asdict(calibration), "fitted_on": dict(fitted_on)}


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises `BrokenModel` if there is none in it."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["format"] != FORMAT:
            raise ValueError(f"format {fields['format']}, not {FORMAT}")
        return _from_json(fields)
    except OSError as error:
        raise BrokenModel(f"{path}: {error.strerror}; name a file that `finerank calibrate` wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenModel(
            f"{path}: is no calibration ({error}); fit one with `finerank calibrate`, or set calibration='off'"
        ) from error


def find_calibration(setting: str, folder: Path | None) -> Calibration | None:
    """What the setting asks for: a file, none ("off"), or the model folder's own where there is one ("auto")."""
    if setting == "off":
        return None
    if setting != "auto":
        return read_calibration(expand(setting))
    beside = folder / CALIBRATION_FILE if folder is not None else None
    return read_calibration(beside) if beside is not None and beside.is_file() else None


def _from_json(fields: Mapping[str, Any]) -> Calibration:
    kind = METHODS[fields["method"]]
    if kind is Platt:
        return Platt(float(fields["slope"]), float(fields["intercept"]))
    return Isotonic(tuple(map(float, fields["logits"])), tuple(map(float, fields["probabilities"])))
