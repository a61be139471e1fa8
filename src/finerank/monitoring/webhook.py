"""JSON posted to a URL in the background. A target that is down or slow is logged; it never blocks the caller."""

import json
import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from finerank.errors import InvalidSetting

logger = logging.getLogger("finerank")


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body, and look delivered."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class Webhook:
    """Posts each body in order, trying again after `retry_after_s`; beyond `max_waiting` a body is dropped and logged.

    Only the host is logged: the path of a webhook's URL is often its secret. Raises `InvalidSetting` on a URL that is
    not http or https.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 5, retry_after_s: Sequence[float] = (1, 5), max_waiting: int = 100
    ) -> None:
        host = _host(url)
        if host is None:
            raise InvalidSetting("the webhook's URL must be http://host/... or https://host/...")
        self._url = url
        self._host = host
        self._timeout_s = timeout_s
        self._retry_after_s = tuple(retry_after_s)
        self._opener = build_opener(_NoRedirect)
        self._waiting: queue.Queue[bytes | None] = queue.Queue(max_waiting)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="finerank-webhook", daemon=True)
        self._thread.start()

    def send(self, body: Mapping[str, object]) -> None:
        """Have `body` posted; returns at once."""
        try:
            self._waiting.put_nowait(json.dumps(body, ensure_ascii=False).encode())
        except queue.Full:
            logger.warning("webhook %s: %d bodies wait already, one is dropped", self._host, self._waiting.maxsize)

    def close(self, timeout_s: float = 5) -> None:
        """Post what waits, each but once, for `timeout_s` at most."""
        self._closing.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("webhook %s: closed before all was delivered", self._host)

    def _run(self) -> None:
        while (body := self._waiting.get()) is not None:
            for wait_s in (*self._retry_after_s, None):
                if self._post(body) or wait_s is None or self._closing.wait(wait_s):
                    break

    def _post(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "finerank"}
        request = Request(self._url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return True
        except (OSError, HTTPException, ValueError) as error:
            logger.warning("webhook %s: not delivered: %s", self._host, error)
            return False


def _host(url: str) -> str | None:
    """The host and port of an http URL; None of anything else."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    return f"{host}{port}" if parts.scheme in ("http", "https") and host else None
