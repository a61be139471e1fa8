"""The vocabulary every stage speaks: documents in, a `Ranking` out. Knows nothing about models."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, overload

from finerank.errors import InvalidInput, ScoreError

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """A candidate passage. `id` and `metadata` come back untouched.

    >>> Document("Hold the reset button for ten seconds.", id="kb-7", metadata={"source": "manual"}).id
    'kb-7'
    """

    text: str
    id: str | int | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)


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
    seconds: Mapping[str, float] = field(default_factory=dict)


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
                f"documents[{index}]: the model answered {logit}. Load it with dtype='fp32' (half precision may "
                "overflow); if that fails too, its weights are damaged."
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


def check_pairs(pairs: Iterable[object]) -> list[tuple[str, str]]:
    """The pairs, if each is two strings; else `InvalidInput` naming the index."""
    checked = []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidInput(f"pairs[{index}] is {_kind(pair)}; it must be a query and a passage")
        if not isinstance(pair[1], str):
            raise InvalidInput(f"pairs[{index}]: the passage is {_kind(pair[1])}; it must be a string")
        checked.append((pair[0], pair[1]))
    return checked


def check_request(request: object) -> tuple[str, Sequence[str | Document]]:
    """The request, if it is two things; else `InvalidInput`. What they are is not looked at."""
    if not isinstance(request, tuple | list) or len(request) != 2:
        raise InvalidInput(f"a request is {_kind(request)}; it must be a query and its documents")
    return request[0], request[1]


def check_query(query: object) -> str:
    """The query, if it is text with something in it; else `InvalidInput`."""
    if not isinstance(query, str):
        raise InvalidInput(f"query is {_kind(query)}; it must be a string")
    if not query.strip():
        raise InvalidInput("query is empty; there is nothing to rank by")
    return query


def check_documents(documents: object) -> list[Document]:
    """The documents as `Document`s; `InvalidInput` naming the index of one that is neither text nor a Document.

    An empty document is no error: it is scored as an empty passage, so that no document is lost.
    """
    if isinstance(documents, str | bytes | Document | Mapping) or not isinstance(documents, Iterable):
        raise InvalidInput(f"documents is {_kind(documents)}; it must be a list of strings or Documents")
    return [_check_document(index, document) for index, document in enumerate(documents)]


def _check_document(index: int, document: object) -> Document:
    if isinstance(document, Document):
        if not isinstance(document.text, str):
            raise InvalidInput(f"documents[{index}].text is {_kind(document.text)}; it must be a string")
        return document
    if not isinstance(document, str):
        raise InvalidInput(f"documents[{index}] is {_kind(document)}; it must be a string or a Document")
    return Document(document)


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
