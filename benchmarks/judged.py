"""What recall finds in judged sets, by words, by vectors and by both, and what reranking makes of it, by language.

    python -m benchmarks.judged --data FOLDER_OF_BEIR_SETS --questions 50 --no-rerank
    python -m benchmarks.judged --data FOLDER_OF_BEIR_SETS --questions 20 --depth 20 --docs docs/pipeline.md

Each set's corpus goes into a store of its own. What was recalled and every score are kept in the folder `--work`: a run
that was stopped goes on from there, and one of more questions or another depth computes only what is new. Scores are
kept by the model's content, recall by that of the set, the embedder and the code that cuts and searches.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.paths import ROOT
from finerank import Reranker
from finerank.evaluation.compare import compare_with_first_stage, difference
from finerank.evaluation.datasets import JudgedSet, find_sets, read_set
from finerank.evaluation.evaluate import evaluate
from finerank.evaluation.measures import measure
from finerank.evaluation.results import Evaluation
from finerank.rag.gate import decide
from finerank.ranking import Document
from finerank.retrieval.embed import Embedder, load_embedder
from finerank.retrieval.index import index
from finerank.retrieval.retriever import fuse
from finerank.retrieval.store import Found, Made, Store
from finerank.scoring.model_files import EMBEDDED_DIR

RECALLED = 100
"""Passages of each kind of recall, as the pipeline's default."""

WAYS = ("words", "vectors", "both")
RECALL_MEASURES = ("nDCG@10", "R@50")
RERANK_MEASURES = ("nDCG@10", "RR@10", "R@5")

_CODE = ("text/*.py", "retrieval/embed.py", "retrieval/store.py")
"""What decides how passages are cut, embedded and found; a change of it makes kept recall worthless."""

Hits = Sequence[Found]


@dataclass(frozen=True, slots=True)
class Recalled:
    """A set with both kinds of recall for each of its questions."""

    judged: JudgedSet
    words: Mapping[str, Hits]
    vectors: Mapping[str, Hits]

    def ranked(self, way: str, query_id: str) -> list[Document]:
        """The documents in a way's order, each once, by its best passage."""
        words, vectors = self.words[query_id], self.vectors[query_id]
        hits = {"words": words, "vectors": vectors}[way] if way != "both" else fuse(words, vectors, RECALLED)
        documents: dict[str, Document] = {}
        for hit in hits[:RECALLED]:
            key = str(hit.document.metadata["key"])
            documents.setdefault(key, Document(hit.document.text, key))
        return list(documents.values())


def main() -> None:
    options = _options()
    sets = list(recalled_sets(options.data, options.questions, options.work))
    facts = machine.machine()
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "commit": machine.commit(),
        "sets": len(sets),
        "questions_a_set": options.questions,
        "recall": {"questions": sum(len(each.judged.queries) for each in sets), **recall_by_language(sets)},
    }
    if not options.no_rerank:
        result["reranked"] = reranked(sets, options.model, options.rerank_questions, options.depth, options.work)
    path = options.out or report.result_path(facts, "-pipeline-recall" if options.no_rerank else "-pipeline-judged")
    report.write(result, path)
    for name, table in tables(result):
        print(f"{table}\n")
        if options.docs:
            report.put_table(options.docs, name, table)
    print(path, file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judged", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="judged sets, or folders of them")
    parser.add_argument("--questions", type=int, default=50, help="questions a set, drawn at random, that are recalled")
    parser.add_argument("--rerank-questions", type=int, default=20, help="questions a set, of those, that are reranked")
    parser.add_argument("--depth", type=int, default=20, help="candidates of a question that are reranked")
    parser.add_argument("--model", help="the reranker; the default model unless given")
    parser.add_argument("--no-rerank", action="store_true", help="measure recall alone")
    parser.add_argument("--work", type=Path, default=ROOT / ".judged", help="keeps what was computed")
    parser.add_argument("--docs", type=Path, help="a Markdown file whose tables between <!-- NAME --> marks are set")
    parser.add_argument("--out", type=Path, help="the result as JSON; benchmarks/results/ unless given")
    return parser.parse_args()


def recalled_sets(data: Sequence[Path], questions: int, work: Path) -> Iterator[Recalled]:
    """Every set with its recall, kept in `work` or computed."""
    embedder = load_embedder()
    for folder in find_sets(data):
        judged = read_set(folder).limited(questions, None, seed=0)
        path = work / "recall" / f"{folder.name}-{_fingerprint(folder, questions)}.json"
        if not path.is_file():
            print(f"recall: {folder.name}", file=sys.stderr)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(_recall(folder, judged, embedder), ensure_ascii=False), encoding="utf-8")
            part.replace(path)
        yield _read_recalled(judged, json.loads(path.read_text(encoding="utf-8")))


