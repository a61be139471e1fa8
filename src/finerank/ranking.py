"""The vocabulary every stage speaks: documents in, a `Ranking` out. Knows nothing about models."""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast, overload

from finerank.errors import InvalidInput, ScoreError
from finerank.messages import Message

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """A candidate passage. `id` and `metadata` come back untouched. Its hash is that of `text` and `id`.

    >>> Document("Hold the reset button for ten seconds.", id="kb-7", metadata={"source": "manual"}).id
    'kb-7'
    """

    text: str
    id: str | int | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)  # compared, and often not hashable


Documents = Iterable[str | Document | Mapping[str, object]]
"""What a ranking takes; `check_documents` says which mappings, and what else."""


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document with what the model said of it.

    `logit` is the model's raw output; `score` is sigmoid(logit) in float64. `index` is the caller's position (from
    0), `rank` the place in the ranking (from 1). `truncated`: part of the pair was cut away before scoring.
    `best_span`: where the best-scoring passage of a chunked document lies, as character offsets [start, end) into
    the document's own text. `probability` that the document is relevant: only where a calibration was fitted.
    """

    document: Document
    score: float
    logit: float
    index: int
    rank: int
    truncated: bool = False
    best_span: Span | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a ranking took: pairs and their tokens (those the cache answered too), documents truncated, pairs answered
    by the cache, documents that effort="fast" left out, and seconds by stage. A chunked document counts one pair a
    passage.

    `rank_many` shares its stages between requests: each ranking then carries the seconds of the whole call.
    """

    pairs: int = 0
    tokens: int = 0
    truncated: int = 0
    cached: int = 0
    skipped: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[RankedDocument]):
    """Ranked documents, best first; behaves as a sequence of them.

    `degraded` is empty, or says in words why the ranking was not made as asked (a fallback to the CPU, say).
    """

    results: tuple[RankedDocument, ...]
    model: str
    usage: Usage = field(default_factory=Usage)
    degraded: str = ""

    @overload
    def __getitem__(self, index: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RankedDocument, ...]: ...
    def __getitem__(self, index: int | slice) -> RankedDocument | tuple[RankedDocument, ...]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.results)


@dataclass(frozen=True, slots=True)
class PairScore:
    """The score of one query-passage pair, with the marks of `RankedDocument` and `Ranking`."""

    score: float
    logit: float
    truncated: bool = False
    degraded: str = ""
    probability: float | None = None


class Ranker(Protocol):
    """Whatever puts documents in order: a local model, an HTTP client, a remote handle."""

    def rank(self, query: str, documents: Sequence[str | Document], *, top_n: int | None = None) -> Ranking: ...


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)) in float64, without overflow at either end.

    In float32 it reaches exactly 1.0 near logit 17 and makes ties at the top.
    """
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1 + power)


def rank_by_score(
    documents: Sequence[Document],
    logits: Sequence[float | None],
    *,
    truncated: Sequence[bool] | None = None,
    best_spans: Sequence[Span | None] | None = None,
    probabilities: Sequence[float] | None = None,
    top_n: int | None = None,
    threshold: float | None = None,
) -> tuple[RankedDocument, ...]:
    """Sort documents by logit, best first; equal logits keep the caller's order, and one with None is left out.

    `threshold` drops documents whose score (0..1) is below it, `top_n` keeps the first n of the rest.
    Raises `ScoreError` on NaN or infinity, naming the document's index.
    """
    for index, logit in enumerate(logits):
        if logit is not None and not math.isfinite(logit):
            raise ScoreError(
                Message(
                    "documents[{index}]: the model answered {logit}. Load it with dtype='fp32' (half precision may "
                    "overflow); if that fails too, its weights are damaged.",
                    "documents.nan",
                    index=index,
                    logit=logit,
                )
            )
    given = [(logit, index) for index, logit in enumerate(logits) if logit is not None]
    scored = [(index, logit, sigmoid(logit)) for logit, index in sorted(given, key=lambda one: (-one[0], one[1]))]
    if threshold is not None:
        scored = [each for each in scored if each[2] >= threshold]
    return tuple(
        RankedDocument(
            document=documents[index],
            score=score,
            logit=logit,
            index=index,
            rank=rank,
            truncated=truncated[index] if truncated is not None else False,
            best_span=best_spans[index] if best_spans is not None else None,
            probability=probabilities[index] if probabilities is not None else None,
        )
        for rank, (index, logit, score) in enumerate(scored[:top_n], start=1)
    )


def at_least(ranking: Ranking, threshold: float | None) -> Ranking:
    """The ranking without what scores below `threshold` (0..1). One that was never scored stays as it is: a server
    that fails open gives the caller's own order back, with scores of 0."""
    unscored = ranking.degraded and not ranking.usage.pairs
    if threshold is None or unscored:
        return ranking
    return replace(ranking, results=tuple(result for result in ranking if result.score >= threshold))


def check_pairs(pairs: object) -> list[tuple[str, Document]]:
    """The pairs, if each is a query and a passage; else `InvalidInput` naming the index."""
    checked = []
    for index, pair in enumerate(_items(pairs, "pairs", "a list of (query, passage)")):
        two = _two(pair)
        if two is None:
            raise InvalidInput(f"pairs[{index}] is {_kind(pair)}; it must be a query and a passage")
        passage = _document(two[1])
        if passage is None:
            raise InvalidInput(f"pairs[{index}]: the passage is {_kind(two[1])}; it must be a string")
        checked.append((two[0], passage))
    return checked


