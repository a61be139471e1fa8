"""`finerank mcp`: the reranker and a store's search as tools for assistants (Model Context Protocol, over stdio).

The protocol's library sends whatever else is printed meanwhile to standard error.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finerank import __version__
from finerank.cli import options
from finerank.errors import FinerankError, InvalidSetting, MissingExtra
from finerank.ranking import Ranker
from finerank.settings import RagSettings

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from finerank.rag.pipeline import Pipeline


# Without slots: the protocol's library takes a slot for a default.
@dataclass(frozen=True)
class RankedText:
    """A document of the `rerank` tool. `index` is its place among those given, from 0."""

    index: int
    score: float
    logit: float
    text: str
    truncated: bool


@dataclass(frozen=True)
class Reranked:
    """`degraded` is empty, or says why the ranking is not as asked."""

    results: list[RankedText]
    degraded: str


@dataclass(frozen=True)
class Passage:
    """A passage of the `search` tool. `metadata` says where it stands: source, start and end, page, heading."""

    text: str
    score: float | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """`order` says whether the reranker's order counts, and why; `notes` what was not as asked."""

    passages: list[Passage]
    order: str
    notes: list[str]


def mcp(
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="a store's folder, for the tool search", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="rank on this finerank server, in the place of a model here", show_default=False)
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="the server's key", envvar="FINERANK_API_KEY", show_default=False)
    ] = None,
    model: options.Model = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    max_length: options.MaxLength = None,
    long_documents: options.LongDocuments = None,
    cache: options.Cache = None,
) -> None:
    """Offer the tools rerank and (with --store) search to an assistant that speaks the Model Context Protocol."""
    load = {
        "device": device, "dtype": dtype, "max_length": max_length, "long_documents": long_documents, "cache": cache,
    }  # fmt: skip
    with ExitStack() as opened:
        server = _new_server(store)
        ranker, name = _open_ranker(opened, model, url, api_key, load)
        tools: list[Callable[..., object]] = [_rerank_tool(ranker)]
        if store is not None:
            tools.append(_search_tool(_open_pipeline(opened, store, ranker, name)))
        for tool in tools:
            server.add_tool(tool, description=getdoc(tool), structured_output=True)
        server.run()


def _new_server(store: Path | None) -> "MCPServer[Any]":
    """A server without tools. Raises `StoreNotFound` before a model is loaded in vain."""
    try:
        from mcp.server import MCPServer
    except ImportError as error:
        raise MissingExtra("finerank mcp", "mcp") from error
    search = ""
    if store is not None:
        from finerank.retrieval.store import Store

        Store.open(store)
        search = " `search` finds passages in the user's own documents."
    return MCPServer(
        "finerank",
        version=__version__,
        instructions=f"`rerank` puts texts in order of how well they answer a query.{search}",
        log_level="WARNING",  # what it logs below that quotes requests
    )


def _open_ranker(
    opened: ExitStack, model: str | None, url: str | None, api_key: str | None, load: dict[str, Any]
) -> tuple[Ranker, str]:
    """The ranker, and its name."""
    if url is None:
        # The pipeline has its own threshold, and the client sees every score.
        reranker = opened.enter_context(options.load_reranker(model, **load, threshold=0.0))
        return reranker, reranker.model
    from finerank.remote import RemoteReranker

    given = [name for name, value in load.items() if value is not None]
    if given:
        raise InvalidSetting(f"{given[0]}: is for a model loaded here; with --url, set it on the server")
    remote = opened.enter_context(RemoteReranker(url, api_key, model=model))
    return remote, model or url


def _open_pipeline(opened: ExitStack, store: Path, ranker: Ranker, name: str) -> "Pipeline":
    from finerank.rag.open import open_pipeline

    settings = RagSettings.load()
    light = None
    if settings.light_model:
        light = opened.enter_context(options.load_reranker(settings.light_model, threshold=0.0, effort="full"))
    return open_pipeline(store, ranker, settings, model=name, light=light)


def _rerank_tool(ranker: Ranker) -> Callable[..., Reranked]:
    from mcp.server.mcpserver.exceptions import ToolError

    def rerank(query: str, documents: list[str], top_n: int | None = None) -> Reranked:
        """Put documents in order of how well they answer the query, best first.

        A score lies between 0 and 1: the model's sigmoid, not a probability. top_n keeps the first n.
        """
        try:
            ranking = ranker.rank(query, documents, top_n=top_n)
        except FinerankError as error:
            raise ToolError(str(error)) from error
        results = [
            RankedText(result.index, result.score, result.logit, result.document.text, result.truncated)
            for result in ranking
        ]
        return Reranked(results, ranking.degraded)

    return rerank


def _search_tool(pipeline: "Pipeline") -> Callable[..., Found]:
    from mcp.server.mcpserver.exceptions import ToolError

    from finerank.retrieval.where import Filter

    def search(question: str, where: list[str] | None = None) -> Found:
        """Find the passages of the user's documents that answer the question, best first.

        where filters by metadata, such as ["lang=zh", "year>=2020", "source~manual"].
        """
        try:
            found = pipeline.search(question, where=Filter.parse(where or []))
        except FinerankError as error:
            raise ToolError(str(error)) from error
        passages = [Passage(each.document.text, each.score, dict(each.document.metadata)) for each in found.passages]
        return Found(passages, f"{found.decision.order}: {found.decision.why}", list(found.notes))

    return search
