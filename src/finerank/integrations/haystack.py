"""Haystack: a ranker component.

>>> pipeline.add_component("ranker", FinerankRanker("BAAI/bge-reranker-v2-m3", top_k=5))   # doctest: +SKIP
>>> pipeline.connect("retriever", "ranker")                                               # doctest: +SKIP
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, Unpack

from finerank.errors import InvalidSetting, MissingExtra
from finerank.integrations.ranker import Placed, documents_of, open_ranker, rank, rank_async
from finerank.ranking import Document, Ranker
from finerank.settings import Options

try:
    from haystack import Document as HaystackDocument
    from haystack import component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError as error:
    raise MissingExtra("the Haystack integration", "haystack") from error


@component
class FinerankRanker:
    """Copies of the documents, best first, each with its score (0..1). Those without `content`, such as images, come
    last and have none.

    Ranks with a model loaded here (`options` are those of `Reranker.from_pretrained`), with any `ranker`, or with the
    server at `url`. The model is loaded by `warm_up`, or by the first run.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        ranker: Ranker | None = None,
        url: str | None = None,
        api_key: Secret | None = None,
        top_k: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.model = model
        self.url = url
        self.api_key = api_key
        self.top_k = top_k
        self.options = options
        self._given = ranker
        self._ranker: Ranker | None = None

    def warm_up(self) -> None:
        """Load the model."""
        self._open()

    async def warm_up_async(self) -> None:
        """Load the model, on a thread."""
        await asyncio.to_thread(self._open)

    def to_dict(self) -> dict[str, Any]:
        """The component as a pipeline's file holds it. Raises `InvalidSetting` for a `ranker`, which no file can."""
        if self._given is not None:
            raise InvalidSetting("ranker: an object cannot be written into a pipeline's file; use model or url")
        model = str(self.model) if self.model is not None else None
        secret = self.api_key.to_dict() if self.api_key is not None else None
        return default_to_dict(self, model=model, url=self.url, api_key=secret, top_k=self.top_k, **self.options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        made: Self = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[HaystackDocument])
    def run(self, query: str, documents: list[HaystackDocument], top_k: int | None = None) -> dict[str, Any]:
        """`{"documents": ...}`. `top_k` counts in the place of the component's."""
        ranking = rank(self._open(), query, _documents(documents), **self._limits(top_k))
        return {"documents": _rescored(documents, ranking)}

    @component.output_types(documents=list[HaystackDocument])
    async def run_async(
        self, query: str, documents: list[HaystackDocument], top_k: int | None = None
    ) -> dict[str, Any]:
        """`run`, awaited."""
        ranker = await asyncio.to_thread(self._open) if self._ranker is None else self._ranker
        ranking = await rank_async(ranker, query, _documents(documents), **self._limits(top_k))
        return {"documents": _rescored(documents, ranking)}

    def _open(self) -> Ranker:
        if self._ranker is None:
            key = self.api_key.resolve_value() if self.api_key is not None else None
            self._ranker = open_ranker(self.model, self._given, self.url, key, self.options)
        return self._ranker

    def _limits(self, top_k: int | None) -> dict[str, Any]:
        return {"top_n": self.top_k if top_k is None else top_k, "threshold": self.options.get("threshold")}


def _documents(documents: Sequence[HaystackDocument]) -> list[Document | None]:
    return documents_of(document.content for document in documents)


def _rescored(documents: Sequence[HaystackDocument], ranking: Sequence[Placed]) -> list[HaystackDocument]:
    return [replace(documents[placed.index], score=placed.score) for placed in ranking]
