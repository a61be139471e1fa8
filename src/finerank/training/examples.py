"""Training examples: a query, its passages and how relevant each is, from our own format and from those of others.

    examples = list(read_examples(Path("train.jsonl")))      # which format it is, is found out by looking
    write_examples(Path("mined.jsonl.zst"), examples)

Knows nothing about models.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from finerank.errors import InvalidInput
from finerank.io import jsonl
from finerank.ranking import is_blank

_QUERY = ("query", "question", "anchor", "sentence1")
_PASSAGE = ("passage", "positive", "document", "answer", "response", "text", "sentence2")
_PASSAGES = ("passages", "docs", "documents")
_LABEL = ("label", "score")


@dataclass(frozen=True, slots=True)
class Example:
    """A query, its passages, and how relevant each is (a grade; above 0 is relevant).

    `teacher` is a teacher's logit for each passage, for distillation. Raises `InvalidInput` if the query is empty,
    there are no passages, or labels or teacher's logits are not one finite number a passage.
    """

    query: str
    passages: tuple[str, ...]
    labels: tuple[float, ...]
    teacher: tuple[float, ...] | None = None
    language: str = ""

    def __post_init__(self) -> None:
        if is_blank(self.query):
            raise InvalidInput("the query is empty; leave the line out")
        if not self.passages:
            raise InvalidInput(f"the query {self.query[:50]!r} has no passages; leave the line out")
        for name, numbers in (("labels", self.labels), ("teacher", self.teacher)):
            if numbers is not None and len(numbers) != len(self.passages):
                raise InvalidInput(f"{len(self.passages)} passages and {len(numbers)} {name}; give one a passage")
            if not all(map(math.isfinite, numbers or ())):
                raise InvalidInput(f"{name} holds NaN or infinity; leave the passage out")


_Qrels = Mapping[str, dict[str, tuple[str, float]]]
"""By query id and passage id: the place of the judgement, and the grade."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The fields of one line of a file, or of one row of a dataset, and where it is."""

    place: str
    fields: Mapping[str, Any]


def read_examples(path: Path, format: str = "auto") -> Iterator[Example]:
    """The examples of a file or a folder, read as they are needed.

    `format` is a name of `READERS`, or "auto" to find out by looking. Raises `InvalidInput` naming the file, the line
    and the fix, `MissingExtra` for a file that zstandard compressed without it.
    """
    if not path.exists():
        raise InvalidInput(f"{path}: no such file or folder")
    name = _detect(path) if format == "auto" else format
    if name not in READERS:
        raise InvalidInput(f"format={format!r}: must be auto, {', '.join(READERS)}")
    return READERS[name](path)


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as our JSON lines (compressed if `path` ends in .gz or .zst); returns how many.

    A file appears when it is whole: until then what was at `path` stays. Raises `OSError` if it cannot be written.
    """
    count = 0
    with jsonl.open_json_lines(path) as file:
        for example in examples:
            file.write(jsonl.to_json(_to_json(example)) + "\n")
            count += 1
    return count


def with_teacher_scores(examples: Iterable[Example], path: Path) -> Iterator[Example]:
    """The examples with the teacher's logits of a JSONL file.

    Its lines are {"query", "passage", "score"} in any order, or one list a line (or {"scores": [...]}) in the order
    of the examples. Raises `InvalidInput` naming what has no score.
    """
    lines = _read_json(path)
    first = next(lines, None)
    if first is None:
        raise InvalidInput(f"{path}: is empty; it must hold the teacher's scores")
    every = chain([first], lines)
    by_pair = isinstance(first[1], Mapping) and "passage" in first[1]
    return _with_scores_by_pair(examples, every, path) if by_pair else _with_scores_in_order(examples, every, path)


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Every line that is not blank, after its place: ("train.jsonl, line 3", text)."""
    return ((f"{path}, line {number}", line) for number, line in jsonl.read_lines(path))


