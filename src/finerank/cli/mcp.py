"""`finerank mcp`: the reranker and a store's documents as tools for assistants (Model Context Protocol, over stdio).

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
from finerank.errors import FinerankError, InvalidInput, InvalidSetting, MissingExtra
from finerank.ranking import Ranker
from finerank.settings import RagSettings

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from finerank.rag.pipeline import Pipeline


_MOST_DOCUMENTS = 200
_MOST_PASSAGES = 100


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
    below_threshold: bool = False


@dataclass(frozen=True)
class Found:
    """`order` says whether the reranker's order counts, and why; `notes` what was not as asked."""

    passages: list[Passage]
    order: str
    notes: list[str]


@dataclass(frozen=True)
class Cited:
    """What [number] in an answer refers to."""

    number: int
    source: str
    key: str
    heading: str
    page: int | None
    text: str


@dataclass(frozen=True)
class Answered:
    """`kind` is generated (by a model), extractive (sentences of the passages), or unknown; `notes` say what was not as
    asked."""

    answer: str
    kind: str
    citations: list[Cited]
    notes: list[str]


@dataclass(frozen=True)
class ListedDocument:
    """A file of the store, or with a `key` a record in one."""

    source: str
    key: str
    title: str
    date: str
    passages: int


@dataclass(frozen=True)
class Listed:
    """`total` documents, from `offset` on; `next_offset` is null after the last."""

    documents: list[ListedDocument]
    total: int
    next_offset: int | None


@dataclass(frozen=True)
class ReadPassage:
    """A passage by its `number` in the document, from 0, without what it repeats of the one before."""

    number: int
    text: str
    heading: str
    page: int | None


@dataclass(frozen=True)
class ReadDocument:
    """`total` passages, from the first one asked for; `next_passage` is null after the last."""

    source: str
    key: str
    passages: list[ReadPassage]
    total: int
    next_passage: int | None


def mcp(
    store: Annotated[
        Path | None,
        typer.Option("--store", "-s", help="a store's folder, for the other tools", show_default=False),
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
    """Offer tools to an assistant that speaks the Model Context Protocol: rerank, and with --store search, ask, list
    and read."""
    load = {
        "device": device, "dtype": dtype, "max_length": max_length, "long_documents": long_documents, "cache": cache,
    }  # fmt: skip
    if url is None:
        options.check_engine(model, **load)
    with ExitStack() as opened:
        server = _new_server(store)
        ranker, name = _open_ranker(opened, model, url, api_key, load)
        tools: list[Callable[..., object]] = [_rerank_tool(ranker)]
        if store is not None:
            pipeline = _open_pipeline(opened, store, ranker, name)
            tools += [_search_tool(pipeline), _ask_tool(pipeline), *_document_tools(store)]
        for tool in tools:
            server.add_tool(tool, description=getdoc(tool), structured_output=True)
        server.run()


def _new_server(store: Path | None) -> "MCPServer[Any]":
    """A server without tools. Raises `StoreNotFound` before a model is loaded in vain."""
    try:
        from finerank.cli.mcp_server import StrictServer
    except ImportError as error:
        raise MissingExtra("finerank mcp", "mcp") from error
    documents = ""
    if store is not None:
        from finerank.retrieval.store import Store

        Store.open(store)
        documents = (
            " The user's own documents are in a store: `search` finds passages in them, `ask` answers a question from "
            "them with citations, `list` names them, `read` reads one."
        )
    return StrictServer(
        "finerank",
        version=__version__,
        instructions=f"`rerank` puts texts in order of how well they answer a query.{documents}",
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

        where filters by metadata, such as ["lang=zh", "year>=2020", "source~manual", "status in (draft, final)"]. If
        no passage scores enough to answer, the best of the others come, marked below_threshold.
        """
        try:
            found = pipeline.search(question, where=Filter.parse(where or []))
        except FinerankError as error:
            raise ToolError(str(error)) from error
        limit = pipeline.settings.threshold
        weak = [drop.passage for drop in found.dropped if drop.passage.score is not None and drop.passage.score < limit]
        passages = [
            Passage(each.document.text, each.score, dict(each.document.metadata), not found.passages)
            for each in found.passages or weak[: pipeline.settings.prompt_top]
        ]
        return Found(passages, f"{found.decision.order}: {found.decision.why}", list(found.notes))

    return search


def _ask_tool(pipeline: "Pipeline") -> Callable[..., Answered]:
    from mcp.server.mcpserver.exceptions import ToolError

    from finerank.retrieval.where import Filter

    def ask(question: str, where: list[str] | None = None) -> Answered:
        """Answer the question from the user's documents, citing passages as [1].

        where filters by metadata, as in search. Without a generator the answer is made of the passages' own sentences.
        """
        try:
            answer = pipeline.ask(question, where=Filter.parse(where or []))
        except FinerankError as error:
            raise ToolError(str(error)) from error
        citations = [
            Cited(each.number, each.source, each.key, each.heading, each.page, passage.document.text)
            for each in answer.citations
            for passage in (answer.passages[each.number - 1],)
        ]
        return Answered(answer.text, answer.kind, citations, list(answer.notes))

    return ask


def _document_tools(folder: Path) -> list[Callable[..., object]]:
    from mcp.server.mcpserver.exceptions import ToolError

    from finerank.retrieval.catalog import list_documents, read_document
    from finerank.retrieval.store import Store
    from finerank.retrieval.where import Filter

    store = Store.open(folder)

    def list_(where: list[str] | None = None, offset: int = 0, limit: int = 50) -> Listed:
        """List the user's documents: files, and records in files, with how many passages each has.

        where filters by metadata, as in search; limit is 1 to 200. Go on from next_offset.
        """
        try:
            _check_range("limit", limit, 1, _MOST_DOCUMENTS)
            _check_range("offset", offset, 0)
            found, total = list_documents(store, Filter.parse(where or []), offset, limit)
        except FinerankError as error:
            raise ToolError(str(error)) from error
        documents = [ListedDocument(each.source, each.key, each.title, each.date, each.passages) for each in found]
        return Listed(documents, total, offset + len(found) if found and offset + len(found) < total else None)

    def read(source: str, key: str = "", first_passage: int = 0, limit: int = 20) -> ReadDocument:
        """Read a document of the user's: its passages from first_passage on, in order.

        source is its path, or the end of it, as list and search give it; key is a record's in it. limit is 1 to 100
        passages; long ones are fewer. Go on from next_passage.
        """
        try:
            _check_range("limit", limit, 1, _MOST_PASSAGES)
            _check_range("first_passage", first_passage, 0)
            found = read_document(store, source, key, first_passage, limit=limit)
        except FinerankError as error:
            raise ToolError(str(error)) from error
        passages = [
            ReadPassage(number, text, str(each.metadata.get("heading") or ""), _page(each.metadata.get("page")))
            for number, (each, text) in enumerate(zip(found.passages, found.texts, strict=True), start=first_passage)
        ]
        following = first_passage + len(passages)
        return ReadDocument(found.source, key, passages, found.total, following if following < found.total else None)

    list_.__name__ = "list"
    return [list_, read]


def _check_range(name: str, value: int, least: int, most: int | None = None) -> None:
    if value < least or (most is not None and value > most):
        raise InvalidInput(f"{name}={value}: must be at least {least}" + (f", and at most {most}" if most else ""))


def _page(page: object) -> int | None:
    return page if isinstance(page, int) else None
