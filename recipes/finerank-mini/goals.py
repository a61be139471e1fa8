"""finerank-mini's goals, held against an evaluation: nDCG@10 by group of sets, first stage and reranked.

finerank evaluate SETS --model runs/mini/int8 --out runs/mini/evaluation
python recipes/finerank-mini/goals.py runs/mini/evaluation/evaluation.json
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from finerank.evaluation.results import SetResult, evaluation_from_json

MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class Goal:
    """A group of sets by a pattern of their names; `least` is the figure wanted, or `gain` the gain."""

    name: str
    pattern: str
    least: float | None = None
    gain: float = 0.0


GOALS = (
    Goal("sentences (xqsent, 8 languages)", "xqsent-.*", 0.93),
    Goal("help pages (lohelp, 13 languages)", "lohelp-(?!x-).*", 0.87),
    Goal("legal questions (lawbench-zh)", "lawbench-zh", 0.80),
    Goal("medical questions (liveqa-med-en)", "liveqa-med-en", 0.70),
    Goal("medical questions (vicov19-vi)", "vicov19-vi", gain=0.08),
    Goal("shop questions (itafaq-it)", "itafaq-it", gain=0.08),
    Goal("cross-lingual (xquad-x, lohelp-x, gnomehelp-x)", "(xquad|lohelp|gnomehelp)-x-.*", 0.80),
    Goal("guard: xquad", "xquad-(?!x-).*"),
    Goal("guard: cmrc2018-zh", "cmrc2018-zh"),
    Goal("guard: drcd", "drcd.*"),
    Goal("guard: jsquad-ja", "jsquad-ja"),
    Goal("guard: korquad-ko", "korquad-ko"),
)


def row(goal: Goal, sets: list[SetResult]) -> str:
    first = fmean(result.mean("first_stage", MEASURE) for result in sets)
    reached = fmean(result.mean("reranked", MEASURE) for result in sets)
    wanted = goal.least if goal.least is not None else first + goal.gain
    met = "yes" if reached >= wanted else "no"
    return f"| {goal.name} | {len(sets)} | {first:.3f} | {reached:.3f} | {wanted:.3f} | {met} |"


def main(path: Path) -> None:
    evaluation = evaluation_from_json(json.loads(path.read_text(encoding="utf-8")))
    print("| sets | number | first stage | reranked | goal | met |\n|---|---|---|---|---|---|")
    for goal in GOALS:
        sets = [result for result in evaluation.sets if re.fullmatch(goal.pattern, result.name)]
        if sets:
            print(row(goal, sets))
    print("\n| language | sets | first stage | reranked |\n|---|---|---|---|")
    for language in evaluation.by_language():
        figures = f"{language.first_stage[MEASURE]:.3f} | {language.reranked[MEASURE]:.3f}"
        print(f"| {language.name} | {language.sets} | {figures} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
