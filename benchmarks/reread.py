"""What passages cost that late interaction read before: question after question about the same 100.

    python -m benchmarks.reread [--model finerank-mini] [--questions 20] [--quick]

A reranker that keeps no passages and one that does take turns. For the first question either reads them.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, report
from benchmarks.workloads import QUESTIONS, WORKLOADS, build, describe, tokenizer_of
from finerank import Reranker
from finerank.scoring.model_files import find_model
from finerank.settings import DEFAULT_MODEL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a late-interaction model: hub id, folder or embedded")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a trial run: two questions, no file")
    options = parser.parse_args()
    workload = WORKLOADS["1x100"]
    tokenizer = tokenizer_of(Path(find_model(options.model).tokenizer).parent)
    queries = build(workload, tokenizer)
    questions = list(QUESTIONS)[: 2 if options.quick else options.questions]
    result: dict[str, Any] = {
        **machine.here(),
        "model": options.model,
        "workload": describe(workload, queries, tokenizer),
        "seconds": _measure(options.model, questions, queries[0][1]),
    }
    anew, kept = (result["seconds"][name] for name in ("read anew", "kept"))
    console = Console(highlight=False)
    console.print(
        f"100 passages: read anew {statistics.median(anew):.3f} s; first read, to be kept {kept[0]:.3f} s; "
        f"kept {statistics.median(kept[1:]):.3f} s"
    )
    if not options.quick:
        path = report.result_path(result["machine"], "-reread")
        report.write(result, path)
        console.print(f"written to {path}")


def _measure(model: str, questions: list[str], passages: list[str]) -> dict[str, list[float]]:
    """Seconds of each question, in which both rank alike."""
    seconds: dict[str, list[float]] = {"read anew": [], "kept": []}
    with Reranker.from_pretrained(model, passage_cache_mb=0) as anew, Reranker.from_pretrained(model) as kept:
        for reranker in (anew, kept):
            reranker.rank(questions[0], ["What is measured comes after this."])
        for question in questions:
            logits = []
            for reranker, spent in zip((anew, kept), seconds.values(), strict=True):
                start = time.perf_counter()
                ranking = reranker.rank(question, passages)
                spent.append(time.perf_counter() - start)
                logits.append([result.logit for result in ranking])
            if logits[0] != logits[1]:
                raise SystemExit(f"{question!r}: the logits differ")
    return seconds


if __name__ == "__main__":
    main()
