"""Rankings and judgements to numbers, by ir-measures (trec_eval underneath). Needs the extra `evaluate`.

Measures have the names of the papers: nDCG@10, RR@10, AP, R@50.
"""

import re
from collections.abc import Mapping, Sequence

from finerank.errors import InvalidSetting, MissingExtra

try:
    import ir_measures
except ImportError as error:
    raise MissingExtra("measuring rankings", "evaluate") from error

MEASURES = ("nDCG@10", "RR@10", "AP", "R@50")
"""What is measured unless other measures are named; the first is the one that comparisons are about."""

Values = dict[str, dict[str, float]]
"""Query id to measure to value."""

# Cutoff 0 crashes trec_eval, so the names are checked here and not by ir-measures.
_NAME = re.compile(r"(nDCG|RR|AP)(@[1-9]\d*)?|(R|P|Success)@[1-9]\d*")


def check_measures(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once; `InvalidSetting` if one is no measure."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidSetting(
                f"measure {name!r}: is none of nDCG, RR, AP (alone or as nDCG@10), R@50, P@5, Success@1"
            )
    if not names:
        raise InvalidSetting("measures: name at least one, such as nDCG@10")
    return tuple(dict.fromkeys(names))


def measure(
    grades: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]], names: Sequence[str] = MEASURES
) -> Values:
    """Every measure of every judged query, from document ids in ranked order.

    A judged query without a ranking counts 0. Grades of 1 and more are relevant; nDCG's gain is the grade.

    >>> measure({"q": {"a": 1}}, {"q": ["b", "a"]}, ["RR@10"])
    {'q': {'RR@10': 0.5}}
    """
    names = check_measures(names)
    parsed = {name: ir_measures.parse_measure(name) for name in names}
    values: Values = {query_id: dict.fromkeys(names, 0.0) for query_id in grades}
    by_measure = {measure: name for name, measure in parsed.items()}
    run = {query_id: _scores(ranking) for query_id, ranking in rankings.items() if query_id in grades}
    for metric in ir_measures.iter_calc(list(parsed.values()), {q: dict(g) for q, g in grades.items()}, run):
        values[metric.query_id][by_measure[metric.measure]] = float(metric.value)
    return values


def _scores(ranking: Sequence[str]) -> dict[str, float]:
    """Scores that fall from rank to rank: trec_eval sorts by score, and equal ones by document id, not in our order.

    Ranks, and not the model's scores: trec_eval reads float32, in which close scores become equal.
    """
    return {document_id: -float(rank) for rank, document_id in enumerate(ranking)}
