"""What the tests of deploy/ share: settings, paths and metrics of the server, and the tools that check files."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from finerank.monitoring.metrics import Metrics
from finerank.serving.app import Application
from finerank.serving.keys import Keys
from finerank.settings import RagSettings, ServeSettings, Settings, unknown_variables
from finerank.testing import stub_reranker

CheckTool = Callable[..., None]


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], ServeSettings]:
    """The server's settings under these environment variables; fails on a FINERANK_ variable that nothing reads."""

    def load(environment: dict[str, str]) -> ServeSettings:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            assert unknown_variables() == []
            Settings.load()
            return ServeSettings.load()

    return load


@pytest.fixture(scope="session")
def option_names() -> dict[str, set[str]]:
    """By table of finerank.toml, the options there are; the engine's under ""."""
    return {group.TABLE: {option.name for option in fields(group)} for group in (Settings, ServeSettings, RagSettings)}


@pytest.fixture(scope="session")
def status_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], int]:
    """What a server answers to GET: 404 where it has no such path."""
    settings = ServeSettings(state_dir=str(tmp_path_factory.mktemp("state")))
    application = Application("m", lambda name: stub_reranker(), settings, Keys(()))
    client = TestClient(application.asgi, base_url="http://localhost")
    return lambda path: client.get(path).status_code


@pytest.fixture(scope="session")
def first_metrics() -> str:
    """/metrics of a server that has seen no request."""
    metrics = Metrics()
    metrics.watch_queue(lambda: (0, 0))
    return metrics.render()[1].decode()


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a tool of the extra `deploy`; skips where it is not installed."""

    def find(tool: str) -> str:
        beside = Path(sys.executable).parent
        found = shutil.which(tool, path=str(beside)) or shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not installed: make check-deploy")
        return found

    return find


@pytest.fixture(scope="session")
def check(program: Callable[[str], str]) -> CheckTool:
    """Runs a tool over files; fails with what it says."""

    def run(tool: str, *arguments: str, files: Iterable[Path]) -> None:
        executable = program(tool)
        found = [str(file) for file in files]
        assert found
        path = f"{Path(executable).parent}:/usr/bin:/bin"
        done = subprocess.run([executable, *arguments, *found], capture_output=True, text=True, env={"PATH": path})
        assert done.returncode == 0, done.stdout + done.stderr

    return run
