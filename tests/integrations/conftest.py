"""What every framework's reranker is tried with: a local model, any ranker, and a running server."""

import threading
from collections.abc import Iterator

import pytest

from finerank.reranker import Reranker
from finerank.serving.server import Server
from finerank.settings import ServeSettings
from finerank.testing import stub_reranker

QUERY = "hold the reset button"
TEXTS = ["Keep it dry.", "Hold the reset button.", "Hold it.", "", "Buy two."]
BEST_FIRST = [1, 2, 3, 4, 0]
"""Indices of `TEXTS` in the order of the stub model."""


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running server with a model of no weights, and the key "secret"."""
    state = str(tmp_path_factory.mktemp("state"))
    server = Server("stub", lambda name: stub_reranker(), ServeSettings(port=0, state_dir=state, api_keys=("secret",)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server.url
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(params=["local", "ranker", "url"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The options that say what ranks."""
    if request.param == "url":
        return {"url": request.getfixturevalue("server_url"), "api_key": "secret"}
    if request.param == "ranker":
        return {"ranker": stub_reranker()}
    monkeypatch.setattr(Reranker, "from_pretrained", lambda model, **options: stub_reranker(**options))
    return {"model": "some/model"}
