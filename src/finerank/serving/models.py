"""The models a server holds: loaded in the background, swapped and unloaded while requests go on.

Lives on the event loop: nothing here is called from another thread but loading and closing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from finerank.errors import FinerankError, NotFound, Unavailable
from finerank.monitoring.monitor import Monitor
from finerank.reranker import Reranker
from finerank.scoring.scorer import Scorer
from finerank.serving.scheduler import BatchFacts, Scheduler

logger = logging.getLogger("finerank")

State = Literal["unloaded", "loading", "ready", "failed"]
Load = Callable[[str], Reranker]


@dataclass(eq=False, slots=True)
class LoadedModel:
    """One loading of a model, `owner`, and the queue in front of it. `reranker` scores through the queue, and takes the
    first look of effort="fast" through the queue `look`."""

    reranker: Reranker
    scheduler: Scheduler
    look: Scheduler | None
    owner: Reranker
    users: int = 0
    retired: bool = False
    used: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.time)

    @property
    def queues(self) -> list[Scheduler]:
        """In the order in which a request is in them."""
        return [queue for queue in (self.look, self.scheduler) if queue is not None]

    def close(self) -> None:
        """Finish what is queued, then release the model. Blocks."""
        for queue in self.queues:
            queue.close()
        self.owner.close()


class ServedModel:
    """A model by its name: at any time unloaded, loading, ready or failed."""

    def __init__(self, name: str, load: Load, monitor: Monitor, *, max_queue_tokens: int) -> None:
        self.name = name
        self.error = ""
        self._load = load
        self._max_queue_tokens = max_queue_tokens
        self._monitor = monitor
        self._swap = asyncio.Lock()
        self._loaded: LoadedModel | None = None
        self._loading: asyncio.Task[LoadedModel] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> State:
        if self._loaded is not None:
            return "ready"
        if self._loading is not None:
            return "loading"
        return "failed" if self.error else "unloaded"

    @property
    def loaded(self) -> LoadedModel | None:
        """What is loaded, to look at; to score with it, `use` it."""
        return self._loaded

    @asynccontextmanager
    async def use(self) -> AsyncIterator[LoadedModel]:
        """The loaded model, for as long as the block lasts; loads it first if it is unloaded.

        Raises `Unavailable` when it cannot be loaded.
        """
        loaded = self._loaded or await self.ready()
        loaded.users += 1
        try:
            yield loaded
        finally:
            loaded.users -= 1
            loaded.used = time.monotonic()
            if loaded.retired and not loaded.users:
                self._close(loaded)

    async def ready(self) -> LoadedModel:
        """Load the model, unless it is; callers share one loading, and whoever is cancelled does not stop it."""
        if self._loaded is not None:
            return self._loaded
        if self._loading is None:
            self._loading = asyncio.create_task(self._open(self.name))
            self._loading.add_done_callback(self._settle)
        try:
            return await asyncio.shield(self._loading)
        except FinerankError as error:
            raise Unavailable(f"model {self.name}: {error}", retry_after_s=10) from error

    async def replace(self, name: str) -> None:
        """Load a model beside this one, then let it take this one's place and name. No request is dropped.

        Raises what loading it raised; the old one then goes on.
        """
        async with self._swap:
            new = await self._open(name)
            old, self._loaded, self.name, self.error = self._loaded, new, name, ""
        self._monitor.swapped()
        if old is not None:
            self._retire(old)

    def unload_if_unused(self, seconds: float) -> None:
        """Release the model if nobody has used it for so long."""
        loaded = self._loaded
        if loaded is not None and not loaded.users and time.monotonic() - loaded.used >= seconds:
            self._loaded = None
            self._retire(loaded)
            logger.info("model unloaded", extra={"model": self.name, "unused_s": seconds})

    async def close(self) -> None:
        """Release the model after what is queued."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self._close(loaded)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _open(self, name: str) -> LoadedModel:
        start = time.monotonic()
        reranker = await asyncio.to_thread(self._load, name)
        scorer = reranker.scorer
        if not isinstance(scorer, Scorer):
            raise TypeError(f"{type(scorer).__name__} has a queue already")
        scheduler = Scheduler(scorer, max_queue_tokens=self._max_queue_tokens, on_batch=self._forwarded)
        looker = reranker.first_look.scorer if reranker.first_look else None
        look = Scheduler(looker, max_queue_tokens=self._max_queue_tokens) if isinstance(looker, Scorer) else None
        device, seconds = reranker.device, time.monotonic() - start
        facts = {"model": reranker.model, "device": device.name, "precision": device.precision}
        logger.info("model loaded", extra={**facts, "seconds": round(seconds, 3)})
        self._monitor.loaded(reranker.model, seconds)
        return LoadedModel(reranker.scoring_with(scheduler, look), scheduler, look, reranker)

    def _forwarded(self, batch: BatchFacts) -> None:
        self._monitor.forwarded(batch.pairs, batch.tokens, batch.room, batch.seconds)

    def _settle(self, task: asyncio.Task[LoadedModel]) -> None:
        self._loading = None
        if task.cancelled():
            return
        error = task.exception()
        self.error = str(error) if error else ""
        if error is None:
            self._loaded = task.result()
        else:
            logger.error("model not loaded", extra={"model": self.name, "error": self.error})

    def _retire(self, loaded: LoadedModel) -> None:
        loaded.retired = True
        if not loaded.users:
            self._close(loaded)

    def _close(self, loaded: LoadedModel) -> None:
        self._monitor.unloaded(loaded.reranker.model)
        task = asyncio.create_task(asyncio.to_thread(loaded.close))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class ServedModels:
    """The models of a server: the first is the default, and answers to any name that no other has."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = list(models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    @property
    def default(self) -> ServedModel:
        return self._models[0]

    def queued(self) -> tuple[int, int]:
        """Pairs and tokens that wait, for all models; may be called on any thread."""
        loaded = [model.loaded for model in self._models if model.loaded is not None]
        counts = [queue.queued for one in loaded for queue in one.queues]
        return sum(pairs for pairs, _ in counts), sum(tokens for _, tokens in counts)

    def abort(self, error: Exception) -> None:
        """Give every waiting request this error."""
        for model in self._models:
            if model.loaded is not None:
                for queue in model.loaded.queues:
                    queue.abort(error)

    def named(self, name: str | None, *, strictly: bool = False) -> ServedModel:
        """The model a request means. Callers of other servers send those servers' names: these get the default, unless
        `strictly`: then `NotFound` is raised."""
        if name is None:
            return self.default
        for model in self._models:
            if name == model.name or (model.loaded is not None and name == model.loaded.reranker.model):
                return model
        if strictly:
            names = ", ".join(model.name for model in self._models)
            raise NotFound(f"model: {name!r} is not served here; there are {names}")
        return self.default
