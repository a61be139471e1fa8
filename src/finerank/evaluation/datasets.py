"""Judged sets from disk: queries, the candidates a first stage found for each, and the judgements. Ranks nothing.

A set is a BEIR folder: corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/SPLIT.tsv. The candidates come from its
candidates.jsonl, from a TREC run, or from a search of its corpus. Any of these files may be a .gz. Candidates are taken
as given: a relevant document that the first stage did not find is not put in, and simply costs.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from finerank.errors import InvalidInput, InvalidSetting
from finerank.io.decode import read_text
from finerank.io.jsonl import parse_json, read_lines, read_objects
from finerank.ranking import Document, is_blank

CROSS_LINGUAL = "cross-lingual"
"""The language of a set whose queries and documents are in different ones."""

UNKNOWN_LANGUAGE = "unknown"
"""The language of a set whose folder has no meta.json that names it."""

Grades = Mapping[str, int]
"""Document id to grade; 1 and more is relevant."""

FirstStage = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[int]]]
"""A corpus and queries to, for each query, the places in the corpus of its candidates, best first."""

_CANDIDATES = "candidates.jsonl"


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with its candidates, in the first stage's order, and its judgements."""

    id: str
    text: str
    candidates: tuple[Document, ...]
    grades: Grades

    @property
    def relevant(self) -> frozenset[str]:
        """The ids of the relevant documents, found or not."""
        return frozenset(id_ for id_, grade in self.grades.items() if grade > 0)


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Every judged query of a set. `notes` say what was odd about its files."""

    name: str
    queries: tuple[JudgedQuery, ...]
    language: str = UNKNOWN_LANGUAGE
    notes: tuple[str, ...] = field(default=())

    def limited(self, max_queries: int | None, depth: int | None, seed: int | None = None) -> "JudgedSet":
        """At most `max_queries` of the queries, the first, or with a `seed` drawn at random; and of each query's
        candidates the first `depth`. Raises `InvalidSetting` on less than 1."""
        for name, value in (("max_queries", max_queries), ("depth", depth)):
            if value is not None and value < 1:
                raise InvalidSetting(f"{name}={value}: must be at least 1")
        queries = self.queries[:max_queries]
        if max_queries is not None and seed is not None:
            drawn = random.Random(seed).sample(range(len(self.queries)), min(max_queries, len(self.queries)))
            queries = tuple(self.queries[index] for index in sorted(drawn))
        cut = (replace(query, candidates=query.candidates[:depth]) for query in queries)
        return replace(self, queries=tuple(cut))


def find_sets(paths: Sequence[Path]) -> list[Path]:
    """The folders of the sets at `paths`: each is a set, or holds sets.

    Raises `InvalidInput` if there are none at one of them, or if two have the same name.
    """
    found: list[Path] = []
    for path in paths:
        if _is_set(path):
            found.append(path)
            continue
        inside = sorted(folder for folder in path.glob("*") if _is_set(folder))
        if not inside:
            raise InvalidInput(f"{path}: is not a judged set and holds none; a set has corpus.jsonl and queries.jsonl")
        found += inside
    names = [path.resolve().name for path in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{name}: two sets have this name; rename one, or give one of them")
    return found


def read_set(
    folder: Path,
    *,
    run: Path | None = None,
    qrels: Path | None = None,
    split: str = "test",
    bm25: FirstStage | None = None,
) -> JudgedSet:
    """The set in `folder`, its candidates from a TREC `run` if given, its judgements from `qrels` if given.

    `bm25` finds the candidates of a folder that has none. Every judged query is in the set, also one that the first
    stage found nothing for. Raises `InvalidInput` naming the file, the line and the fix.
    """
    grades = read_qrels(qrels or _qrels_path(folder, split))
    texts = _read_queries(_file(folder, "queries.jsonl"))
    judged = [query_id for query_id in grades if query_id in texts]
    if not judged:
        raise InvalidInput(f"{folder}: no query of queries.jsonl is judged; the qrels belong to other queries")
    corpus, notes = _file(folder, "corpus.jsonl"), [*_unknown(grades, texts)]
    if bm25 and not run and not _file(folder, _CANDIDATES).is_file():
        source, documents = corpus, _read_corpus(corpus)
        ids = list(documents)
        found = bm25([document.text for document in documents.values()], [texts[query_id] for query_id in judged])
        lists = {query_id: [ids[place] for place in row] for query_id, row in zip(judged, found, strict=True)}
        notes.append(f"no {_CANDIDATES} and no run: the first stage is BM25 over {len(ids)} documents")
    else:
        source, lists = (run, read_run(run)) if run else _read_candidates(folder)
        documents = _read_corpus(corpus, {id_ for query_id in judged for id_ in lists.get(query_id, ())})
    for query_id in judged:
        for id_ in lists.get(query_id, ()):
            if id_ not in documents:
                raise InvalidInput(f"{source}: the candidate {id_!r} of query {query_id!r} is not in corpus.jsonl")
    queries = tuple(
        JudgedQuery(
            query_id, texts[query_id], tuple(documents[id_] for id_ in lists.get(query_id, ())), grades[query_id]
        )
        for query_id in judged
    )
    return JudgedSet(folder.resolve().name, queries, _language(folder), (*notes, *_unfit(queries)))


def read_pairs(path: Path) -> JudgedSet:
    """Lines {"query", "passage", "label"} as a set: a query's passages are its candidates, in the file's order.

    A label is 0 or false for a passage that does not answer, else a grade of 1 and more. Raises `InvalidInput` naming
    file and line.
    """
    candidates: dict[str, list[Document]] = {}
    grades: dict[str, dict[str, int]] = {}
    for number, fields in read_objects(path):
        query, passage = text_field(path, number, fields, "query"), text_field(path, number, fields, "passage")
        label = fields.get("label")
        if not isinstance(label, int | float) or label < 0 or not float(label).is_integer():
            _refuse(path, number, f'has the "label" {label!r}; it must be 0, or a whole number of 1 and more')
        if is_blank(query):
            _refuse(path, number, "has an empty query; there is nothing to rank by")
        candidates.setdefault(query, []).append(Document(passage, id=str(number)))
        grades.setdefault(query, {})[str(number)] = int(label)
    queries = (JudgedQuery(query, query, tuple(found), grades[query]) for query, found in candidates.items())
    return JudgedSet(path.name, tuple(queries))


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements by query: BEIR's `query-id, corpus-id, score` with a header, or TREC's `query 0 document grade`."""
    grades: dict[str, dict[str, int]] = {}
    for number, line in read_lines(path):
        fields = line.split("\t") if "\t" in line else line.split()
        if number == 1 and not _is_grade(fields[-1]):
            continue  # BEIR's header
        if len(fields) not in (3, 4) or not _is_grade(fields[-1]):
            _refuse(path, number, "is not `query-id <tab> corpus-id <tab> score`, nor TREC's `query 0 document grade`")
        query_id, document_id, grade = fields[0], fields[-2], int(fields[-1])
        judged = grades.setdefault(query_id, {})
        if judged.setdefault(document_id, grade) != grade:
            _refuse(path, number, f"judges {document_id!r} for query {query_id!r} again, with another grade; keep one")
    return grades


