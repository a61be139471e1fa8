"""A store's folder and settings to a pipeline. Loads the embedder and finds the generator; is given the rankers."""

from collections.abc import Callable
from pathlib import Path

from finerank.errors import InvalidSetting
from finerank.rag import answer_cache
from finerank.rag.answer_cache import AnswerCache
from finerank.rag.gate import read_evidence
from finerank.rag.generate import ChatEndpoint, Generator
from finerank.rag.pipeline import CacheKey, Pipeline
from finerank.ranking import Ranker
from finerank.retrieval.embed import Embedder, absolute_name, load_embedder
from finerank.retrieval.endpoint import Endpoint
from finerank.retrieval.retriever import StoreRetriever
from finerank.retrieval.store import Made, Store
from finerank.settings import RagSettings


def open_pipeline(
    folder: Path,
    ranker: Ranker,
    settings: RagSettings | None = None,
    *,
    model: str = "",
    light: Ranker | None = None,
    alert: Callable[[], str] = lambda: "",
) -> Pipeline:
    """The pipeline over the store in `folder`. `model` is the ranker's name, by which evidence about it is kept.

    Raises `StoreNotFound`, `StoreError`, `InvalidSetting`.
    """
    settings = settings or RagSettings.load()
    retriever = open_retriever(folder, settings)
    answers = None
    if settings.answer_cache_s:
        cache = AnswerCache(folder / answer_cache.FILE, settings.answer_cache_s)
        answers = CacheKey(cache, lambda: retriever.store.version)
    return Pipeline(
        retriever,
        ranker,
        settings=settings,
        generator=open_generator(settings),
        light=light,
        model=model,
        evidence=read_evidence(folder, model),
        alert=alert,
        answers=answers,
    )


def open_retriever(folder: Path, settings: RagSettings) -> StoreRetriever:
    """The retriever of a store, with the embedder that the store was made with."""
    store = Store.open(folder)
    embedder = load_embedder(store.made.embedder, model=store.made.embedder_model, key=settings.embedder_key)
    return StoreRetriever(store, embedder, settings.mode)


def open_embedder(settings: RagSettings) -> tuple[Embedder, Made]:
    """The embedder the settings name, and what a store made with it says of it."""
    name = absolute_name(settings.embedder)
    embedder = load_embedder(name, model=settings.embedder_model, key=settings.embedder_key)
    dimensions = int(embedder.embed_queries(["dimensions"]).shape[1])
    return embedder, Made(name, settings.embedder_model, dimensions)


def open_generator(settings: RagSettings) -> Generator | None:
    """The generator the settings name, None if they name none."""
    if not settings.generator_url:
        return None
    if not settings.generator_model:
        raise InvalidSetting(f"generator_url={settings.generator_url}: name the model too (generator_model)")
    endpoint = Endpoint(settings.generator_url, settings.generator_key, settings.generator_timeout_s)
    return ChatEndpoint(endpoint, settings.generator_model, settings.generator_max_tokens)
