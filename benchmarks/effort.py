"""What effort="fast" saves and what it costs, by language: operations, and nDCG@10 against every candidate scored.

    python -m benchmarks.effort --data FOLDER_OF_BEIR_SETS --questions 25 --docs docs/guide.md

`--kept` tries other parts of the candidates than the product's own. Scores are kept in the folder `--work`: a run that
was stopped goes on from there.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.native import operations
from benchmarks.paths import ROOT
from finerank import Document, Ranking, Reranker, job
from finerank.evaluation.compare import Difference, compare_evaluations
from finerank.evaluation.datasets import JudgedSet, find_sets, read_set
from finerank.evaluation.evaluate import evaluate
from finerank.evaluation.results import Evaluation
from finerank.job import FirstLook
from finerank.scoring.batch import EncodedPair
from finerank.scoring.exits import find_exit
from finerank.scoring.families import is_late
from finerank.scoring.scorer import PairScorer, Progress, Scores

MEASURE = "nDCG@10"


class Remembering:
    """A scorer that scores a request's pairs once."""

    def __init__(self, scorer: PairScorer) -> None:
        self.backend = scorer.backend
        self._scorer = scorer
        self._scores: dict[bytes, Scores] = {}

    def score(self, pairs: Sequence[EncodedPair], progress: Progress | None = None) -> Scores:
        key = b"".join(pair.token_ids.tobytes() for pair in pairs)
        if key not in self._scores:
            self._scores[key] = self._scorer.score(pairs, progress)
        return self._scores[key]

    def close(self) -> None:
        self._scorer.close()


class Counting:
    """A ranker that counts the operations of both efforts; `fast` says which of them ranks."""

    def __init__(self, reranker: Reranker) -> None:
        early = find_exit(reranker.files) if reranker.files else None
        if early is None or reranker.files is None or reranker.first_look is None:
            raise SystemExit(f"{reranker.model} has no early exit")
        self._reranker = reranker
        self._look = FirstLook(Remembering(reranker.first_look.scorer))
        self._whole = reranker.files
        self._short, self._shared = (
            replace(self._whole, config={**self._whole.config, "num_hidden_layers": layers})
            for layers in (early.layers, early.shared)
        )
        self._goes_on = self._whole.backend == "native" and is_late(self._whole.config)  # not anew, after the look
        self.fast = False
        self.operations = 0.0

    def rank(self, query: str, documents: Sequence[Document], *, top_n: int | None = None) -> Ranking:
        self._reranker.first_look = self._look if self.fast else None
        request = self._reranker.job(self._reranker.encode(query, documents), top_n)
        if request.stage == "look":
            self.operations += operations(self._short, request.pairs())
            request.receive(self._look.scorer.score(request.pairs()))
            if self._goes_on:
                self.operations -= operations(self._shared, request.pairs())
        self.operations += operations(self._whole, request.pairs())
        return self._reranker.rank(query, documents, top_n=top_n)


def main() -> None:
    options = _options()
    sets = [read_set(folder).limited(options.questions, None, seed=0) for folder in find_sets(options.data)]
    facts = machine.machine()
    rows = {}
    how = {"cache": str(options.work / "scores.sqlite"), "passage_cache_mb": 4096}  # neither changes what is counted
    with Reranker.from_pretrained(options.model, effort="fast", threshold=0.0, **how) as reranker:
        ranker = Counting(reranker)
        whole = _evaluated(ranker, sets, options.top_n, fast=False)
        for kept in options.kept or [job.KEPT]:
            job.KEPT = kept
            rows[str(kept)] = _compared(whole, _evaluated(ranker, sets, options.top_n, fast=True))
            print(f"{_table(rows[str(kept)])}\n")
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "commit": machine.commit(),
        "model": reranker.model,
        "questions_a_set": options.questions,
        "top_n": options.top_n,
        "kept": rows,
    }
    path = options.out or report.result_path(facts, "-effort")
    report.write(result, path)
    if options.docs:
        report.put_table(options.docs, "effort", _table(next(iter(rows.values()))))
    print(path, file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effort", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="judged sets, or folders of them")
    parser.add_argument("--questions", type=int, default=25, help="questions a set, drawn at random")
    parser.add_argument("--top-n", type=int, default=10)
    parser.add_argument("--kept", type=float, nargs="+", help="parts of the candidates that the look leaves")
    parser.add_argument("--model", help="a model with an early exit; the default model unless given")
    parser.add_argument("--work", type=Path, default=ROOT / ".judged", help="keeps what was computed")
    parser.add_argument("--docs", type=Path, help="a Markdown file whose table between <!-- effort --> marks is set")
    parser.add_argument("--out", type=Path, help="the result as JSON; benchmarks/results/ unless given")
    return parser.parse_args()


Evaluated = tuple[Evaluation, Mapping[str, float]]
"""What was found, and the operations by language."""


def _evaluated(ranker: Counting, sets: Sequence[JudgedSet], top_n: int, *, fast: bool) -> Evaluated:
    ranker.fast = fast
    spent: defaultdict[str, float] = defaultdict(float)
    parts = []
    for number, judged in enumerate(sets, start=1):
        ranker.operations = 0.0
        parts.append(evaluate(ranker, [judged], measures=[MEASURE], top_n=top_n))
        spent[judged.language] += ranker.operations
        print(f"\r{'fast' if fast else 'full'}: {number} of {len(sets)} sets", end="", file=sys.stderr)
    print(file=sys.stderr)
    return replace(parts[0], sets=tuple(found for part in parts for found in part.sets)), spent


def _compared(whole: Evaluated, fast: Evaluated) -> dict[str, Any]:
    """Rows by language, and of all sets."""
    (before, operations_before), (after, operations_after) = whole, fast
    compared = compare_evaluations(before, after)
    averages = {row.name: row.reranked[MEASURE] for row in (*before.by_language(), before.overall()[0])}
    rows = {
        language: _row(difference, averages[language], operations_before[language] / operations_after[language])
        for language, difference in compared.languages.items()
    }
    fewer = sum(operations_before.values()) / sum(operations_after.values())
    return {**rows, "all sets": _row(compared.overall, averages["mean of sets"], fewer)}


def _row(found: Difference, before: float, fewer: float) -> dict[str, float]:
    figures = {name: getattr(found, name) for name in ("mean", "low", "high", "queries", "hurt", "helped")}
    return {"full": round(before, 4), **{name: round(value, 4) for name, value in figures.items()}, "fewer": fewer}


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    return report.markdown_table(
        ("language", "queries", "nDCG@10, all scored", "difference (95% interval)", "fewer operations"),
        [
            (
                language,
                f"{row['queries']:.0f}",
                f"{row['full']:.3f}",
                f"{row['mean']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
                f"{row['fewer']:.2f}x",
            )
            for language, row in rows.items()
        ],
    )


if __name__ == "__main__":
    main()