def _recall(folder: Path, judged: JudgedSet, embedder: Embedder) -> dict[str, Any]:
    """Both kinds of recall as JSON: passages once, and for each question their ids with scores."""
    passages: dict[str, tuple[str, str]] = {}
    queries: dict[str, dict[str, list[tuple[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as place:
        vectors = embedder.embed_queries([query.text for query in judged.queries])
        index([folder / "corpus.jsonl"], Path(place), embedder, Made("finerank-embed", "", vectors.shape[1]))
        store = Store.open(Path(place))
        for query, vector in zip(judged.queries, vectors, strict=True):
            ways = {"words": store.matching(query.text, RECALLED), "vectors": store.nearest(vector, RECALLED)}
            for hit in (hit for hits in ways.values() for hit in hits):
                passages[str(hit.document.id)] = (str(hit.document.metadata["key"]), hit.document.text)
            queries[query.id] = {way: [(str(hit.document.id), hit.score) for hit in ways[way]] for way in ways}
    return {"passages": passages, "queries": queries}


def _read_recalled(judged: JudgedSet, kept: Mapping[str, Any]) -> Recalled:
    documents = {id_: Document(text, id_, {"key": key}) for id_, (key, text) in kept["passages"].items()}

    def hits(way: str) -> dict[str, Hits]:
        found = {query_id: ways[way] for query_id, ways in kept["queries"].items()}
        return {query_id: [Found(documents[id_], score) for id_, score in rows] for query_id, rows in found.items()}

    return Recalled(judged, hits("words"), hits("vectors"))


def _fingerprint(folder: Path, questions: int) -> str:
    state = hashlib.blake2b(f"{questions} {RECALLED}".encode(), digest_size=8)
    code = ROOT / "src" / "finerank"
    files = [
        *(path for pattern in _CODE for path in sorted(code.glob(pattern))),
        *sorted(path for path in (EMBEDDED_DIR / "finerank-embed").iterdir() if path.is_file()),
        *sorted(path for path in folder.rglob("*") if path.suffix in (".jsonl", ".tsv")),
    ]
    for path in files:
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "blake2b").digest())
    return state.hexdigest()


def recall_by_language(sets: Sequence[Recalled]) -> dict[str, Any]:
    """Each way's measures, the mean over a language's sets."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {way: defaultdict(list) for way in WAYS}
    for each in sets:
        for way in WAYS:
            found[way][each.judged.language].append(_means(each, way))
    return {
        way: {
            language: {name: round(statistics.fmean(row[name] for row in rows), 4) for name in RECALL_MEASURES}
            for language, rows in sorted(languages.items())
        }
        for way, languages in found.items()
    }


def _means(recalled: Recalled, way: str) -> dict[str, float]:
    grades = {query.id: query.grades for query in recalled.judged.queries}
    rankings = {id_: [str(document.id) for document in recalled.ranked(way, id_)] for id_ in grades}
    values = measure(grades, rankings, RECALL_MEASURES).values()
    return {name: statistics.fmean(value[name] for value in values) for name in RECALL_MEASURES}


def reranked(sets: Sequence[Recalled], model: str | None, questions: int, depth: int, work: Path) -> dict[str, Any]:
    """The first stage's order against the reranker's; scores are kept in `work`."""
    judged = [_candidates(each).limited(questions, depth, seed=1) for each in sets]
    with Reranker.from_pretrained(model, threshold=0.0, cache=str(work / "scores.sqlite")) as reranker:
        found = evaluate(reranker, judged, measures=RERANK_MEASURES, progress=_progress)
    return {
        "model": found.model,
        "questions_a_set": questions,
        "depth": depth,
        "languages": _by_language(found, judged),
    }


def _candidates(recalled: Recalled) -> JudgedSet:
    judged = recalled.judged
    queries = (replace(query, candidates=tuple(recalled.ranked("both", query.id))) for query in judged.queries)
    return replace(judged, queries=tuple(queries))


def _by_language(evaluation: Evaluation, sets: Sequence[JudgedSet]) -> dict[str, Any]:
    """A language's figures; `gated` is what the funnel's gate makes of it without evidence."""
    texts = {(judged.name, query.id): query.text for judged in sets for query in judged.queries}
    compared = compare_with_first_stage(evaluation)
    rows: dict[str, Any] = {}
    for averages in evaluation.by_language():
        deltas, strata = [], []
        for found in (found for found in evaluation.sets if found.language == averages.name):
            for query in found.queries:
                order = decide("auto", texts[found.name, query.id], None, model=evaluation.model).order
                change = query.reranked["nDCG@10"] - query.first_stage["nDCG@10"]
                deltas.append(0.0 if order == "keep" else change)
                strata.append(found.name)
        rows[averages.name] = {
            "sets": averages.sets,
            "queries": averages.queries,
            "first_stage": dict(averages.first_stage),
            "reranked": dict(averages.reranked),
            "difference": _difference(compared.languages[averages.name]),
            "gated": _difference(difference(deltas, strata)),
        }
    return rows


def _difference(found: Any) -> dict[str, float]:
    return {name: round(getattr(found, name), 4) for name in ("mean", "low", "high", "p_value")}


def _progress(done: int, total: int) -> None:
    if done * 100 // total != (done - 1) * 100 // total:
        print(f"\r{done} of {total} pairs", end="\n" if done == total else "", file=sys.stderr)


def tables(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The result as Markdown tables with their names."""
    recall = result["recall"]
    yield (
        "recall",
        report.markdown_table(
            ("language", "words (BM25)", "vectors", "both, fused"),
            ((language, *(_pair(recall[way][language]) for way in WAYS)) for language in _ordered(recall["both"])),
        ),
    )
    if rows := result.get("reranked", {}).get("languages"):
        yield (
            "reranked",
            report.markdown_table(
                ("language", "sets", "queries", "first stage", "reranked", "difference (95% interval)", "p", "gated"),
                (_reranked_row(language, rows[language]) for language in _ordered(rows)),
            ),
        )
        yield (
            "reranked-more",
            report.markdown_table(
                ("language", "RR@10, first stage → reranked", "R@5"),
                (
                    (language, *(_change(rows[language], name) for name in RERANK_MEASURES[1:]))
                    for language in _ordered(rows)
                ),
            ),
        )


def _ordered(languages: Iterable[str]) -> list[str]:
    """English first, questions in another language than the passages last."""
    return sorted(languages, key=lambda language: (language == "cross-lingual", language != "en", language))


def _pair(row: Mapping[str, float]) -> str:
    return f"{row['nDCG@10']:.3f} / {row['R@50']:.3f}"


def _reranked_row(language: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    change = row["difference"]
    return (
        language,
        *(str(row[name]) for name in ("sets", "queries")),
        *(f"{row[name]['nDCG@10']:.3f}" for name in ("first_stage", "reranked")),
        f"{change['mean']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})",
        f"{change['p_value']:.4f}",
        f"{row['gated']['mean']:+.3f}",
    )


def _change(row: Mapping[str, Any], name: str) -> str:
    return f"{row['first_stage'][name]:.3f} → {row['reranked'][name]:.3f}"


if __name__ == "__main__":
    main()
