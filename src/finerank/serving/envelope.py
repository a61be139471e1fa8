"""Middleware around every request: a request id, a line in the log, security headers, metrics, a trace."""

import logging
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finerank.monitoring.monitor import Monitor
from finerank.ranking import Usage
from finerank.serving.paths import given_path
from finerank.serving.tracing import Tracer

logger = logging.getLogger("finerank")

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

HUNG_UP = 499
"""The status that the log gives a caller who did not wait for the answer, as nginx does."""

OUTCOME = "finerank.outcome"
"""Where the scope holds the status and the reason of a request whose connection was ended, in a dictionary that copies
of the scope share."""

MAX_PATH = 256
"""Characters of a path in the log."""

SECURITY: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(slots=True)
class Exchange:
    """One request and its response: what the log and the metrics say of it. `dialect` stays empty for pages."""

    request_id: str
    dialect: str = ""
    usage: Usage | None = None
    status: int = 500
    log: dict[str, object] = field(default_factory=dict)


def exchange_of(scope: Scope) -> Exchange:
    """The exchange a request belongs to."""
    exchange = scope["finerank.exchange"]
    if not isinstance(exchange, Exchange):
        raise TypeError(f"the scope holds {type(exchange).__name__}")
    return exchange


class Envelope:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, monitor: Monitor, tracer: Tracer | None) -> None:
        self._app = app
        self._monitor = monitor
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        exchange = Exchange(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        scope["finerank.exchange"] = exchange

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = exchange.request_id
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        start = time.perf_counter()
        try:
            with nullcontext() if scope["path"] == "/metrics" else self._monitor.in_flight():
                await self._app(scope, receive, send_with_headers)
        finally:
            self._tell(scope, exchange, time.perf_counter() - start)

    def _tell(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        """A line in the log for every request; metrics and a trace for those that are the API's."""
        if exchange.status == HUNG_UP:
            exchange.log["reason"] = "the client hung up"
        if outcome := scope.get(OUTCOME):
            exchange.status, exchange.log["reason"] = outcome["status"], outcome["reason"]
        facts: dict[str, str | int] = {
            "request_id": exchange.request_id,
            "peer": peer_name(scope["client"]),
            "method": scope["method"],
            "path": given_path(scope)[:MAX_PATH],
            **({"dialect": exchange.dialect} if exchange.dialect else {}),
            "status": exchange.status,
        }
        if exchange.dialect:
            self._monitor.answered(exchange.dialect, exchange.status, seconds, exchange.usage)
        if exchange.usage is not None:
            facts |= {"pairs": exchange.usage.pairs, "tokens": exchange.usage.tokens, "cached": exchange.usage.cached}
        if self._tracer is not None and exchange.dialect:
            self._tracer.record(Headers(scope=scope), facts, seconds, exchange.usage)
        logger.info("request", extra={**facts, "ms": round(1000 * seconds, 1), **exchange.log})


def peer_name(client: tuple[str, int] | None) -> str:
    """A client's address and port."""
    if client is None:
        return "unknown"
    host, port = client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
