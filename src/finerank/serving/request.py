"""A request and its answer, whatever dialect they are spoken in."""

from collections.abc import Mapping
from dataclasses import dataclass

from finerank.ranking import Document, Ranking

Json = Mapping[str, object] | list[object]


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its candidates, in the caller's order.

    `model` as the caller wrote it. `max_passage_tokens`: cut each passage to so many tokens. `max_length`: cut each
    pair to so many. `truncate` False: refuse a pair that would be cut. `chunk`: score long documents in passages; None
    is the server's setting. `tag`: the caller's name for this kind of request, for ranking health. The rest says what
    the answer holds: the first `top_n` results (None: all), the documents, and whether as strings too, logits instead
    of scores, and only results with a score of at least `threshold` (None: the server's).
    """

    query: str
    documents: tuple[Document, ...]
    model: str | None = None
    instruction: str | None = None
    max_passage_tokens: int | None = None
    max_length: int | None = None
    truncate: bool = True
    chunk: bool | None = None
    tag: str | None = None
    top_n: int | None = None
    return_documents: bool = False
    return_texts: bool = False
    raw_scores: bool = False
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked, and the ranking that answers it. Seconds in its usage are of: queue, encode, forward, total."""

    request: RerankRequest
    ranking: Ranking
    device: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What other servers' clients ask of a model before they use it. `created`: when it was loaded, in Unix seconds.
    `aliases`: its other names."""

    name: str
    device: str = "cpu"
    precision: str = "fp32"
    max_length: int = 512
    max_documents: int = 1000
    max_batch_tokens: int = 1024
    max_requests: int = 512
    version: str = ""
    created: int = 0
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer: a kind (see `PROBLEMS`), a message that names the value and the fix, the field of the
    request it concerns, and when to come again."""

    kind: str
    message: str
    field: str | None = None
    retry_after_s: int | None = None


PROBLEMS: Mapping[str, int] = {
    "invalid": 422,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "too_large": 413,
    "overloaded": 429,
    "failed": 500,
    "unavailable": 503,
    "timeout": 504,
}
"""Kinds of problem and the usual status; a dialect may use another."""
