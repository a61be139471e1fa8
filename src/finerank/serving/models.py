"""The models a server holds: loaded in the background, swapped and unloaded while requests go on.

Lives on the event loop: nothing here is called from another thread but loading and closing.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from finerank.errors import FinerankError, InvalidSetting, NotFound, Unavailable
from finerank.job import STAGES, Stage
from finerank.messages import Message, change_text, message_of
from finerank.monitoring.monitor import Monitor
from finerank.reranker import Reranker
from finerank.scoring.scorer import Scorer
from finerank.serving.scheduler import BatchFacts, Scheduler

logger = logging.getLogger("finerank")

State = Literal["unloaded", "loading", "ready", "failed"]
Load = Callable[[str], Reranker]


@dataclass(eq=False, slots=True)
class LoadedModel:
    """One loading of a model, `owner`, and the queue in front of each of its stages. `reranker` scores through them."""

    reranker: Reranker
    stages: dict[Stage, Scheduler]
    owner: Reranker
    users: int = 0
    retired: bool = False
    used: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.time)

    @property
    def scheduler(self) -> Scheduler:
        """The queue of the model itself."""
        return self.stages["score"]

    @property
    def queues(self) -> list[Scheduler]:
        """In the order in which a request is in them."""
        return [self.stages[stage] for stage in STAGES if stage in self.stages]

    def close(self) -> None:
        """Finish what is queued, then release the model. Blocks."""
        for queue in self.queues:
            queue.close()
        self.owner.close()


class ServedModel:
    """A model: at any time unloaded, loading, ready or failed.

    `source` is what is loaded; callers know it by `names`, the first of which is in every answer. These are `aliases`
    if given, else the source, of a local one the last part of the path: no answer tells where files are.
    """

    def __init__(
        self, source: str, load: Load, monitor: Monitor, *, max_queue_tokens: int, aliases: Sequence[str] = ()
    ) -> None:
        self._aliases = tuple(dict.fromkeys(aliases))
        self._rename(source)
        self.error = ""
        self._load = load
        self._max_queue_tokens = max_queue_tokens
        self._monitor = monitor
        self._swap = asyncio.Lock()
        self._loaded: LoadedModel | None = None
        self._loading: asyncio.Task[LoadedModel] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def is_called(self, name: str) -> bool:
        return name in self.names or name == self.source

    def hide_path(self, text: str) -> str:
        """The text with the model's name where its path was."""
        return hide_path(text, self._paths, self.name)

    def _rename(self, source: str) -> None:
        self.source = source
        self.names = self._aliases or (_public_name(source),)
        self.name = self.names[0]
        self._paths = ways_to_write(source)

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
            self._loading = asyncio.create_task(self._open(self.source))
            self._loading.add_done_callback(self._settle)
        try:
            return await asyncio.shield(self._loading)
        except FinerankError as error:
            raise Unavailable(
                Message(
                    "model {model}: {why}",
                    "model.unavailable",
                    model=self.name,
                    why=change_text(message_of(error), self.hide_path),
                ),
                retry_after_s=10,
            ) from error

    async def replace(self, source: str) -> None:
        """Load a model beside this one, then let it take this one's place. Aliases stay. No request is dropped.

        Raises what loading it raised; the old one then goes on.
        """
        async with self._swap:
            new = await self._open(source)
            old, self._loaded, self.error = self._loaded, new, ""
            self._rename(source)
        self._monitor.swapped()
        if old is not None:
            self._retire(old)

    def unload_if_unused(self, seconds: float) -> None:
        """Release the model if nobody has used it for so long."""
        loaded = self._loaded
        if loaded is not None and not loaded.users and time.monotonic() - loaded.used >= seconds:
            self._loaded = None
            self._retire(loaded)
            logger.info("model unloaded", extra={"model": self.source, "unused_s": seconds})

    async def close(self) -> None:
        """Release the model after what is queued."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self._close(loaded)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _open(self, source: str) -> LoadedModel:
        start = time.monotonic()
        reranker = await asyncio.to_thread(self._load, source)
        stages: dict[Stage, Scheduler] = {}
        for stage, scorer in reranker.scorers.items():
            if not isinstance(scorer, Scorer):
                raise TypeError(f"{type(scorer).__name__} has a queue already")
            on_batch = self._forwarded if stage == "score" else None
            stages[stage] = Scheduler(scorer, max_queue_tokens=self._max_queue_tokens, on_batch=on_batch)
        device, seconds = reranker.device, time.monotonic() - start
        facts = {"model": source, "device": device.name, "precision": device.precision}
        logger.info("model loaded", extra={**facts, "seconds": round(seconds, 3)})
        served = reranker.scoring_with(stages["score"], stages.get("look"), stages.get("reread"))
        served.model = self._aliases[0] if self._aliases else _public_name(reranker.model)
        self._monitor.loaded(served.model, seconds)
        return LoadedModel(served, stages, reranker)

    def _forwarded(self, batch: BatchFacts) -> None:
        self._monitor.forwarded(batch.pairs, batch.tokens, batch.room, batch.seconds)

    def _settle(self, task: asyncio.Task[LoadedModel]) -> None:
        self._loading = None
        if task.cancelled():
            return
        error = task.exception()
        self.error = self.hide_path(str(error)) if error else ""
        if error is None:
            self._loaded = task.result()
        else:
            logger.error("model not loaded", extra={"model": self.source, "error": str(error)})

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
        names = Counter(name for model in self._models for name in model.names)
        for name, count in names.items():
            if count > 1:
                raise InvalidSetting(
                    f"two models would be served as {name!r}; give the first another served_model_name, or rename a "
                    "folder",
                    option="served_model_name",
                )

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    @property
    def default(self) -> ServedModel:
        return self._models[0]

    def hide_paths(self, text: str) -> str:
        """The text with the models' names where their paths were."""
        for model in self._models:
            text = model.hide_path(text)
        return text

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
            if model.is_called(name) or (model.loaded is not None and name == model.loaded.reranker.model):
                return model
        if strictly:
            names = ", ".join(name for model in self._models for name in model.names)
            raise NotFound(
                Message(
                    "model: {model!r} is not served here; there are {names}", "model.unknown", model=name, names=names
                )
            )
        return self.default


def ways_to_write(path: str) -> list[str]:
    """The forms in which messages may name a local path, longest first; none for a hub id."""
    if not _is_path(path):
        return []
    given = Path(path).expanduser()
    return sorted({path.rstrip("/"), str(given), str(given.absolute()), str(given.resolve())}, key=len, reverse=True)


def hide_path(text: str, paths: Sequence[str], name: str) -> str:
    """The text with `name` where one of the paths was."""
    for path in paths:
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w-])", lambda _: name, text)
    return text


def _public_name(model: str) -> str:
    """A hub id as it is; of a local path the last part."""
    return Path(model).expanduser().resolve().name or model if _is_path(model) else model


def _is_path(model: str) -> bool:
    return Path(model).is_absolute() or model.startswith(("./", "../", "~")) or Path(model).exists()
