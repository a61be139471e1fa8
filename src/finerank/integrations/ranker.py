"""What every integration ranks with: a model loaded here, any `Ranker`, or a server's URL. Knows no framework."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from finerank.errors import InvalidInput, InvalidSetting
from finerank.ranking import Document, Ranker, Ranking, at_least
from finerank.settings import Options, check_threshold, check_top_n

logger = logging.getLogger("finerank")


@runtime_checkable
class AsyncRanker(Protocol):
    """A `Ranker` that can be awaited without a thread."""

    async def rank_async(
        self, query: str, documents: Sequence[str | Document], *, top_n: int | None = None
    ) -> Ranking: ...


@dataclass(frozen=True, slots=True)
class Placed:
    """A document by its index among those given, and its score (0..1); None of one that has no text."""

    index: int
    score: float | None


def open_ranker(
    model: str | Path | None, ranker: Ranker | None, url: str | None, api_key: str | None, options: Options
) -> Ranker:
    """The ranker given, the server at `url`, or a model loaded with `options`; with a server `model` names one of its.

    Raises `InvalidSetting` where they contradict each other.
    """
    check_threshold(options.get("threshold"))
    given = [name for name in options if name != "threshold"]
    if ranker is not None and (model is not None or url is not None):
        raise InvalidSetting("ranker: give it alone, without model or url")
    if (ranker is not None or url is not None) and given:
        raise InvalidSetting(f"{given[0]}: is for a model loaded here; with a ranker or a url, set it there")
    if api_key is not None and url is None:
        raise InvalidSetting("api_key: goes with url")
    if ranker is not None:
        return ranker
    if url is not None:
        from finerank.remote import RemoteReranker

        return RemoteReranker(url, api_key, model=str(model) if model is not None else None)
    from finerank.reranker import Reranker

    return Reranker.from_pretrained(model, **options)


def rank(
    ranker: Ranker, query: str, documents: Sequence[Document | None], *, top_n: int | None, threshold: float | None
) -> list[Placed]:
    """The documents best first, without what scores below `threshold`. None, which stands for one without text such as
    an image, comes after them without a score, unless there is a threshold. A ranking that is degraded is logged."""
    given, indices = _with_text(documents)
    check_top_n(top_n)
    return _placed(ranker.rank(query, given, top_n=top_n), indices, len(documents), top_n, threshold)


async def rank_async(
    ranker: Ranker, query: str, documents: Sequence[Document | None], *, top_n: int | None, threshold: float | None
) -> list[Placed]:
    """`rank`, awaited: a server by its own connection, a model on a thread."""
    given, indices = _with_text(documents)
    check_top_n(top_n)
    if isinstance(ranker, AsyncRanker):
        ranking = await ranker.rank_async(query, given, top_n=top_n)
    else:
        ranking = await asyncio.to_thread(ranker.rank, query, given, top_n=top_n)
    return _placed(ranking, indices, len(documents), top_n, threshold)


def documents_of(texts: Iterable[object]) -> list[Document | None]:
    """Texts as a framework holds them, None where there is none. Raises `InvalidInput` on what is no text."""
    documents: list[Document | None] = []
    for index, text in enumerate(texts):
        if not isinstance(text, str | None):
            raise InvalidInput(f"documents[{index}].text is {type(text).__name__}, not a string")
        documents.append(Document(text) if text is not None else None)
    return documents


def _with_text(documents: Sequence[Document | None]) -> tuple[list[Document], list[int]]:
    """The documents that have a text, and where they stand."""
    indices = [index for index, document in enumerate(documents) if document is not None]
    return [document for document in documents if document is not None], indices


def _placed(
    ranking: Ranking, indices: Sequence[int], count: int, top_n: int | None, threshold: float | None
) -> list[Placed]:
    if ranking.degraded:
        logger.warning("degraded ranking", extra={"reason": ranking.degraded})
    placed = [Placed(indices[result.index], result.score) for result in at_least(ranking, threshold)]
    without = sorted(set(range(count)) - set(indices))
    if without:
        logger.warning("documents without text were not ranked", extra={"documents": len(without)})
    return [*placed, *(Placed(index, None) for index in without if not threshold)][:top_n]