def read_objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every JSON object of a file of JSON lines, after its place."""
    return ((f"{path}, line {number}", fields) for number, fields in jsonl.read_objects(path))


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Put the place before the message of what is wrong there."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error}") from error


def _read_json(path: Path) -> Iterator[tuple[str, Any]]:
    return ((f"{path}, line {number}", value) for number, value in jsonl.read_values(path))


def _to_json(example: Example) -> dict[str, object]:
    fields: dict[str, object] = {"query": example.query, "passages": example.passages, "labels": example.labels}
    if example.teacher is not None:
        fields["teacher"] = example.teacher
    return {**fields, "language": example.language} if example.language else fields


def _from_lists(fields: Mapping[str, Any]) -> Example:
    passages, labels = _name(fields, _PASSAGES), "labels" if "labels" in fields else "scores"
    teacher = _numbers(fields, "teacher") if fields.get("teacher") is not None else None
    return _example(fields, _texts(fields, passages), _numbers(fields, labels), teacher)


def _from_flagembedding(fields: Mapping[str, Any]) -> Example:
    positives, negatives = _texts(fields, "pos"), _texts(fields, "neg") if fields.get("neg") else ()
    teacher = None
    if fields.get("pos_scores") is not None and (fields.get("neg_scores") is not None or not negatives):
        teacher = _numbers(fields, "pos_scores") + (_numbers(fields, "neg_scores") if negatives else ())
    return _example(fields, positives + negatives, (1.0,) * len(positives) + (0.0,) * len(negatives), teacher)


def _from_triple(fields: Mapping[str, Any]) -> Example:
    names = [name for name in fields if name == "negative" or name.startswith("negative_")]
    negatives = tuple(_text(fields, name) for name in names if fields[name] is not None)
    return _example(fields, (_text(fields, _name(fields, _PASSAGE)), *negatives), (1.0,) + (0.0,) * len(negatives))


def _from_pair(fields: Mapping[str, Any]) -> Example:
    label = _number(fields, _name(fields, _LABEL))
    return _example(fields, (_text(fields, _name(fields, _PASSAGE)),), (label,))


def _example(
    fields: Mapping[str, Any],
    passages: tuple[str, ...],
    labels: tuple[float, ...],
    teacher: tuple[float, ...] | None = None,
) -> Example:
    language = _text(fields, "language") if fields.get("language") is not None else ""
    return Example(_text(fields, _name(fields, _QUERY)), passages, labels, teacher, language)


def _name(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    for name in names:
        if name in fields:
            return name
    raise InvalidInput(f"has none of {', '.join(names)}; its fields are {', '.join(fields) or 'none'}")


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        raise InvalidInput(f"{name!r} must be a text, and is {fields.get(name)!r:.60}")
    return str(fields[name])


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidInput(f"{name!r} must be a list of texts, and is {values!r:.60}")
    return tuple(values)


def _number(fields: Mapping[str, Any], name: str) -> float:
    if not isinstance(fields.get(name), int | float):
        raise InvalidInput(f"{name!r} must be a number, and is {fields.get(name)!r:.60}")
    return float(fields[name])


def _numbers(fields: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise InvalidInput(f"{name!r} must be a list of numbers, and is {values!r:.60}")
    return tuple(map(float, values))


ROWS: Mapping[str, Callable[[Mapping[str, Any]], Example]] = {
    "finerank": _from_lists,
    "lists": _from_lists,
    "flagembedding": _from_flagembedding,
    "triples": _from_triple,
    "pairs": _from_pair,
}
"""What the fields of one row mean: our own and sentence-transformers' lists, FlagEmbedding's pos and neg,
sentence-transformers' (anchor, positive, negative, negative_1, ...) and (query, passage, label)."""


def _detect_rows(fields: Mapping[str, Any]) -> str:
    """The name in `ROWS` that fits these fields."""
    has = fields.keys()
    if "pos" in has:
        return "flagembedding"
    if any(name in has and isinstance(fields[name], list) for name in _PASSAGES):
        return "finerank" if "passages" in has else "lists"
    if has & set(_LABEL):
        return "pairs"
    if has & set(_PASSAGE):
        return "triples"
    raise InvalidInput(
        f"its fields are {', '.join(fields) or 'none'}; an example has a query with passages and labels, with pos and "
        "neg, with positive and negative, or with passage and label"
    )


