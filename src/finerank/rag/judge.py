"""The user's own judged questions against a store: judged sets to evaluate, and the evidence the gate goes by."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from finerank.errors import InvalidInput
from finerank.evaluation.compare import Difference, compare_with_first_stage, difference
from finerank.evaluation.datasets import JudgedQuery, JudgedSet, read_qrels, text_field
from finerank.evaluation.results import Evaluation
from finerank.io.jsonl import read_objects
from finerank.rag.gate import Effect, Evidence
from finerank.rag.order import passage_text
from finerank.ranking import Document, Ranking
from finerank.retrieval.retriever import Retriever
from finerank.text.script import script

_PASSAGES_A_DOCUMENT = 2
"""So many passages are recalled for each document wanted: a document's passages after its first are left out."""


def judged_sets(
    retriever: Retriever,
    queries: Path,
    qrels: Path,
    depth: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[JudgedSet]:
    """The judged questions of a queries.jsonl with the store's candidates for them, a set for each language.

    A query's language is its "lang", or the script it is written in. Judgements name a record by its id and a file by
    its path, or the end of it. Raises `InvalidInput` if no question is judged.
    """
    grades = read_qrels(qrels)
    ids = frozenset(id_ for judged in grades.values() for id_ in judged)
    rows = [(number, fields) for number, fields in read_objects(queries) if str(fields.get("_id")) in grades]
    if not rows:
        raise InvalidInput(f"{queries}: no query in it is judged in {qrels}; the qrels belong to other queries")
    by_language: defaultdict[str, list[JudgedQuery]] = defaultdict(list)
    for done, (number, fields) in enumerate(rows, start=1):
        id_, text = text_field(queries, number, fields, "_id"), text_field(queries, number, fields, "text")
        ranking = retriever.retrieve(text, depth * _PASSAGES_A_DOCUMENT)
        candidates = tuple(_documents(ranking, ids))[:depth]
        language = str(fields.get("lang") or fields.get("language") or script(text))
        by_language[language].append(JudgedQuery(id_, text, candidates, grades[id_]))
        if progress is not None:
            progress(done, len(rows))
    return [JudgedSet(language, tuple(judged), language) for language, judged in sorted(by_language.items())]


def evidence(evaluation: Evaluation, sets: list[JudgedSet]) -> Evidence:
    """What the evaluation of these sets says about reranking in the store, by the questions' script too."""
    measure = evaluation.measures[0]
    texts = {(judged.name, query.id): query.text for judged in sets for query in judged.queries}
    deltas: defaultdict[str, list[float]] = defaultdict(list)
    for found in evaluation.sets:
        for query in found.queries:
            written = script(texts[found.name, query.id])
            deltas[written].append(query.reranked[measure] - query.first_stage[measure])
    overall = _effect(compare_with_first_stage(evaluation, measure).overall)
    scripts = {name: _effect(difference(found)) for name, found in sorted(deltas.items())}
    return Evidence(evaluation.model, measure, overall, scripts)


def _documents(ranking: Ranking, ids: frozenset[str]) -> Iterator[Document]:
    """Each document once, by the first of its passages; under the id by which the judgements know it."""
    seen = set()
    for result in ranking:
        document = result.document
        id_ = _judged_id(document, ids)
        if id_ not in seen:
            seen.add(id_)
            yield Document(passage_text(document), id_)


def _judged_id(document: Document, ids: frozenset[str]) -> str:
    key, source = str(document.metadata.get("key") or ""), str(document.metadata.get("source") or document.id)
    if key:
        return key
    parts = Path(source).parts
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in ids), source)


def _effect(found: Difference) -> Effect:
    return Effect(found.mean, found.low, found.high, found.queries)