def read_run(path: Path) -> dict[str, list[str]]:
    """A TREC run, `query Q0 document rank score tag`: document ids by query, best score first.

    Equal scores are in the order of their ranks.
    """
    rows: dict[str, dict[str, tuple[float, int]]] = {}
    for number, line in read_lines(path):
        fields = line.split()
        try:
            query_id, _, document_id, rank, score, _ = fields
            place = (-float(score), int(rank))
        except ValueError:
            _refuse(path, number, "is not TREC's `query Q0 document rank score tag`")
        if math.isnan(place[0]):
            _refuse(path, number, "has the score NaN")
        if document_id in rows.setdefault(query_id, {}):
            _refuse(path, number, f"lists {document_id!r} again for query {query_id!r}; keep one")
        rows[query_id][document_id] = place
    return {query_id: sorted(places, key=places.__getitem__) for query_id, places in rows.items()}


def text_field(path: Path, number: int, fields: Mapping[str, Any], name: str) -> str:
    """A string of one line; `InvalidInput` naming file and line if it is none."""
    value = fields.get(name)
    if not isinstance(value, str):
        _refuse(path, number, f'has no string "{name}"')
    return value


def _is_set(folder: Path) -> bool:
    return all(_file(folder, name).is_file() for name in ("corpus.jsonl", "queries.jsonl"))


