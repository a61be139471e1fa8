"""Every path that ranks: body in, dialect, service, dialect, body out."""

import logging
from contextlib import ExitStack
from dataclasses import replace

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from finerank.errors import DeadlineExceeded, Forbidden, RequestTooLarge, Unauthorized
from finerank.messages import change_text
from finerank.ranking import Usage
from finerank.serving.dialects import dialect_for, native
from finerank.serving.dialects.dialect import Dialect
from finerank.serving.envelope import HUNG_UP, Exchange, exchange_of
from finerank.serving.gate import Gate
from finerank.serving.keys import Keys
from finerank.serving.problems import problem_of, reason_of
from finerank.serving.progress import Event, Progress, Stream
from finerank.serving.reading import deadline, decode_json, off_loop, read_body, read_timeout, unless_hung_up
from finerank.serving.request import Answer, Problem, RerankRequest
from finerank.serving.service import RerankService

logger = logging.getLogger("finerank")

NATIVE = "native"
STREAMED = (NATIVE, "ollama")
"""Dialects whose paths stream finerank's own events on request."""
DEGRADED = "x-finerank-degraded"


class RankEndpoint:
    """Answers POST at one path."""

    def __init__(self, path: str, service: RerankService, gate: Gate, keys: Keys) -> None:
        self._path = path
        self._service = service
        self._gate = gate
        self._keys = keys

    async def __call__(self, request: Request) -> Response:
        exchange = exchange_of(request.scope)
        exchange.dialect, dialect = dialect_for(self._path)
        forced, settings = request.headers.get("x-finerank-dialect"), self._service.settings
        with ExitStack() as visit:
            try:
                self._keys.check(request.headers)
                body = await read_body(request, visit.enter_context(self._gate.enter()), settings)
                async with deadline(request, settings):
                    value = await off_loop(body, decode_json, body, settings.max_documents)
                    exchange.dialect, dialect = dialect_for(self._path, value, forced)
                    parsed = await off_loop(body, dialect.parse, value)
                requests = tuple(self._completed(request, exchange, one) for one in parsed)
                self._log_text(exchange, requests)
                if exchange.dialect in STREAMED and "text/event-stream" in request.headers.get("accept", ""):
                    return self._stream(request, exchange, requests, visit.pop_all())
                answers = await unless_hung_up(request, self._answer(request, exchange, requests))
                return await off_loop(body, _answered, exchange, dialect, answers)
            except ClientDisconnect:
                return Response(status_code=HUNG_UP)
            except Exception as error:  # noqa: BLE001 - every failure is told in the caller's dialect
                return refuse(request.scope, self._service, dialect, error)

    async def _answer(
        self,
        request: Request,
        exchange: Exchange,
        requests: tuple[RerankRequest, ...],
        progress: Progress | None = None,
    ) -> list[Answer]:
        return await self._service.answer(
            requests,
            timeout_s=read_timeout(request),
            strictly=exchange.dialect == NATIVE,
            watch=progress.watch if progress else None,
        )

    def _completed(self, request: Request, exchange: Exchange, one: RerankRequest) -> RerankRequest:
        """With the tag of the header, and without the server's threshold where the API is not finerank's own: clients
        of other servers expect a score for every document."""
        header = request.headers.get("x-finerank-tag", "").encode("latin-1").decode("utf-8", "replace")
        tag = one.tag or header
        threshold = one.threshold if exchange.dialect == NATIVE else 0.0
        return replace(one, tag=tag[:64] if tag else None, threshold=threshold)

    def _log_text(self, exchange: Exchange, requests: tuple[RerankRequest, ...]) -> None:
        if self._service.settings.log_text:
            exchange.log["requests"] = [
                {"query": one.query, "documents": [document.text for document in one.documents]} for one in requests
            ]

    def _stream(
        self, request: Request, exchange: Exchange, requests: tuple[RerankRequest, ...], visit: ExitStack
    ) -> Response:
        """The native answer as events: progress, then the result or the error."""
        progress = Progress()

        async def ending() -> Event:
            try:
                answers = await self._answer(request, exchange, requests, progress)
                exchange.usage = answers[0].ranking.usage
                return "result", native.render(answers, exchange.request_id)
            except Exception as error:  # noqa: BLE001 - the stream has begun: the error is its last event
                told = problem(self._service, error)
                exchange.log["reason"] = reason_of(error, told)
                return "error", native.render_error(told)[1]

        return Stream(progress.events(ending()), visit)


def refuse(scope: Scope, service: RerankService, dialect: Dialect, error: Exception) -> Response:
    """The dialect's error for an exception."""
    told = problem(service, error)
    exchange_of(scope).log["reason"] = reason_of(error, told)
    status, body = dialect.render_error(told)
    headers = {} if told.retry_after_s is None else {"retry-after": str(told.retry_after_s)}
    if isinstance(error, (RequestTooLarge, DeadlineExceeded)):
        headers["connection"] = "close"  # what is left of the body is not read
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer" if error.scope in ("", "rank") else f'Bearer scope="{error.scope}"'
    elif isinstance(error, Forbidden) and error.scope:  # RFC 6750
        headers["www-authenticate"] = f'Bearer error="insufficient_scope", scope="{error.scope}"'
    return JSONResponse(body, status, headers)


def problem(service: RerankService, error: Exception) -> Problem:
    """What the caller is told of an exception; monitoring counts it, and the log has it if it is our failure."""
    told = problem_of(error)
    told = replace(told, message=change_text(told.message, service.hide_paths))
    service.monitor.refused(told.kind)
    if told.kind == "failed":
        logger.error("scoring failed", exc_info=error)
    return told


def _answered(exchange: Exchange, dialect: Dialect, answers: list[Answer]) -> Response:
    rankings = [answer.ranking for answer in answers]
    exchange.usage = usage = _sum([ranking.usage for ranking in rankings])
    headers = {
        "x-compute-tokens": str(usage.tokens),
        "x-tokenization-time": _ms(usage.seconds.get("encode", 0.0)),
        "x-queue-time": _ms(usage.seconds.get("queue", 0.0)),
        "x-inference-time": _ms(usage.seconds.get("forward", 0.0)),
        "x-total-time": _ms(usage.seconds.get("total", 0.0)),
    }
    degraded = next((ranking.degraded for ranking in rankings if ranking.degraded), "")
    if degraded:
        headers[DEGRADED] = " ".join(degraded.encode("ascii", "replace").decode().split())
        exchange.log["degraded"] = degraded
    return JSONResponse(dialect.render(answers, exchange.request_id), headers=headers)


def _sum(usages: list[Usage]) -> Usage:
    """The usage of requests that were scored together: their seconds are the same."""
    return Usage(
        pairs=sum(usage.pairs for usage in usages),
        tokens=sum(usage.tokens for usage in usages),
        truncated=sum(usage.truncated for usage in usages),
        cached=sum(usage.cached for usage in usages),
        skipped=sum(usage.skipped for usage in usages),
        seconds=usages[0].seconds if usages else {},
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"
