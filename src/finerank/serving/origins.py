"""Keeps web pages of other sites from acting on the server through a visitor's browser."""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from finerank.errors import Forbidden
from finerank.messages import Message
from finerank.serving.dialects import ROUTES, dialect_for, native
from finerank.serving.keys import Keys, is_loopback
from finerank.serving.rank import refuse
from finerank.serving.service import RerankService
from finerank.settings import ServeSettings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Requests that change nothing and cost little. No path acts on one of them."""


class OriginGuard:
    """ASGI middleware: refuses, on every path and before anything is done, requests to a name that is not the server's
    (DNS rebinding), and requests that do something and come from a page of another origin.

    The rule for origins is that of Go's `http.CrossOriginProtection`: browsers send `Sec-Fetch-Site` or `Origin` with
    every such request, other clients send neither.
    """

    def __init__(self, app: ASGIApp, service: RerankService, keys: Keys) -> None:
        self._app = app
        self._service = service
        settings = service.settings
        self._origins = settings.cors_origins
        self._hosts = _allowed_hosts(settings, keys)
        self._probed = not is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["method"], scope["path"], Headers(scope=scope))
            except Forbidden as error:
                path = scope["path"]
                dialect = dialect_for(path)[1] if path in ROUTES else native
                await refuse(scope, self._service, dialect, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        probe = self._probed and (path.startswith("/health") or path.endswith("/health"))  # by a pod's address
        if self._hosts is not None and host and not probe:
            name = host_name(host)
            if not is_loopback(name) and name not in self._hosts:
                raise Forbidden(
                    Message(
                        "this server does not answer to the name {host!r}; add it to allowed_hosts, or set API keys "
                        "(api_keys_file) to open it to other names",
                        "host.unknown",
                        host=host,
                    )
                )
        if method not in SAFE_METHODS and self._is_foreign(host, headers):
            origin = headers.get("origin") or "another site"
            message = "a page of {origin!r} may not call this server; cors_origins names the origins that may"
            raise Forbidden(Message(message, "origin.foreign", origin=origin))

    def _is_foreign(self, host: str, headers: Headers) -> bool:
        """Whether a page of another origin makes the browser send this, and no setting allows it to."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if "*" in self._origins or origin in self._origins:
            return False
        if site is not None:
            return site.lower() not in ("same-origin", "none")
        return origin is not None and _netloc(origin) != host.lower()


def host_name(host: str) -> str:
    """The name in a Host header: without port and brackets."""
    name = host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.rpartition(":")[0] or host
    return name.lower()


def _allowed_hosts(settings: ServeSettings, keys: Keys) -> Collection[str] | None:
    """The names to answer to besides loopback's; None is any. A key is something no page has, so that with keys, and
    where the settings open the server to a network, the names are free unless they are listed."""
    names = {name.lower() for name in settings.allowed_hosts}
    if "*" in names:
        return None
    open_bind = bool(keys) or not is_loopback(settings.host)
    return None if open_bind and not names else names


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
