"""The process: listens, runs the application, and on a signal finishes what it accepted before it goes."""

import asyncio
import logging
import socket
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from finerank.errors import FinerankError, InvalidSetting
from finerank.serving.app import Application
from finerank.serving.connections import KEEP_ALIVE_S, Connections
from finerank.serving.http_protocol import LimitedProtocol
from finerank.serving.keys import is_loopback, load_keys
from finerank.serving.models import Load
from finerank.settings import ServeSettings

logger = logging.getLogger("finerank")


BACKLOG = 2048
"""Connections that wait to be accepted: a burst is answered 429, not refused by the kernel."""


class Server:
    """Listens from its making on; answers while `run` runs.

    Raises `InvalidSetting` when the address cannot be taken, or a network could call without a key.
    """

    def __init__(self, model: str, load: Load, settings: ServeSettings) -> None:
        self._failures: list[str] = []
        keys = load_keys(settings)
        self._open_to_all = not keys and not is_loopback(settings.host)
        self.application = Application(model, load, settings, keys, self._failures.append)
        self._listener = _listen(settings.host, settings.port)
        self.url = _url(self._listener)

    def run(self) -> None:
        """Answer until told to stop: by `stop`, SIGTERM or SIGINT; the second signal does not wait.

        Raises `FinerankError` when the model cannot be loaded.
        """
        connections = Connections(self.application.settings)
        config = uvicorn.Config(
            self.application.asgi,
            http=cast("type[asyncio.Protocol]", partial(LimitedProtocol, open_connections=connections)),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the log names who connected, not who a header says did
            timeout_graceful_shutdown=1,  # requests are waited for in drain; what is left then has had its time
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        )
        logger.info("listening", extra={"url": self.url})
        if self._open_to_all:
            logger.warning("no API keys: whoever reaches this port may rank; set api_keys_file to change that")
        try:
            _Stoppable(config, self.application, connections, self._failures).run(sockets=[self._listener])
        finally:
            self._listener.close()
        if self._failures:
            raise FinerankError(self._failures[0])

    def stop(self) -> None:
        """Let no more requests in; `run` returns when those inside are answered."""
        self.application.gate.close()


class _Stoppable(uvicorn.Server):
    """Stops in two steps: first no request is let in, and /health says so; then, all being answered, it ends."""

    def __init__(
        self, config: uvicorn.Config, application: Application, connections: Connections, failures: list[str]
    ) -> None:
        super().__init__(config)
        self._application = application
        self._connections = connections
        self._failures = failures
        self._draining: asyncio.Task[None] | None = None
        self._hurried = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._application.gate.closed:
            self._hurried = True
            super().handle_exit(sig, frame)
        self._application.gate.close()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 3 == 0:
            self._connections.sweep()
        if self._application.gate.closed and self._draining is None:
            self._draining = asyncio.create_task(self._application.drain())
        if self._hurried:
            self._application.give_up()
        if self._failures or (self._draining is not None and self._draining.done()):
            self.should_exit = True
        return await super().on_tick(counter)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidSetting(
            f"host={host!r}, port={port}: cannot listen there: {error.strerror}; choose another with --port"
        ) from error
    listener.set_inheritable(True)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    name = "localhost" if host in ("0.0.0.0", "::", "127.0.0.1", "::1") else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
