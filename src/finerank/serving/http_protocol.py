"""uvicorn's HTTP protocol, with limits on what a connection may take and a line in the log for what it refuses."""

import logging
import re
import time
from asyncio import AbstractEventLoop, BaseTransport, Transport
from typing import Any, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from finerank.serving.connections import Connections, Phase
from finerank.serving.envelope import HUNG_UP, MAX_PATH, OUTCOME, peer_name

logger = logging.getLogger("finerank")

HEAD_BYTES = 1 << 16
"""What a request line and headers may take; a connection that sends more before they end is closed."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[^\s?]*)")
_quiet = logging.getLogger("uvicorn.error.protocol")
_quiet.setLevel(logging.ERROR)  # its warnings name no client, and each refused request has its line here


class LimitedProtocol(HttpToolsProtocol):
    """A connection. Headers have a size, and every phase that waits for the client has an end."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
        *,
        open_connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _quiet
        self._limits = open_connections
        self._head = self._fields = 0
        self._first = b""
        self._complete = True
        self._unanswered = 0
        self.phase: Phase = "new"
        self.since = time.monotonic()
        self.received = 0

    @property
    def peer(self) -> str:
        return self.client[0] if self.client else "unknown"

    @property
    def unsent(self) -> int:
        """Bytes of responses that the client has not taken."""
        return self.transport.get_write_buffer_size()

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast("Transport", transport))
        if not self._limits.add(self):
            self.refuse(503, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.phase in ("new", "idle"):
            self._first = data[: 2 * MAX_PATH]
        if self.phase in ("body", "rest"):
            self.received += len(data)
        else:
            self._head += len(data)
        if self.phase == "head" and self._head > HEAD_BYTES:
            self.refuse(431, f"the headers are longer than {HEAD_BYTES} bytes")
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._complete = False
        if not self._unanswered:  # else it waits for the answer to the request before, pipelined
            self._enter("head", new_clock=self.phase != "new")

    def on_headers_complete(self) -> None:
        self._head = self._fields = self.received = 0
        cast("dict[str, Any]", self.scope)[OUTCOME] = {}
        super().on_headers_complete()  # which raises if the URL is none
        self._unanswered += 1
        self._enter("body")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._complete = True
        self._enter("answer" if self._unanswered else "idle")

    def on_response_complete(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._enter("idle" if self._complete else "rest")
        super().on_response_complete()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        if self._fields > HEAD_BYTES:
            self.refuse(431, f"the headers are longer than {HEAD_BYTES} bytes")
        else:
            self.refuse(400, "malformed HTTP")

    def refuse(self, status: int, reason: str) -> None:
        """Answer the request that is being read with an error, log it, and close the connection."""
        if self.transport.is_closing():
            return
        body = reason.encode("ascii", "replace")
        if self._unanswered:  # the application logs it
            self._tell_application(status, reason)
        else:
            self._log(status, reason)
        if not (self._unanswered and self.cycle.response_started):
            head = STATUS_LINE[status] + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            self.transport.write(head + retry + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()

    def cut(self, reason: str) -> None:
        """Close the connection at once, whatever it has not taken, and log why."""
        if self._unanswered:
            self._tell_application(HUNG_UP, reason)
        else:
            logger.info("connection closed", extra={"peer": peer_name(self.client), "reason": reason})
        self.transport.abort()

    def _tell_application(self, status: int, reason: str) -> None:
        """For its line in the log: what the request that it answers has come to."""
        cast("dict[str, Any]", self.cycle.scope)[OUTCOME].update(status=status, reason=reason)

    def _enter(self, phase: Phase, *, new_clock: bool = True) -> None:
        self.phase = phase
        if new_clock:
            self.since = time.monotonic()

    def _count(self, size: int) -> None:
        """Make the parser stop at headers that are too long but came at once."""
        self._fields += size
        if self._fields > HEAD_BYTES:
            raise ValueError("too long")

    def _log(self, status: int, reason: str) -> None:
        line = _REQUEST_LINE.match(self._first)
        asked = {"method": line[1].decode(), "path": line[2].decode("latin-1")[:MAX_PATH]} if line else {}
        ms = round(1000 * (time.monotonic() - self.since), 1)
        facts = {"peer": peer_name(self.client), **asked, "status": status, "ms": ms, "reason": reason}
        logger.info("request", extra=facts)
