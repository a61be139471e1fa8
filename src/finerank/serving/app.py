"""The ASGI application: every path, in one envelope. What serves it, and when it stops, is `server`'s business."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from finerank.errors import Unavailable
from finerank.messages import Message, message_json
from finerank.monitoring.monitor import Monitor
from finerank.paths import cache_dir
from finerank.serving.dialects import ROUTES
from finerank.serving.envelope import SECURITY, Envelope, exchange_of
from finerank.serving.gate import Gate
from finerank.serving.keys import Keys
from finerank.serving.models import Load, ServedModel, ServedModels
from finerank.serving.openapi import openapi
from finerank.serving.origins import OriginGuard
from finerank.serving.own import OwnApi
from finerank.serving.paths import CanonicalPath, given_path, nearest_path
from finerank.serving.rank import DEGRADED, RankEndpoint
from finerank.serving.service import RerankService
from finerank.serving.tracing import open_tracer
from finerank.settings import RagSettings, ServeSettings

if TYPE_CHECKING:
    from finerank.serving.ask import AskApi

logger = logging.getLogger("finerank")

_HERE = Path(__file__).parent
_DOCS_POLICY = SECURITY["content-security-policy"].replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
STATE_FILE = "ranking-health.json"


class Application:
    """A server's parts: the models, the service on them, the gate before it; and `asgi`, to run in a web server.

    `load` makes a `Reranker` of a model's name. `on_failure` is called when the first model cannot be loaded. `rag` are
    the settings of the pipeline over the store that the settings name, if they do.
    """

    def __init__(
        self,
        model: str,
        load: Load,
        settings: ServeSettings,
        keys: Keys,
        on_failure: Callable[[str], None] | None = None,
        rag: RagSettings | None = None,
    ) -> None:
        folder = Path(settings.state_dir) if settings.state_dir else cache_dir() / "serve"
        self.monitor = Monitor(
            state=folder / STATE_FILE,
            webhook=settings.alert_webhook,
            window_s=settings.health_window_s,
            low_score=settings.low_score,
        )
        self.settings = settings
        self.models = ServedModels(
            [
                ServedModel(
                    source,
                    load,
                    self.monitor,
                    max_queue_tokens=settings.max_queue_tokens,
                    aliases=settings.served_model_name if source == model else (),
                )
                for source in dict.fromkeys((model, *settings.more_models))
            ]
        )
        self.service = RerankService(self.models, self.monitor, settings)
        self.gate = Gate(settings.max_requests, settings.max_body_mb * 10**6)
        self._keys = keys
        self.ask = self._open_store(rag)
        self._tracer = open_tracer()
        self._on_failure = on_failure
        self.asgi = Starlette(
            routes=self._routes(),
            middleware=self._middleware(),
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )
        self.asgi.router.redirect_slashes = False  # CanonicalPath serves both forms

    async def drain(self) -> None:
        """Let no more requests in, and wait, for as long as the settings allow, until those inside are answered."""
        self.gate.close()
        logger.info("shutting down", extra={"requests": self.gate.inside})
        try:
            async with asyncio.timeout(self.settings.shutdown_s):
                await self.gate.emptied()
        except TimeoutError:
            self.give_up()

    def give_up(self) -> None:
        """Answer those inside that the server has shut down."""
        logger.warning("requests given up", extra={"requests": self.gate.inside})
        self.models.abort(
            Unavailable(
                Message("the server has shut down; send the request to another", "server.closed"), retry_after_s=5
            )
        )

    def _open_store(self, rag: RagSettings | None) -> "AskApi | None":
        if self.settings.store is None:
            return None
        from finerank.serving.ask import AskApi  # needs the extra `rag`

        return AskApi(Path(self.settings.store), rag or RagSettings.load(), self.service, self.gate, self._keys)

    def _routes(self) -> list[BaseRoute]:
        ranking = [
            Route(
                path.replace("{name}", "{name:path}"),
                RankEndpoint(path, self.service, self.gate, self._keys).__call__,
                methods=["POST"],
            )
            for path in ROUTES
        ]
        return [
            *ranking,
            *OwnApi(self.service, self.gate, self._keys).routes(),
            *(self.ask.routes() if self.ask is not None else ()),
            Route("/openapi.json", _openapi),
            Route("/docs", _docs),
            Mount("/docs", StaticFiles(directory=_HERE / "docs")),
            Route("/", _page),
            Route("/favicon.svg", _icon),
            *(Mount(f"/{folder}", StaticFiles(directory=_HERE / "ui" / folder)) for folder in ("css", "js")),
        ]

    def _middleware(self) -> list[Middleware]:
        middleware = [Middleware(CanonicalPath), Middleware(Envelope, monitor=self.monitor, tracer=self._tracer)]
        if self.settings.cors_origins:
            middleware.append(
                Middleware(
                    CORSMiddleware,
                    allow_origins=self.settings.cors_origins,
                    allow_methods=["GET", "POST"],
                    allow_headers=["*"],
                    expose_headers=["retry-after", "x-request-id", DEGRADED],
                )
            )
        guard = Middleware(OriginGuard, service=self.service, keys=self._keys)
        return [*middleware, guard]

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """The first model loads while the server already answers /health."""
        await asyncio.to_thread(self.monitor.start)
        tasks = [asyncio.create_task(self._load_first())]
        if self.settings.idle_unload_s is not None:
            tasks.append(asyncio.create_task(self._unload_unused(self.settings.idle_unload_s)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for model in self.models:
                await model.close()
            self.service.close()
            if self.ask is not None:
                self.ask.close()
            await asyncio.to_thread(self.monitor.close)
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)

    async def _load_first(self) -> None:
        try:
            await self.models.default.ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot go on without a model
            if self._on_failure is not None:
                self._on_failure(str(error))

    async def _unload_unused(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(min(seconds, 10) / 2)
            for model in self.models:
                model.unload_if_unused(seconds)


async def _openapi(request: Request) -> Response:
    return JSONResponse(openapi())


async def _page(request: Request) -> Response:
    return FileResponse(_HERE / "ui" / "index.html")


async def _icon(request: Request) -> Response:
    return FileResponse(_HERE / "ui" / "favicon.svg")


async def _docs(request: Request) -> Response:
    return FileResponse(_HERE / "docs" / "index.html", headers={"content-security-policy": _DOCS_POLICY})


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 in the native shape, with the fields in which other APIs' clients look for the message."""
    if not isinstance(error, HTTPException):
        raise error
    kind = "not_found" if error.status_code == 404 else "invalid"
    message = _http_message(request, error)
    exchange_of(request.scope).log["reason"] = error.detail
    fields = {"kind": kind, "message": message, "field": None, "retry_after_s": None, **message_json(message)}
    return JSONResponse({"error": fields, "message": message, "detail": message}, error.status_code, error.headers)


def _http_message(request: Request, error: HTTPException) -> Message:
    what = {"method": request.method, "path": given_path(request.scope), "detail": error.detail}
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        return Message("{method} {path}: {detail}; it takes {allowed}", "http.method", **what, allowed=allowed)
    near = nearest_path(request.scope["path"], request.method, request.app.routes)
    if near:
        message = "{method} {path}: {detail}; did you mean {near}? /docs lists every path"
        return Message(message, "http.nearest-path", **what, near=near)
    return Message("{method} {path}: {detail}; /docs lists every path", "http.no-path", **what)
