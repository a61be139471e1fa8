"""Workers and the order in which they are measured: one at a time, turn by turn, so that what else the machine does
falls on all systems alike.
"""

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT
from benchmarks.workloads import Query

LARGE_MB = 2000
"""A worker that needed more ends after its turn and starts anew for the next, so that all fit into memory together:
ONNX Runtime keeps what it once took, 7 GB for FlashRank on 1x100."""


class SystemFailed(Exception):
    """A worker ended early; the message is the last line of what it said."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A system ready to start: `name` as TABLE:SYSTEM, the interpreter that runs it, its model folder."""

    name: str
    python: Path
    folder: Path


@dataclass(slots=True)
class Outcome:
    """A system's answers, one a measurement, until it failed, if it did."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""

    def attempt(self, measurement: Callable[[], dict[str, Any]]) -> None:
        """Add an answer, or the reason why there is none; nothing after a failure."""
        if self.failure:
            return
        try:
            self.answers.append(measurement())
        except SystemFailed as error:
            self.failure = str(error)

    def median(self, fact: str) -> float:
        return statistics.median(answer[fact] for answer in self.answers)


class Worker:
    """A process that runs one system; stopped, not only idle, while it is not its turn."""

    def __init__(self, candidate: Candidate, queries: Path) -> None:
        command = [candidate.python, "-m", "benchmarks.worker", candidate.name, candidate.folder, queries]
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - lives as long as the worker
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def score(self, queries: int, repeats: int = 1) -> dict[str, Any]:
        """Scores the first so many queries, or with 0 the first pair: seconds for one time, peak_memory_mb, logits."""
        self._process.send_signal(signal.SIGCONT)
        try:
            print(queries, repeats, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SystemFailed(self._last_line())
        self._process.send_signal(signal.SIGSTOP)
        return json.loads(answer)

    def _last_line(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else f"ended with status {status}"


class Player:
    """A candidate in a series of turns, with a worker that lives from turn to turn unless it grows large."""

    def __init__(self, candidate: Candidate, queries: Path) -> None:
        self._candidate, self._queries = candidate, queries
        self._worker: Worker | None = None

    def get_ready(self) -> dict[str, Any]:
        """An unmeasured answer: of the first query in a new worker, of the first pair in one that was stopped."""
        if self._worker is not None:
            return self._worker.score(0)
        self._worker = Worker(self._candidate, self._queries)
        return self._worker.score(1)

    def take_turn(self, queries: int, repeats: int) -> dict[str, Any]:
        self.get_ready()
        answer = self._worker.score(queries, repeats)
        if answer["peak_memory_mb"] > LARGE_MB:
            self.close()
        return answer

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def interleaved_rounds(
    candidates: Mapping[str, Candidate], queries: Sequence[Query], rounds: int, repeats: int = 1
) -> dict[str, Outcome]:
    """Each candidate scores the queries once a round, in turn.

    Before the rounds each loads its model and scores the first query, unmeasured.
    """
    outcomes = {name: Outcome() for name in candidates}
    with queries_file(queries) as file, ExitStack() as stack:
        players = {name: Player(candidate, file) for name, candidate in candidates.items()}
        for name, player in players.items():
            stack.callback(player.close)
            outcomes[name].attempt(player.get_ready)
        for outcome in outcomes.values():
            outcome.answers.clear()
        for _ in range(rounds):
            for name, player in players.items():
                outcomes[name].attempt(partial(player.take_turn, len(queries), repeats))
    return outcomes


def cold_start(candidate: Candidate, queries: Sequence[Query]) -> dict[str, Any]:
    """`seconds` from the start of a fresh process to its first score of the first query."""
    with queries_file(queries) as file:
        start = time.perf_counter()
        with closing(Worker(candidate, file)) as worker:
            worker.score(1)
            return {"seconds": time.perf_counter() - start}


@contextmanager
def queries_file(queries: Sequence[Query]) -> Iterator[Path]:
    """The queries as a file that workers read."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "queries.json"
        file.write_text(json.dumps(queries), encoding="utf-8")
        yield file


def _environment() -> dict[str, str]:
    """This shell's, without finerank's options and without any network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FINERANK_")}
    return {**kept, "HF_HUB_OFFLINE": "1"}