def _read_rows(rows: Iterable[_Row], name: str) -> Iterator[Example]:
    """The rows as examples; neighbouring pairs of one query become one example."""
    examples = _parse_rows(rows, name)
    if name != "pairs":
        yield from examples
        return
    for _, group in groupby(examples, key=lambda example: (example.query, example.language)):
        first, *others = group
        passages = chain(first.passages, *(other.passages for other in others))
        labels = chain(first.labels, *(other.labels for other in others))
        yield replace(first, passages=tuple(passages), labels=tuple(labels))


def _parse_rows(rows: Iterable[_Row], name: str) -> Iterator[Example]:
    for row in rows:
        with _placed(row.place):
            example = ROWS[name](row.fields)
        yield example


def _read_jsonl(path: Path, name: str) -> Iterator[Example]:
    return _read_rows((_Row(place, fields) for place, fields in read_objects(path)), name)


def _read_dataset(path: Path) -> Iterator[Example]:
    """A folder of `datasets.Dataset.save_to_disk`; of several splits the one named train."""
    try:
        import datasets
    except ImportError as error:
        raise InvalidInput(f"{path}: needs datasets: pip install datasets, or save it as JSON lines") from error
    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, Mapping):
        if "train" not in loaded:
            raise InvalidInput(f"{path}: has the splits {', '.join(loaded)}, and no train; name the folder of one")
        loaded = loaded["train"]
    if not len(loaded):
        raise InvalidInput(f"{path}: the dataset is empty")
    with _placed(str(path)):
        name = _detect_rows(loaded[0])
    return _read_rows((_Row(f"{path}, row {index}", fields) for index, fields in enumerate(loaded)), name)


def _read_beir(path: Path) -> Iterator[Example]:
    """corpus.jsonl, queries.jsonl and qrels; candidates.jsonl ({"qid", "candidates"}) gives negatives."""
    corpus, queries = read_texts(_one_of(path, "corpus.jsonl*")), read_texts(_one_of(path, "queries.jsonl*"))
    qrels_folder = path / "qrels"
    qrels = _read_qrels(_one_of(qrels_folder, "train.tsv*") if qrels_folder.is_dir() else _one_of(path, "qrels.tsv*"))
    if any(path.glob("candidates.jsonl*")):
        _add_candidates(qrels, _one_of(path, "candidates.jsonl*"))
    return _join(queries, corpus, qrels)


def _add_candidates(qrels: _Qrels, path: Path) -> None:
    """Candidates that nobody judged, with grade 0."""
    for place, fields in read_objects(path):
        candidates = fields.get("candidates")
        if "qid" not in fields or not isinstance(candidates, list):
            raise InvalidInput(f'{place}: must hold "qid" and a list "candidates"; its fields are {", ".join(fields)}')
        judged = qrels.get(str(fields["qid"]), {})
        for passage in candidates:
            judged.setdefault(str(passage), (place, 0.0))


def _read_trec(path: Path) -> Iterator[Example]:
    """TREC qrels, queries.tsv (id, text) and collection.tsv (id, text) in one folder, named as MS MARCO names them."""
    return _join(
        _read_tsv(_one_of(path, "queries*")),
        _read_tsv(_one_of(path, "collection*")),
        _read_qrels(_one_of(path, "qrels*")),
    )


def _join(queries: Mapping[str, str], corpus: Mapping[str, str], qrels: _Qrels) -> Iterator[Example]:
    for query_id, judged in qrels.items():
        for passage_id, (place, _) in judged.items():
            if query_id not in queries or passage_id not in corpus:
                raise InvalidInput(f"{place}: there is no text for {query_id} or {passage_id}; remove the line")
        grades = tuple(grade for _, grade in judged.values())
        yield Example(queries[query_id], tuple(corpus[passage_id] for passage_id in judged), grades)


def read_texts(path: Path) -> dict[str, str]:
    """Texts by id, of a TSV file, or of JSON lines {"text", "_id"?, "title"?}; the title is put before the text, and
    a text without an id has its place for one."""
    if ".tsv" in path.suffixes:
        return _read_tsv(path)
    texts: dict[str, str] = {}
    for place, fields in read_objects(path):
        with _placed(place):
            title, text = str(fields.get("title") or ""), _text(fields, "text")
            texts[str(fields.get("_id", fields.get("id", place)))] = f"{title} {text}" if title else text
    return texts


