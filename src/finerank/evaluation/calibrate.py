"""Judged pairs to a calibration: what probability a logit stands for, how well that holds, and where to cut.

Takes any `Ranker`. What the curve is worth is measured on queries it was not fitted on. Needs the extra `evaluate`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from finerank.errors import InvalidInput, InvalidSetting, MissingExtra
from finerank.evaluation.datasets import JudgedSet
from finerank.evaluation.evaluate import Progress, rank_query
from finerank.ranking import Ranker, sigmoid
from finerank.scoring.calibration import Calibration, Isotonic, Platt

try:
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
except ImportError as error:
    raise MissingExtra("fitting a calibration", "evaluate") from error

FOLDS = 5
"""Parts the queries are split into: each is judged by a curve fitted on the others."""

BINS = 10
"""Bins of equal width in which what was said is held against what was so."""

Floats = NDArray[np.float64]
Goal = Literal["precision", "recall"]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Judged pairs: their logits, whether each passage is relevant, and the number of each one's query."""

    logits: Floats
    relevant: NDArray[np.bool_]
    queries: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.logits)

    def part(self, chosen: NDArray[np.intp]) -> "Pairs":
        return Pairs(self.logits[chosen], self.relevant[chosen], self.queries[chosen])


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs that got about the same figure: its mean, the share that was relevant, and how many."""

    said: float
    relevant: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Quality:
    """How true probabilities are: expected calibration error, Brier score (0 is best for both), and the bins."""

    calibration_error: float
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A cut that reaches a goal: keep what has this score and more, or this probability and more.

    `precision` and `recall` are those on the pairs it was chosen on; `held_out_*` those on queries it was not chosen
    on, None where some fold could not reach the goal.
    """

    goal: Goal
    wanted: float
    score: float
    probability: float
    kept: int
    precision: float
    recall: float
    held_out_precision: float | None
    held_out_recall: float | None


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration and what it is worth: `before` is the score's quality, `after` the held-out probability's."""

    calibration: Calibration
    pairs: int
    relevant: int
    queries: int
    before: Quality
    after: Quality
    threshold: Threshold | None = None


def judge_pairs(ranker: Ranker, sets: Iterable[JudgedSet], progress: Progress | None = None) -> Pairs:
    """The logit of every candidate. One that was not judged counts as not relevant.

    Raises `InvalidInput` if there is nothing to fit on: no relevant pair, none that is not, or a single query.
    """
    sets = list(sets)
    total = sum(len(query.candidates) for judged in sets for query in judged.queries)
    done = 0
    rows: list[tuple[float, bool, int]] = []
    queries = [(judged, query) for judged in sets for query in judged.queries]
    for number, (judged, query) in enumerate(queries):
        ranking = rank_query(ranker, judged, query)
        rows += [(found.logit, query.candidates[found.index].id in query.relevant, number) for found in ranking]
        done += len(query.candidates)
        if progress is not None:
            progress(done, total)
    logits, relevant, numbers = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    pairs = Pairs(np.asarray(logits, np.float64), np.asarray(relevant, np.bool_), np.asarray(numbers, np.int64))
    _check(pairs)
    return pairs


def calibrate(
    pairs: Pairs, method: str = "platt", *, precision: float | None = None, recall: float | None = None
) -> Fit:
    """Fit a calibration, and choose a threshold if a precision or a recall is wanted.

    Raises `InvalidSetting` as `check_goal` does, `InvalidInput` where the pairs do not allow it.
    """
    check_goal(method, precision, recall)
    _check(pairs)
    fit = FITTERS[method]
    calibration = fit(pairs)
    threshold = None
    if precision is not None:
        threshold = choose_threshold(pairs, calibration, "precision", precision)
    if recall is not None:
        threshold = choose_threshold(pairs, calibration, "recall", recall)
    return Fit(
        calibration=calibration,
        pairs=len(pairs),
        relevant=int(pairs.relevant.sum()),
        queries=len(np.unique(pairs.queries)),
        before=quality([sigmoid(logit) for logit in pairs.logits.tolist()], pairs.relevant),
        after=quality(held_out(pairs, fit), pairs.relevant),
        threshold=threshold,
    )


def check_goal(method: str, precision: float | None = None, recall: float | None = None) -> None:
    """Raise `InvalidSetting` for a method there is none of, and for a precision or recall that nothing can reach."""
    if method not in FITTERS:
        raise InvalidSetting(f"method={method!r}: must be one of {', '.join(FITTERS)}")
    if precision is not None and recall is not None:
        raise InvalidSetting("precision and recall: give one of them; the other follows from it")
    for goal, wanted in (("precision", precision), ("recall", recall)):
        if wanted is not None:
            _check_wanted(goal, wanted)


def _check_wanted(goal: str, wanted: float) -> None:
    if not 0 < wanted <= 1:
        raise InvalidSetting(f"{goal}={wanted}: must be above 0 and at most 1")


def fit_platt(pairs: Pairs) -> Platt:
    """A sigmoid of the logit, by maximum likelihood on Platt's softened targets.

    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2: (n+ + 1) / (n+ + 2) for a relevant
    pair, 1 / (n- + 2) for another, so that the slope stays finite where the logits separate the pairs.
    """
    positives, negatives = int(pairs.relevant.sum()), int((~pairs.relevant).sum())
    target = np.where(pairs.relevant, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    # A soft target is both answers, in parts.
    answers = np.repeat([1, 0], len(pairs))
    weights = np.concatenate([target, 1 - target])
    centre, scale = float(pairs.logits.mean()), float(pairs.logits.std()) or 1.0
    inputs = np.tile((pairs.logits - centre) / scale, 2)[:, None]
    model.fit(inputs, answers, sample_weight=weights)
    slope = float(model.coef_[0, 0]) / scale
    if slope <= 0:
        raise InvalidInput(
            "higher logits do not go with relevance in these pairs: check their labels, or take another model"
        )
    return Platt(slope, float(model.intercept_[0]) - slope * centre)


def fit_isotonic(pairs: Pairs) -> Isotonic:
    """The rising step function with the least squared error, with lines between its steps (Zadrozny and Elkan 2002)."""
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit(pairs.logits, pairs.relevant.astype(np.float64))
    rising = np.maximum.accumulate(model.y_thresholds_)  # rounding must not make it fall
    return Isotonic(tuple(model.X_thresholds_.tolist()), tuple(rising.tolist()))


FITTERS: dict[str, Callable[[Pairs], Calibration]] = {"platt": fit_platt, "isotonic": fit_isotonic}


def held_out(pairs: Pairs, fit: Callable[[Pairs], Calibration]) -> list[float]:
    """Each pair's probability by a curve that was fitted without its query."""
    probabilities = [0.0] * len(pairs)
    for others, own in _folds(pairs):
        calibration = fit(pairs.part(others))
        for index in own.tolist():
            probabilities[index] = calibration.probability(float(pairs.logits[index]))
    return probabilities


