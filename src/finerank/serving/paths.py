"""Request paths: one form of each, the old paths of finerank's own API, and the path a wrong one was meant to be."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finerank.serving.dialects import NATIVE_PREFIX, OLD_PREFIX

SIMILAR = 0.5
"""How alike a path must be to be suggested, as difflib measures it."""


class CanonicalPath:
    """ASGI middleware: serves a path with doubled or trailing slashes as the one without.

    A redirect instead would lose the body in some clients, and behind a proxy name the wrong scheme and host. Paths
    of finerank's own API under its old prefix are served too, with the new one in the header Link.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = re.sub("/{2,}", "/", scope["path"]).rstrip("/") or "/"
        moved = _moved(path)
        if (moved or path) != scope["path"]:
            scope = {**scope, "path": moved or path, "finerank.given_path": scope["path"]}
            scope["raw_path"] = quote(scope["path"]).encode()

        async def send_with_link(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["link"] = f'<{quote(moved or "")}>; rel="successor-version"'
            await send(message)

        await self._app(scope, receive, send_with_link if moved else send)


def given_path(scope: Scope) -> str:
    """The path as the caller wrote it."""
    return str(scope.get("finerank.given_path", scope["path"]))


def nearest_path(path: str, method: str, routes: Iterable[BaseRoute]) -> str | None:
    """The path most like this one, if any is like it: rather one that takes the method, unless another is closer."""
    known = [route for route in routes if isinstance(route, Route) and route.path != "/" and "{" not in route.path]
    paths = [route.path for route in sorted(known, key=lambda route: method not in (route.methods or (method,)))]
    wanted = path.lower()
    same_end = [known for known in paths if wanted.endswith(known) and known.count("/") > 1]
    if same_end:  # a client that puts /v1/rerank after a base that has a path
        return max(same_end, key=len)
    likeness = {known: SequenceMatcher(None, known, wanted).ratio() for known in paths}
    nearest = max(paths, key=likeness.__getitem__)  # the first of several
    return nearest if likeness[nearest] >= SIMILAR else None


def _moved(path: str) -> str | None:
    """Where a path of finerank's own API has moved; Ollama's clients call one of the old ones, which stays."""
    if path.startswith(f"{OLD_PREFIX}/") and path != f"{OLD_PREFIX}/rerank":
        return NATIVE_PREFIX + path.removeprefix(OLD_PREFIX)
    return None