def _read_qrels(path: Path) -> _Qrels:
    """TREC's four columns (query, iteration, passage, grade) or BEIR's three with a heading."""
    qrels: defaultdict[str, dict[str, tuple[str, float]]] = defaultdict(dict)
    for place, line in read_lines(path):
        columns = line.split()
        if columns[0] in ("query-id", "query_id"):
            continue
        try:
            query_id, *_, passage_id, grade = columns
            qrels[query_id][passage_id] = (place, float(grade))
        except ValueError as error:
            raise InvalidInput(
                f"{place}: must hold a query's id, a passage's id and a grade; is {line!r:.60}"
            ) from error
    return qrels


def _read_tsv(path: Path) -> dict[str, str]:
    texts = {}
    for place, line in read_lines(path):
        id_, tab, text = line.rstrip("\r\n").partition("\t")
        if not tab:
            raise InvalidInput(f"{place}: must hold an id and a text with a tab between; is {line!r:.60}")
        texts[id_] = text
    return texts


def _one_of(folder: Path, pattern: str) -> Path:
    """The file of this name, or the one of several that says train."""
    found = sorted(folder.glob(pattern))
    found = [path for path in found if "train" in path.name] or found if len(found) > 1 else found
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InvalidInput(f"{folder}: must hold one file {pattern}, and holds {names}")
    return found[0]


READERS: Mapping[str, Callable[[Path], Iterator[Example]]] = {
    **{name: partial(_read_jsonl, name=name) for name in ROWS},
    "dataset": _read_dataset,
    "beir": _read_beir,
    "trec": _read_trec,
}

_FOLDERS = {"dataset_info.json": "dataset", "dataset_dict.json": "dataset", "corpus.jsonl*": "beir", "qrels*": "trec"}
"""A file that tells what a folder is, and its format."""


def _detect(path: Path) -> str:
    """The name in `READERS` of what is there."""
    if path.is_dir():
        for pattern, name in _FOLDERS.items():
            if any(path.glob(pattern)):
                return name
        raise InvalidInput(
            f"{path}: is no folder of examples; it must hold corpus.jsonl, queries.jsonl and qrels (BEIR), qrels, "
            "queries.tsv and collection.tsv (TREC), or a dataset saved by datasets"
        )
    found = jsonl.read_objects(path, report=lambda _: None)  # what is odd is reported when it is read in earnest
    place, fields = next(((f"{path}, line {number}", fields) for number, fields in found), (str(path), None))
    if fields is None:
        raise InvalidInput(f"{path}: is empty; it must hold one example a line")
    with _placed(place):
        return _detect_rows(fields)


def _with_scores_by_pair(
    examples: Iterable[Example], lines: Iterable[tuple[str, Any]], path: Path
) -> Iterator[Example]:
    scores: dict[tuple[str, str], float] = {}
    for place, fields in lines:
        with _placed(place):
            scores[_text(fields, "query"), _text(fields, "passage")] = _number(fields, "score")
    for example in examples:
        missing = [text for text in example.passages if (example.query, text) not in scores]
        if missing:
            raise InvalidInput(f"{path}: has no score for the query {example.query[:50]!r} and {missing[0][:50]!r}")
        yield replace(example, teacher=tuple(scores[example.query, text] for text in example.passages))


def _with_scores_in_order(
    examples: Iterable[Example], lines: Iterable[tuple[str, Any]], path: Path
) -> Iterator[Example]:
    rest = iter(lines)
    for number, example in enumerate(examples, start=1):
        place, value = next(rest, (str(path), None))
        if value is None:
            raise InvalidInput(f"{path}: has no scores for example {number}; it needs one line an example")
        with _placed(place):
            fields = value if isinstance(value, Mapping) else {"scores": value}
            scored = replace(example, teacher=_numbers(fields, "scores"))
        yield scored
    if next(rest, None) is not None:
        raise InvalidInput(f"{path}: has more lines than there are examples; it needs one line an example")