def check_request(request: object) -> tuple[str, Documents]:
    """The request, if it is two things; else `InvalidInput`. What they are is not looked at."""
    two = _two(request)
    if two is None:
        raise InvalidInput(f"a request is {_kind(request)}; it must be a query and its documents")
    return two


_FILLERS = frozenset("\u115f\u1160\u2065\u2800\u3164\uffa0")
"""Blank, and of a category of visible characters."""


_GLANCE = 64
"""Characters looked at one by one; of a text with none visible among them the others are looked at once each."""


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: it is empty, or white space, control and format characters, combining
    marks without a letter, and fillers.

    >>> is_blank(" \u200b\ufe0f"), is_blank("?")
    (True, False)
    """
    return not any(map(_is_visible, text[:_GLANCE])) and not any(map(_is_visible, set(text[_GLANCE:])))


def _is_visible(character: str) -> bool:
    category, code = unicodedata.category(character), ord(character)
    if category == "Cn":  # newer than Python's tables, unless it is reserved as invisible or as no character
        reserved = code >> 12 == 0xE0 or 0xFFF0 <= code <= 0xFFF8
        return not (reserved or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF)
    return category not in ("Cc", "Cf") and category[0] not in "ZM" and character not in _FILLERS


def check_query(query: object) -> str:
    """The query, if it is text with something in it; else `InvalidInput`."""
    if not isinstance(query, str):
        raise InvalidInput(f"query is {_kind(query)}; it must be a string")
    if is_blank(query):
        if query.strip():
            message = "query is empty: it has only invisible characters ({characters}); there is nothing to rank by"
            raise InvalidInput(Message(message, "query.invisible", characters=_code_points(query)))
        raise InvalidInput(Message("query is empty; there is nothing to rank by", "query.empty"))
    return query


def _code_points(text: str) -> str:
    first = [f"U+{ord(character):04X}" for character in dict.fromkeys(text) if not character.isspace()]
    return ", ".join(first[:3]) + (", ..." if len(first) > 3 else "")


def check_documents(documents: object) -> list[Document]:
    """The documents as `Document`s; `InvalidInput` naming the index of what is none.

    Any iterable of them will do: a list, a generator, an array of NumPy, a column of pandas. A document is a string, a
    `Document`, a mapping with its text under "text", "content" or "page_content", or an object with such an attribute,
    as other frameworks have. An empty document is no error: it is scored as an empty passage, so that none is lost.
    """
    checked = []
    for index, given in enumerate(_items(documents, "documents", "a list of strings or Documents")):
        document = _document(given)
        if document is None:
            raise InvalidInput(f"documents[{index}]{_wrong_document(given)}")
        checked.append(document)
    return checked


_TEXT_FIELDS = ("text", "content", "page_content")
_METADATA_FIELDS = ("metadata", "meta")


def _document(given: object) -> Document | None:
    """The document, None if it has no text."""
    if hasattr(given, "as_py"):  # of pyarrow
        given = given.as_py()
    if isinstance(given, RankedDocument):
        return given.document
    if isinstance(given, str):
        return Document(str.__str__(given))  # NumPy's strings as Python's
    if isinstance(given, Document):
        return given if isinstance(given.text, str) else None
    fields: Any = given if isinstance(given, Mapping) else _Attributes(given)
    name = next((name for name in _TEXT_FIELDS if isinstance(fields.get(name), str)), None)
    if name is None:
        return None
    key = next((key for key in _METADATA_FIELDS if isinstance(fields.get(key), Mapping)), None)
    others = {other: value for other, value in fields.items() if other not in (name, key, "id")}
    metadata = fields.get(key) if key else {}
    id_ = fields.get("id")
    return Document(
        str.__str__(fields.get(name)),
        id=id_ if isinstance(id_, str | int) else None,
        metadata={**others, **metadata},
    )


class _Attributes:
    """An object's attributes, as far as a document has them, read as a mapping is."""

    def __init__(self, given: object) -> None:
        self._given = given

    def get(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        return getattr(self._given, name, None)

    def items(self) -> Iterable[tuple[str, object]]:
        return ()


def _wrong_document(given: object) -> str:
    fields = ", ".join(map(repr, _TEXT_FIELDS))
    if isinstance(given, Document):
        return f".text is {_kind(given.text)}; it must be a string"
    if isinstance(given, Mapping):
        return f" has no text: it must be a string under one of {fields}"
    return f" is {_kind(given)}; it must be a string or a Document"


def _items(given: object, name: str, wanted: str) -> Iterable[object]:
    """What an iterable holds; `InvalidInput` for what is one by accident, such as a string or a table."""
    lone = isinstance(given, str | bytes | Document | Mapping) or getattr(given, "ndim", 1) == 0
    if lone or not isinstance(given, Iterable):
        raise InvalidInput(f"{name} is {_kind(given)}; it must be {wanted}")
    if hasattr(given, "columns"):  # of pandas or polars, which give the names of their columns, or these
        if name == "pairs" and hasattr(given, "to_numpy"):
            return given.to_numpy()  # type: ignore[no-any-return]
        raise InvalidInput(f"{name} is {_kind(given)}; give the column with the texts")
    return given


def _two(given: object) -> tuple[Any, Any] | None:
    """Two things in order: a tuple, a list, or the row of an array."""
    ordered = isinstance(given, Sequence) or (hasattr(given, "__array__") and hasattr(given, "__len__"))
    if isinstance(given, str | bytes) or not ordered:
        return None
    items: list[Any] = list(cast("Iterable[Any]", given))
    return (items[0], items[1]) if len(items) == 2 else None


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
