"""finerank's own API beside `/finerank/v1/rerank`: explanations, word overlap, models, examples, health, figures."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from finerank import __version__
from finerank.errors import NotFound, RequestTooLarge
from finerank.evaluation.keyword_traps import load_traps, trap_languages
from finerank.explain import Explanation, Piece
from finerank.messages import Message
from finerank.serving.bodies import BaselineRequest, ExplainRequest, ModelRequest, OverlapRequest
from finerank.serving.dialects import PREFIXES, native
from finerank.serving.dialects.body import read
from finerank.serving.dialects.models import AUTH_ROUTES, GET_ROUTES, MODEL_ROUTES, xinference_auth
from finerank.serving.envelope import HUNG_UP, exchange_of
from finerank.serving.gate import Gate
from finerank.serving.keys import Keys, Scope
from finerank.serving.models import ServedModel
from finerank.serving.rank import NATIVE, refuse
from finerank.serving.reading import deadline, decode_json, off_loop, read_body, read_timeout, unless_hung_up
from finerank.serving.request import Json, ModelInfo
from finerank.serving.service import RerankService
from finerank.serving.upload import Uploads
from finerank.settings import DEFAULT_MODEL, DEFAULT_MODEL_LANGUAGES
from finerank.text.load import READERS
from finerank.text.terms import bm25, term_spans, terms

Body = TypeVar("Body", bound=BaseModel)
Answer = Callable[[Request], Coroutine[None, None, Response]]
OVERLAP_CHARACTERS = 1_000_000
"""Of query and documents together, for `/finerank/v1/overlap`."""

Condition = Literal["loading", "ready", "draining", "failed"]


class OwnApi:
    """The endpoints, as `routes`."""

    def __init__(self, service: RerankService, gate: Gate, keys: Keys) -> None:
        self._service = service
        self._gate = gate
        self._keys = keys
        self._started = time.monotonic()
        self._counters = ThreadPoolExecutor(1, thread_name_prefix="finerank-overlap")
        self._uploads = Uploads(service.settings.max_body_mb * 10**6)

    def routes(self) -> list[Route]:
        post = {
            "/finerank/v1/explain": self._explain,
            "/finerank/v1/overlap": self._overlap,
            "/finerank/v1/text": self._text,
            **({"/finerank/v1/ask": self._no_store} if self._service.settings.store is None else {}),
        }
        get = {
            "/finerank/v1/info": self._info,
            "/finerank/v1/examples": self._examples,
            **{path: self._listing(path) for path in GET_ROUTES},
            **{path.replace("{name}", "{name:path}"): self._named(path) for path in MODEL_ROUTES},
        }
        watch = {
            "/finerank/v1/stats": self._stats,
            "/finerank/v1/health/ranking": self._ranking_health,
            "/metrics": self._metrics,
        }
        return [
            *(Route(path, self._guarded(answer), methods=["POST"]) for path, answer in post.items()),
            *(Route(path, self._guarded(answer, "metrics", gated=False)) for path, answer in watch.items()),
            *(Route(path, self._guarded(answer, gated=False), methods=["GET"]) for path, answer in get.items()),
            Route("/finerank/v1/health/ranking/baseline", self._guarded(self._baseline, "baseline"), methods=["POST"]),
            Route("/finerank/v1/model", self._guarded(self._model, "admin"), methods=["POST"]),
            *(Route(path, self._asks_for_keys, methods=["GET"]) for path in AUTH_ROUTES),
            *(Route(f"/health{which}", self._health, methods=["GET"]) for which in ("", "/live", "/ready")),
            *(Route(f"/{prefix}/health", self._health, methods=["GET"]) for prefix in (*PREFIXES, "finerank")),
            *(Route(f"/v1/health/{which}", self._health, methods=["GET"]) for which in ("live", "ready")),  # NVIDIA's
        ]

    @property
    def condition(self) -> Condition:
        """Of the whole server: may requests be sent?"""
        if self._gate.closed:
            return "draining"
        state = self._service.models.default.state
        return "ready" if state == "unloaded" else state  # the next request loads it

    def _guarded(self, answer: Answer, scope: Scope = "rank", *, gated: bool = True) -> Answer:
        """The endpoint behind the keys, within the limits and the deadline, its errors in the native shape."""
        settings = self._service.settings

        async def guarded(request: Request) -> Response:
            exchange_of(request.scope).dialect = NATIVE if gated else ""
            try:
                self._keys.check(request.headers, scope)
                if not gated:
                    async with deadline(request, settings):
                        return await answer(request)
                with self._gate.enter() as visit:
                    request.state.body = await read_body(request, visit, settings)
                    if scope == "admin":  # loading a model takes as long as it takes
                        return await unless_hung_up(request, answer(request))
                    async with deadline(request, settings):
                        return await unless_hung_up(request, answer(request))
            except ClientDisconnect:
                return Response(status_code=HUNG_UP)
            except Exception as error:  # noqa: BLE001 - every failure is told in the native dialect
                return refuse(request.scope, self._service, native, error)

        return guarded

    async def _explain(self, request: Request) -> Response:
        asked = await self._read(ExplainRequest, request)
        explanations = await self._service.explain(
            asked.query, asked.documents, model=asked.model, words=asked.words, timeout_s=read_timeout(request)
        )
        return JSONResponse({"explanations": [_explanation(one) for one in explanations]})

    async def _overlap(self, request: Request) -> Response:
        asked = await self._read(OverlapRequest, request)
        self._service.check_count(len(asked.documents))
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._counters, _overlap, asked, stop)
        finally:
            stop.set()

    async def _text(self, request: Request) -> Response:
        name = unquote(request.headers.get("x-filename", ""))
        return JSONResponse(await self._uploads.read(name, request.state.body))

    async def _no_store(self, request: Request) -> Response:
        raise NotFound(
            Message(
                "/finerank/v1/ask: this server has no store to answer from; start it with --store", "server.no-store"
            )
        )

    async def _model(self, request: Request) -> Response:
        asked = await self._read(ModelRequest, request)
        model = self._service.models.default
        await model.replace(asked.model)
        return JSONResponse(self._entry(model))

    async def _info(self, request: Request) -> Response:
        settings = self._service.settings
        limits = ("max_documents", "max_request_tokens", "max_queue_tokens", "max_requests", "timeout_s")
        return JSONResponse(
            {
                "version": __version__,
                "models": [self._entry(model) for model in self._service.models],
                "limits": {
                    "max_body_bytes": settings.max_body_mb * 10**6,
                    **{name: getattr(settings, name) for name in limits},
                },
                "auth": bool(self._keys),
                "ask": settings.store is not None,
                "reads": tuple(READERS),
                "state": self.condition,
                "uptime_s": round(time.monotonic() - self._started, 1),
            }
        )

    async def _examples(self, request: Request) -> Response:
        return JSONResponse({"examples": _examples()})

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self._service.monitor.stats())

    async def _ranking_health(self, request: Request) -> Response:
        query = request.query_params
        report = self._service.monitor.report
        return JSONResponse(await asyncio.to_thread(report, query.get("model") or None, query.get("tag") or None))

    async def _baseline(self, request: Request) -> Response:
        asked = await self._read(BaselineRequest, request)
        self._service.monitor.set_baseline(asked.model, asked.tag)
        return JSONResponse(self._service.monitor.report(asked.model, asked.tag))

    async def _metrics(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        content_type, text = await asyncio.to_thread(self._service.monitor.render, accept)
        return Response(text, headers={"content-type": content_type})

    async def _health(self, request: Request) -> Response:
        state = self.condition
        live_only = request.url.path.endswith("/live")
        ready = state == "ready"
        good = ready or live_only
        body = {"status": "ok" if good else "unavailable", "live": True, "ready": ready, "state": state}
        return JSONResponse(body, 200 if good else 503)

    async def _read(self, model: type[Body], request: Request) -> Body:
        body = request.state.body
        return read(model, await off_loop(body, decode_json, body, self._service.settings.max_documents))

    def _listing(self, path: str) -> Answer:
        describe, _ = GET_ROUTES[path]

        async def listing(request: Request) -> Response:
            return JSONResponse(describe([self._facts(model) for model in self._service.models]))

        return listing

    def _named(self, path: str) -> Answer:
        describe, _ = MODEL_ROUTES[path]

        async def named(request: Request) -> Response:
            facts = [self._facts(model) for model in self._service.models]
            return JSONResponse(describe(facts, request.path_params["name"]))

        return named

    async def _asks_for_keys(self, request: Request) -> Response:
        return JSONResponse(xinference_auth(bool(self._keys)))

    def _facts(self, model: ServedModel) -> ModelInfo:
        settings, loaded = self._service.settings, model.loaded
        info = ModelInfo(
            model.name,
            aliases=model.names[1:],
            max_documents=settings.max_documents,
            max_requests=settings.max_requests,
            version=__version__,
        )
        if loaded is None:
            return info
        reranker = loaded.reranker
        return ModelInfo(
            reranker.model,
            reranker.device.name,
            reranker.device.precision,
            reranker.max_length,
            settings.max_documents,
            loaded.scheduler.max_batch_tokens,
            settings.max_requests,
            __version__,
            int(loaded.since),
            model.names[1:],
        )

    def _entry(self, model: ServedModel) -> dict[str, object]:
        facts, loaded = self._facts(model), model.loaded
        return {
            "name": model.name,
            "aliases": model.names[1:],
            "device": facts.device if loaded else "",
            "precision": facts.precision if loaded else "",
            "max_length": facts.max_length if loaded else 0,
            "state": model.state,
            "error": model.error,
            "default": model is self._service.models.default,
            "languages": DEFAULT_MODEL_LANGUAGES if model.source == DEFAULT_MODEL else (),
            "calibrated": loaded is not None and loaded.reranker.calibration is not None,
            "threshold": loaded.reranker.settings.threshold if loaded else None,
        }


def _explanation(explanation: Explanation) -> Json:
    return {
        "logit": explanation.logit,
        "sentences": _pieces(explanation.sentences),
        "words": _pieces(explanation.words),
    }


def _pieces(pieces: Sequence[Piece]) -> list[Mapping[str, object]]:
    total = sum(max(piece.drop, 0.0) for piece in pieces)
    return [
        {
            "text": piece.text,
            "span": piece.span,
            "drop": piece.drop,
            "share": max(piece.drop, 0.0) / total if total else 0.0,
        }
        for piece in pieces
    ]


def _overlap(asked: OverlapRequest, stop: threading.Event) -> Response:
    """Counting words takes Python 3 s for 5 MB: the texts are bounded, and it ends early if nobody waits."""
    size = len(asked.query) + sum(map(len, asked.documents))
    if size > OVERLAP_CHARACTERS:
        raise RequestTooLarge(
            Message(
                "documents: with the query they are {size} characters long, and word overlap is counted in up to "
                "{limit}; send fewer at once",
                "overlap.characters",
                size=size,
                limit=OVERLAP_CHARACTERS,
            )
        )
    wanted = set(terms(asked.query))
    spans = []
    for document in asked.documents:
        if stop.is_set():
            return Response()
        spans.append(sorted({span for term, span in term_spans(document) if term in wanted}))
    return JSONResponse({"scores": bm25(asked.query, asked.documents), "spans": spans})


@cache
def _examples() -> list[Mapping[str, object]]:
    return [
        {
            "lang": trap.language,
            "name": trap.name,
            "query": trap.query,
            "passages": trap.passages,
            "answer": trap.passages.index(trap.answer),
        }
        for language in trap_languages()
        for trap in load_traps(language)
    ]
