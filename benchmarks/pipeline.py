"""The pipeline: what indexing and asking take. `benchmarks.judged` says how good what it finds is.

    python -m benchmarks.pipeline speed --passages 100000 --questions 100

`speed` makes its corpus of Python's own documentation, which every Python carries.
"""

import argparse
import json
import os
import pydoc_data.topics
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report

SENTENCES = 7
"""Sentences of a made passage: about 120 words."""


def main() -> None:
    options = _options()
    measured = {"speed": speed, "ask": ask}[options.what](options)
    if options.what == "ask":
        print(json.dumps(measured))
        return
    facts = machine.machine()
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "commit": machine.commit(),
        "load_average_after": machine.load_average(),
        **measured,
    }
    path = options.out or report.result_path(result, f"-pipeline-{options.what}")
    report.write(result, path)
    print(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("what", choices=("speed", "ask"))
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--recall", type=int, default=100, help="passages recalled and reranked a question")
    parser.add_argument("--model", help="the reranker; the default model unless given")
    parser.add_argument("--store", type=Path, help="for ask")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Index a tenth of the passages and all of them, to see what memory does; then index again; then ask."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_corpus(place / "docs", options.passages)
        (place / "tenth").mkdir()
        for path in sorted((place / "docs").iterdir())[: max(1, len(list((place / "docs").iterdir())) // 10)]:
            (place / "tenth" / path.name).symlink_to(path)
        runs = {
            "index, a tenth": _run("index", place / "tenth", "--store", place / "small", "--json"),
            "index": _run("index", place / "docs", "--store", place / "store", "--json"),
            "index again, nothing changed": _run("index", place / "docs", "--store", place / "store", "--json"),
        }
        size_mb = sum(file.stat().st_size for file in (place / "store").rglob("*") if file.is_file()) / 1e6
        asked = {name: _ask(place / folder, options) for name, folder in (("a tenth", "small"), ("all", "store"))}
    return {"passages": options.passages, "runs": runs, "store_mb": round(size_mb), "ask": asked}


def _ask(store: Path, options: argparse.Namespace) -> dict[str, Any]:
    """`ask` in a process of its own, since its memory is measured."""
    command = [
        *(sys.executable, "-m", "benchmarks.pipeline", "ask", "--store", str(store)),
        *("--questions", str(options.questions), "--recall", str(options.recall)),
        *(("--model", options.model) if options.model else ()),
    ]
    answered: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answered


def ask(options: argparse.Namespace) -> dict[str, Any]:
    """Ask sentences of the corpus, in this process: seconds by stage, and the memory it took."""
    from finerank import Reranker
    from finerank.rag.open import open_pipeline
    from finerank.rag.results import Search
    from finerank.settings import RagSettings

    drawn = random.Random(1)
    sentences = _sentences()
    settings = RagSettings(recall=options.recall, answer_cache_s=0)
    stages: dict[str, list[float]] = defaultdict(list)
    start = time.perf_counter()
    with Reranker.from_pretrained(options.model, threshold=0.0) as reranker:
        pipeline = open_pipeline(options.store, reranker, settings, model=reranker.model)
        stages["opening"].append(time.perf_counter() - start)
        for _ in range(options.questions):
            answer = pipeline.ask("what about " + " ".join(drawn.choice(sentences).split()[:12]) + "?")
            assert isinstance(answer.search, Search)
            for stage in answer.search.stages:
                stages[stage.name].append(stage.seconds)
            stages["whole answer"].append(answer.seconds)
    figures = {name: {"median_s": round(statistics.median(values), 4), "max_s": round(max(values), 4)}
               for name, values in stages.items()}  # fmt: skip
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"questions": options.questions, "recall": options.recall, "stages": figures, "peak_mb": round(peak_mb)}


def make_corpus(folder: Path, passages: int, lines: int = 10_000) -> None:
    """JSON lines of passages made of sentences of Python's documentation, no two alike."""
    folder.mkdir()
    drawn = random.Random(0)
    sentences = _sentences()
    for start in range(0, passages, lines):
        with (folder / f"{start:08}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(start, min(start + lines, passages)):
                text = f"Note {number}. " + " ".join(drawn.choices(sentences, k=SENTENCES))
                file.write(json.dumps({"id": str(number), "text": text, "part": number % 10}) + "\n")


def _sentences() -> list[str]:
    from finerank.text.chunk import sentence_spans

    texts = (" ".join(text.split()) for text in pydoc_data.topics.topics.values())
    return [text[a:b] for text in texts for a, b in sentence_spans(text) if 40 <= b - a <= 240]


def _run(*arguments: str | Path) -> dict[str, float]:
    """A finerank command in a process of its own: its seconds, and the most memory it held."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "finerank", *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as output:
        said = json.loads(output.read())
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "passages": said["passages"],
    }


if __name__ == "__main__":
    main()
