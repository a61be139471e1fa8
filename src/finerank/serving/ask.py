"""A question answered over HTTP from a store, as it comes: the funnel's stages, the passages, the text, the answer."""

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from finerank.errors import DeadlineExceeded, FinerankError, InvalidSetting
from finerank.messages import Message
from finerank.rag.open import open_pipeline
from finerank.rag.pipeline import Event as Step
from finerank.rag.pipeline import Pipeline
from finerank.rag.results import Answer, Search, Stage, answer_json, search_json
from finerank.ranking import Document, Ranking
from finerank.reranker import Reranker
from finerank.retrieval.where import Filter
from finerank.serving.bodies import AskRequest
from finerank.serving.dialects import native
from finerank.serving.dialects.body import read
from finerank.serving.envelope import HUNG_UP, Exchange, exchange_of
from finerank.serving.gate import Gate
from finerank.serving.keys import Keys
from finerank.serving.problems import problem_of, reason_of
from finerank.serving.progress import Event, Stream
from finerank.serving.rank import problem, refuse
from finerank.serving.reading import decode_json, off_loop, read_body, read_timeout
from finerank.serving.request import RerankRequest
from finerank.serving.service import RerankService
from finerank.settings import RagSettings

ASKING = 8
"""Questions answered at once: each holds a thread, mostly waiting for the reranker or the generator."""
TAG = "ask"
"""What the pipeline's requests are called in ranking health."""


class ServedRanker:
    """The server's first model as a `Ranker` for other threads: through its limits, its queue and its monitoring."""

    def __init__(self, service: RerankService) -> None:
        self._service = service
        self.loop: asyncio.AbstractEventLoop | None = None

    def rank(self, query: str, documents: Sequence[str | Document], *, top_n: int | None = None) -> Ranking:
        if self.loop is None:
            raise InvalidSetting("the server is not running yet")
        given = tuple(each if isinstance(each, Document) else Document(each) for each in documents)
        request = RerankRequest(query, given, top_n=top_n, tag=TAG, threshold=0.0)
        try:
            (answer,) = asyncio.run_coroutine_threadsafe(self._service.answer([request]), self.loop).result()
        except FinerankError:
            raise
        except Exception as error:  # whatever a backend raises: the pipeline goes on without a reranker
            raise FinerankError(problem_of(error).message) from error
        return answer.ranking


class AskApi:
    """`POST /finerank/v1/ask` over one store. Opening it raises `StoreNotFound`, `StoreError`,
    `InvalidSetting`, or `ModelError` about the light model."""

    def __init__(self, store: Path, settings: RagSettings, service: RerankService, gate: Gate, keys: Keys) -> None:
        self._service = service
        self._gate = gate
        self._keys = keys
        self._ranker = ServedRanker(service)
        self._threads = ThreadPoolExecutor(ASKING, thread_name_prefix="finerank-asking")
        self._store = store
        self._settings = settings
        self._light: Reranker | None = None
        if settings.light_model:
            self._light = Reranker.from_pretrained(settings.light_model, threshold=0.0, effort="full")
        self._opened = self._open(service.models.default.source)

    def routes(self) -> list[Route]:
        return [Route("/finerank/v1/ask", self._ask, methods=["POST"])]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._light is not None:
            self._light.close()

    def _open(self, model: str) -> tuple[str, Pipeline]:
        def alert() -> str:
            return self._service.monitor.alarm(self._service.models.default.name)

        return model, open_pipeline(
            self._store, self._ranker, self._settings, model=model, light=self._light, alert=alert
        )

    def _pipeline(self) -> Pipeline:
        """The pipeline with what is known about the model that ranks now: it may have been replaced."""
        model, pipeline = self._opened
        if model != self._service.models.default.source:
            self._opened = _, pipeline = self._open(self._service.models.default.source)
        return pipeline

    async def _ask(self, request: Request) -> Response:
        exchange_of(request.scope).dialect = TAG
        with ExitStack() as visit:
            try:
                self._keys.check(request.headers)
                body = await read_body(request, visit.enter_context(self._gate.enter()), self._service.settings)
                asked = read(AskRequest, await off_loop(body, decode_json, body, self._service.settings.max_documents))
                events = self._events(asked.question, Filter.parse(asked.where))
                limited = self._until(events, exchange_of(request.scope), read_timeout(request))
                return Stream(limited, visit.pop_all())
            except ClientDisconnect:
                return Response(status_code=HUNG_UP)
            except Exception as error:  # noqa: BLE001 - every failure is told in the native dialect
                return refuse(request.scope, self._service, native, error)

    async def _until(
        self, events: AsyncGenerator[Event], exchange: Exchange, limit_s: float | None
    ) -> AsyncIterator[Event]:
        """The events; the last is an error if it comes to one, if the next takes longer than `timeout_s`, or if the end
        comes later than the request allows."""
        quiet_s = self._service.settings.timeout_s
        end = asyncio.get_running_loop().time() + (math.inf if limit_s is None else limit_s)
        try:
            while True:
                limit = min(end, asyncio.get_running_loop().time() + quiet_s)
                async with asyncio.timeout_at(limit):
                    event = await anext(events, None)
                if event is None:
                    return
                yield event
        except Exception as error:  # noqa: BLE001 - the stream has begun: the error is its last event
            if isinstance(error, TimeoutError):
                error = DeadlineExceeded(
                    Message("the answer took too long; ask again, or raise timeout_s", "server.ask-late")
                )
            told = problem(self._service, error)
            exchange.log["reason"] = reason_of(error, told)
            yield "error", native.render_error(told)[1]
        finally:
            await events.aclose()

    async def _events(self, question: str, where: Filter) -> AsyncGenerator[Event]:
        self._ranker.loop = loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        stop = threading.Event()

        def answer() -> None:
            try:
                for step in self._pipeline().stream(question, where=where):
                    if stop.is_set():
                        return
                    loop.call_soon_threadsafe(steps.put_nowait, _event(step))
            except Exception as error:  # noqa: BLE001 - the stream has begun: the error is its last event
                loop.call_soon_threadsafe(steps.put_nowait, error)
                return
            loop.call_soon_threadsafe(steps.put_nowait, None)

        loop.run_in_executor(self._threads, answer)
        try:
            while (event := await steps.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            stop.set()


def _event(step: Step) -> Event:
    match step:
        case Stage():
            return "stage", {"name": step.name, "given": step.given, "kept": step.kept, "seconds": step.seconds}
        case Search():
            return "search", search_json(step)
        case Answer():
            return "answer", {name: value for name, value in answer_json(step).items() if name != "search"}
    return "text", {"text": step}
