"""A running server with a model of no weights, for tests that speak HTTP to it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from finerank.reranker import Reranker
from finerank.serving.server import Server
from finerank.settings import ServeSettings
from finerank.testing import stub_reranker


class RunningServer:
    """A server in a thread of this process. `http` speaks to it."""

    def __init__(
        self, load: Callable[[str], Reranker], state_dir: Path, *, model: str = "stub", **settings: object
    ) -> None:
        self._server = Server(model, load, ServeSettings(port=0, state_dir=str(state_dir), **settings))
        self.url = self._server.url
        self.address = "127.0.0.1", httpx.URL(self.url).port
        self.application = self._server.application
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()

    def ready(self) -> "RunningServer":
        self.until(lambda: self.http.get("/health").status_code == 200)
        return self

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it never came to be"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.stop()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.http.close()
        self.stop()
        self.join()


StartServer = Callable[..., RunningServer]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """`start_server(load, **settings)`: a running server; `load(name)` makes its models, stubs unless given."""
    started: list[RunningServer] = []

    def start(
        load: Callable[[str], Reranker] = lambda name: stub_reranker(), *, wait: bool = True, **settings: object
    ) -> RunningServer:
        started.append(RunningServer(load, tmp_path / "state", **settings))
        return started[-1].ready() if wait else started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def start_shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """`start_server` for a server that the fixture of a module or class shares."""
    started: list[RunningServer] = []

    def start(load: Callable[[str], Reranker], **settings: object) -> RunningServer:
        started.append(RunningServer(load, tmp_path_factory.mktemp("state"), **settings))
        return started[-1].ready()

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One running server that many tests share: a model of no weights, every setting at its default."""
    running = RunningServer(lambda name: stub_reranker(), tmp_path_factory.mktemp("state")).ready()
    yield running
    running.close()