def _file(folder: Path, name: str) -> Path:
    """The file of this name, or the one with .gz after it where only that is there."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    return zipped if zipped.is_file() and not plain.is_file() else plain


def _qrels_path(folder: Path, split: str) -> Path:
    places = [_file(folder, "qrels.tsv"), _file(folder / "qrels", f"{split}.tsv")]
    for path in places:
        if path.is_file():
            return path
    raise InvalidInput(f"{folder}: has no qrels.tsv and no qrels/{split}.tsv; add one, or name a file with --qrels")


def _read_queries(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, fields in read_objects(path):
        query_id, text = text_field(path, number, fields, "_id"), text_field(path, number, fields, "text")
        if query_id in texts:
            _refuse(path, number, f"has the _id {query_id!r} of an earlier line; ids must differ")
        if is_blank(text):
            _refuse(path, number, f"query {query_id!r} is empty; there is nothing to rank by")
        texts[query_id] = text
    return texts


def _read_corpus(path: Path, wanted: set[str] | None = None) -> dict[str, Document]:
    """The documents with a wanted id, or all; the others of a large corpus are not kept."""
    documents: dict[str, Document] = {}
    for number, fields in read_objects(path):
        id_ = text_field(path, number, fields, "_id")
        if wanted is not None and id_ not in wanted:
            continue
        if id_ in documents:
            _refuse(path, number, f"has the _id {id_!r} of an earlier line; ids must differ")
        title, text = fields.get("title") or "", text_field(path, number, fields, "text")
        documents[id_] = Document(f"{title}\n{text}" if title else text, id=id_)
    return documents


def _read_candidates(folder: Path) -> tuple[Path, dict[str, list[str]]]:
    path = _file(folder, _CANDIDATES)
    if not path.is_file():
        raise InvalidInput(f"{folder}: has no {_CANDIDATES}; name the first stage's TREC run with --run")
    lists: dict[str, list[str]] = {}
    for number, fields in read_objects(path):
        query_id, candidates = text_field(path, number, fields, "qid"), fields.get("candidates")
        if not isinstance(candidates, list) or not all(isinstance(id_, str) for id_ in candidates):
            _refuse(path, number, 'has no list of document ids "candidates"')
        if query_id in lists:
            _refuse(path, number, f"lists candidates of query {query_id!r} again; keep one line")
        if len(set(candidates)) < len(candidates):
            twice = next(id_ for id_ in candidates if candidates.count(id_) > 1)
            _refuse(path, number, f"lists {twice!r} twice for query {query_id!r}; keep one")
        lists[query_id] = candidates
    return path, lists


def _language(folder: Path) -> str:
    """What meta.json says: the queries' language, or cross-lingual."""
    path = folder / "meta.json"
    if not path.is_file():
        return UNKNOWN_LANGUAGE
    try:
        meta = parse_json(read_text(path), str(path))
        language = meta.get("query_lang") or meta.get("lang") or UNKNOWN_LANGUAGE
    except AttributeError as error:
        raise InvalidInput(f"{path}: holds no JSON object: {error}") from error
    return str(language) if meta.get("doc_lang", language) == language else CROSS_LINGUAL


def _unknown(grades: Mapping[str, Grades], texts: Mapping[str, str]) -> Iterator[str]:
    unknown = [query_id for query_id in grades if query_id not in texts]
    if unknown:
        yield f"{len(unknown)} judged queries are not in queries.jsonl ({unknown[0]!r}, ...) and were left out"


def _unfit(queries: Sequence[JudgedQuery]) -> Iterator[str]:
    empty = [query.id for query in queries if not query.candidates]
    if empty:
        yield f"{len(empty)} judged queries have no candidates ({empty[0]!r}, ...); they count 0"
    hopeless = [query.id for query in queries if not query.relevant]
    if hopeless:
        yield f"{len(hopeless)} judged queries have no relevant document ({hopeless[0]!r}, ...); they count 0"


def _is_grade(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def _refuse(path: Path, number: int, what: str) -> NoReturn:
    raise InvalidInput(f"{path}, line {number}: {what}")