def quality(said: Sequence[float], relevant: NDArray[np.bool_]) -> Quality:
    """The expected calibration error over bins of equal width (Guo et al. 2017, equation 3), and the Brier score, the
    mean squared difference (Brier 1950)."""
    values, truth = np.asarray(said), relevant.astype(np.float64)
    place = np.minimum((values * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            bins.append(Bin(float(values[inside].mean()), float(truth[inside].mean()), int(inside.sum())))
    error = sum(part.pairs * abs(part.said - part.relevant) for part in bins) / len(values)
    return Quality(error, float(np.mean((values - truth) ** 2)), tuple(bins))


def choose_threshold(pairs: Pairs, calibration: Calibration, goal: Goal, wanted: float) -> Threshold:
    """The cut that reaches the goal at the least cost: the lowest of this precision, or the highest of this recall.

    Recall counts the relevant passages among the pairs. Raises `InvalidInput` if no cut reaches the goal, naming the
    best there is.
    """
    _check_wanted(goal, wanted)
    logit = _cut(pairs, goal, wanted)
    precision, recall, kept = _reached(pairs.relevant, pairs.logits >= logit)
    try:
        above = np.zeros(len(pairs), np.bool_)
        for others, own in _folds(pairs):
            above[own] = pairs.logits[own] >= _cut(pairs.part(others), goal, wanted)
        held_precision, held_recall, _ = _reached(pairs.relevant, above)
        elsewhere: tuple[float | None, float | None] = (held_precision, held_recall)
    except InvalidInput:
        elsewhere = (None, None)
    return Threshold(goal, wanted, sigmoid(logit), calibration.probability(logit), kept, precision, recall, *elsewhere)


def _cut(pairs: Pairs, goal: Goal, wanted: float) -> float:
    """The logit from which on pairs are kept. Equal logits stay together."""
    order = np.argsort(-pairs.logits, kind="stable")
    logits, found = pairs.logits[order], np.cumsum(pairs.relevant[order])
    ends = np.flatnonzero(np.append(logits[1:] != logits[:-1], True))
    reached = found[ends] / (ends + 1) if goal == "precision" else found[ends] / found[-1]
    fitting = np.flatnonzero(reached >= wanted)
    if not len(fitting):
        raise InvalidInput(
            f"{goal}={wanted}: no threshold reaches it on these pairs; the best is {reached.max():.4f}. Ask for less, "
            "or take a better model"
        )
    return float(logits[ends[fitting[-1] if goal == "precision" else fitting[0]]])


def _reached(relevant: NDArray[np.bool_], above: NDArray[np.bool_]) -> tuple[float, float, int]:
    """Precision, recall and the number of pairs kept; nothing kept has the precision 1."""
    kept, right = int(above.sum()), int((above & relevant).sum())
    return (right / kept if kept else 1.0), right / int(relevant.sum()), kept


def _folds(pairs: Pairs) -> Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The indices of the pairs to fit on and of those to judge, fold by fold; a query is in one fold whole."""
    count = min(FOLDS, len(np.unique(pairs.queries)))
    for others, own in GroupKFold(count).split(pairs.logits, groups=pairs.queries):
        _check_labels(pairs.part(others), f"{count - 1} of {count} parts of the queries")
        yield others, own


def _check(pairs: Pairs) -> None:
    _check_labels(pairs, "the data")
    if len(np.unique(pairs.queries)) < 2:
        raise InvalidInput("the data has a single query; the calibration is judged on queries it was not fitted on")


def _check_labels(pairs: Pairs, what: str) -> None:
    positives = int(pairs.relevant.sum())
    if not 0 < positives < len(pairs):
        raise InvalidInput(
            f"{what}: {positives} of {len(pairs)} pairs are relevant; a calibration needs both kinds in it. Give more "
            "queries, or other candidates"
        )
