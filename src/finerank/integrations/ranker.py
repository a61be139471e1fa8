"""What every integration ranks with: a model loaded here, any `Ranker`, or a server's URL. Knows no framework."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from finerank.errors import InvalidSetting
from finerank.ranking import Document, Ranker, Ranking, at_least
from finerank.settings import Options, check_threshold, check_top_n

logger = logging.getLogger("finerank")


@runtime_checkable
class AsyncRanker(Protocol):
    """A `Ranker` that can be awaited without a thread."""

    async def rank_async(
        self, query: str, documents: Sequence[str | Document], *, top_n: int | None = None
    ) -> Ranking: ...


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
    ranker: Ranker, query: str, documents: Sequence[Document], *, top_n: int | None, threshold: float | None
) -> Ranking:
    """The ranking, without what scores below `threshold`. One that is degraded is logged."""
    check_top_n(top_n)
    return _told(at_least(ranker.rank(query, documents, top_n=top_n), threshold))


async def rank_async(
    ranker: Ranker, query: str, documents: Sequence[Document], *, top_n: int | None, threshold: float | None
) -> Ranking:
    """`rank`, awaited: a server by its own connection, a model on a thread."""
    check_top_n(top_n)
    if isinstance(ranker, AsyncRanker):
        ranking = await ranker.rank_async(query, documents, top_n=top_n)
    else:
        ranking = await asyncio.to_thread(ranker.rank, query, documents, top_n=top_n)
    return _told(at_least(ranking, threshold))


def _told(ranking: Ranking) -> Ranking:
    if ranking.degraded:
        logger.warning("degraded ranking", extra={"reason": ranking.degraded})
    return ranking
