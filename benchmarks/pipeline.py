"""The pipeline: what indexing and asking take, and what reranking does to the recall of judged sets.

    python -m benchmarks.pipeline speed --passages 100000 --questions 100
    python -m benchmarks.pipeline judged --data FOLDER_OF_BEIR_SETS --max-queries 20 --rerank-queries 6 --depth 20

`speed` makes its corpus of Python's own documentation, which every Python carries. `judged` indexes each set's corpus
into a store of its own; recall is measured on some of its queries, reranking on fewer.
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
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report

SENTENCES = 7
"""Sentences of a made passage: about 120 words."""

MODES = ("text", "vector", "hybrid")
MEASURES = ("nDCG@10", "RR@10", "R@5", "R@50")


def main() -> None:
    options = _options()
    measured = {"speed": speed, "judged": judged, "ask": ask}[options.what](options)
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
    parser.add_argument("what", choices=("speed", "judged", "ask"))
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--recall", type=int, default=100, help="passages recalled and reranked a question")
    parser.add_argument("--data", type=Path, help="folder of judged sets, for judged")
    parser.add_argument("--max-queries", type=int, default=20, help="queries a set, drawn at random, that are recalled")
    parser.add_argument("--rerank-queries", type=int, default=6, help="queries a set that are reranked, of those")
    parser.add_argument("--depth", type=int, default=20, help="candidates that are reranked")
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
        asking = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.pipeline", "ask", "--store", str(place / "store")),
                *("--questions", str(options.questions), "--recall", str(options.recall)),
            ],
            stdout=subprocess.PIPE,
            check=True,
        )
    return {"passages": options.passages, "runs": runs, "store_mb": round(size_mb), "ask": json.loads(asking.stdout)}


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


def judged(options: argparse.Namespace) -> dict[str, Any]:
    """Recall in each mode on every query, and reranking on the first queries of a set, by language."""
    from finerank import Reranker
    from finerank.evaluation.datasets import JudgedSet, find_sets, read_set
    from finerank.evaluation.evaluate import evaluate
    from finerank.retrieval.embed import load_embedder
    from finerank.retrieval.index import index
    from finerank.retrieval.retriever import StoreRetriever
    from finerank.retrieval.store import Made, Store

    embedder = load_embedder()
    made = Made("finerank-embed", "", embedder.embed_queries(["x"]).shape[1])
    sets: list[JudgedSet] = []
    recalled: dict[str, dict[str, list[dict[str, float]]]] = {mode: defaultdict(list) for mode in MODES}
    for folder in find_sets([options.data]):
        print(folder.name, file=sys.stderr)
        known = read_set(folder).limited(options.max_queries, None, seed=0)
        with tempfile.TemporaryDirectory() as place:
            index([folder / "corpus.jsonl"], Path(place), embedder, made)
            store = Store.open(Path(place))
            for mode in MODES:
                found = _recalled(known, StoreRetriever(store, embedder, mode))
                recalled[mode][known.language].append(_means(found))
                if mode == "hybrid":
                    sets.append(found.limited(options.rerank_queries, options.depth))
    with Reranker.from_pretrained(options.model, threshold=0.0) as reranker:
        found = evaluate(reranker, sets, measures=MEASURES[:3], progress=_dots)
    return {
        "model": found.model,
        "sets": len(sets),
        "max_queries": options.max_queries,
        "rerank_queries": options.rerank_queries,
        "depth": options.depth,
        "recall": {mode: {lang: _mean(rows) for lang, rows in by.items()} for mode, by in recalled.items()},
        "reranked": _by_language(found, sets),
    }


def _by_language(evaluation: Any, sets: Sequence[Any]) -> dict[str, Any]:
    """A language's figures; `gated` is what the funnel's gate makes of it without evidence."""
    from finerank.evaluation.compare import compare_with_first_stage, difference
    from finerank.rag.gate import decide

    texts = {(judged.name, query.id): query.text for judged in sets for query in judged.queries}
    compared = compare_with_first_stage(evaluation)
    rows: dict[str, Any] = {}
    for averages in evaluation.by_language():
        members = [found for found in evaluation.sets if found.language == averages.name]
        deltas, strata = [], []
        for found in members:
            for query in found.queries:
                order = decide("auto", texts[found.name, query.id], None, model=evaluation.model).order
                change = query.reranked["nDCG@10"] - query.first_stage["nDCG@10"]
                deltas.append(0.0 if order == "keep" else change)
                strata.append(found.name)
        gated = difference(deltas, strata) if any(deltas) else None
        rows[averages.name] = {
            "sets": averages.sets,
            "queries": averages.queries,
            "first_stage": dict(averages.first_stage),
            "reranked": dict(averages.reranked),
            "difference": _difference(compared.languages[averages.name]),
            "gated": _difference(gated) if gated else {"mean": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0},
        }
    return rows


def _difference(found: Any) -> dict[str, float]:
    return {name: round(getattr(found, name), 4) for name in ("mean", "low", "high", "p_value")}


def _recalled(known: Any, retriever: Any) -> Any:
    from dataclasses import replace

    from finerank.ranking import Document

    queries = []
    for query in known.queries:
        documents = {
            str(result.document.metadata["key"]): Document(result.document.text, str(result.document.metadata["key"]))
            for result in reversed(retriever.retrieve(query.text, 100).results)
        }
        queries.append(replace(query, candidates=tuple(reversed(documents.values()))))
    return replace(known, queries=tuple(queries))


def _means(found: Any) -> dict[str, float]:
    from finerank.evaluation.measures import measure

    grades = {query.id: query.grades for query in found.queries}
    values = measure(grades, {q.id: [d.id for d in q.candidates] for q in found.queries}, MEASURES)
    return {name: statistics.fmean(value[name] for value in values.values()) for name in MEASURES}


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.fmean(row[name] for row in rows), 4) for name in MEASURES}


def _dots(done: int, total: int) -> None:
    if done % 1000 < 20:
        print(f"{done} of {total} pairs", file=sys.stderr)


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
