"""The real process with the real model: signals, a kill under load, and far more load than it can hold."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from resource import RLIMIT_NOFILE, setrlimit

import httpx
import pytest

from finerank.reranker import Reranker

PASSAGES = [f"The number {n} bus stops at the station every {n + 5} minutes, and also at night." for n in range(20)]
QUESTIONS = [f"how often does the number {n} bus stop at the station?" for n in range(8)]


class Process:
    """`finerank serve`, and how to reach it."""

    def __init__(self, folder: Path, files: int | None = None, **settings: object) -> None:
        environment = {f"FINERANK_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        self._log = (folder / "log").open("a+", encoding="utf-8")
        start = self._log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "finerank", "serve", "--port", "0", "--cache", str(folder / "scores.db")],
            cwd=folder,
            env={**os.environ, "FINERANK_SERVE_STATE_DIR": str(folder / "state"), **environment},
            stderr=self._log,
            preexec_fn=(lambda: setrlimit(RLIMIT_NOFILE, (files, files))) if files else None,
        )
        self._path, self._start = folder / "log", start
        self.wait_for("model loaded")
        url = next(line["url"] for line in self.lines() if line["event"] == "listening")
        self.url = str(url)

    def lines(self) -> list[dict]:
        text = self._path.read_text(encoding="utf-8")[self._start :]
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, event: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not any(line["event"] == event for line in self.lines()):
            assert self.process.poll() is None, self._path.read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def rank(self, question: str, passages: list[str] = PASSAGES) -> httpx.Response:
        body = {"query": question, "documents": passages}
        return httpx.post(f"{self.url}/finerank/v1/rerank", json=body, timeout=120, trust_env=False)

    def longest_wait(self, work: Callable[[], object]) -> float:
        """The most seconds that `/health/live` took while the work was done."""
        waits = [0.0]
        done = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as client:
                while not done.is_set():
                    start = time.monotonic()
                    client.get("/health/live")
                    waits.append(time.monotonic() - start)
                    time.sleep(0.02)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            work()
        finally:
            done.set()
            asking.join(60)
        return max(waits)

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.close()


@pytest.fixture(scope="module")
def right() -> dict[str, list[int]]:
    """The order the library gives each question."""
    with Reranker.from_pretrained() as reranker:
        return {question: [result.index for result in reranker.rank(question, PASSAGES)] for question in QUESTIONS}


def order(answer: httpx.Response) -> list[int]:
    return [row["index"] for row in answer.json()["results"]]


def ask_on(server: Process, question: str) -> None:
    """Until it fails, over other passages each time, so that none are cached."""
    for number in count():
        server.rank(question, [f"{passage} Line {number}." for passage in PASSAGES])


def test_a_signal_lets_requests_finish(processes, tmp_path, right) -> None:
    processes.append(Process(tmp_path))
    server = processes[0]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.rank, question) for question in QUESTIONS[:4]]
        while httpx.get(f"{server.url}/metrics", trust_env=False).text.count("in_flight") == 0:
            time.sleep(0.01)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert [order(answer.result()) for answer in answers] == [right[question] for question in QUESTIONS[:4]]
    assert server.process.wait(20) == 0


def test_a_second_signal_does_not_wait_and_says_so(processes, tmp_path) -> None:
    processes.append(Process(tmp_path, shutdown_s=60))
    server = processes[0]
    with ThreadPoolExecutor(4) as pool:
        long = [f"{passage} Line {number}." * 20 for passage in PASSAGES for number in range(10)]
        asked = [pool.submit(server.rank, question, long) for question in QUESTIONS[:2]]
        time.sleep(1)
        for _ in range(2):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {503}
    assert all("retry-after" in answer.headers for answer in answers)
    server.process.wait(20)


def test_a_kill_in_mid_load_and_a_restart(processes, tmp_path, right) -> None:
    processes.append(Process(tmp_path))
    first = processes[0]
    assert order(first.rank(QUESTIONS[0])) == right[QUESTIONS[0]]
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask_on, first, question) for question in QUESTIONS]
        time.sleep(1.0)
        first.process.kill()
        assert all(isinstance(one.exception(60), httpx.TransportError) for one in asking)
    processes.append(Process(tmp_path))
    again = processes[1]
    answers = {question: again.rank(question) for question in QUESTIONS}
    assert {question: order(answer) for question, answer in answers.items()} == right
    assert answers[QUESTIONS[0]].json()["usage"]["cached"] == 20


@pytest.mark.slow
def test_ten_times_the_load_for_a_minute(processes, tmp_path) -> None:
    """No request without an answer, no wrong answer, and memory bounded."""
    processes.append(Process(tmp_path, max_queue_tokens=8000, max_requests=64))
    server = processes[0]
    for question in QUESTIONS:
        server.rank(question)
    before = server.memory_mb()
    outcomes: list[int] = []
    wrong: list[str] = []
    peak = [before]
    end = time.monotonic() + 60

    def ask(worker: int) -> None:
        number = worker
        while time.monotonic() < end:
            bus = number % len(QUESTIONS)
            passages = [f"{passage} Report {worker}.{number}." for passage in PASSAGES]  # nothing comes from the cache
            answer = server.rank(QUESTIONS[bus], passages)
            number += 1
            outcomes.append(answer.status_code)
            if answer.status_code == 200:
                if order(answer)[0] != bus or sorted(order(answer)) != list(range(20)):
                    wrong.append(QUESTIONS[bus])
            elif answer.status_code != 429 or int(answer.headers["retry-after"]) < 1:
                wrong.append(f"{answer.status_code} {answer.text}")
            else:
                time.sleep(0.1)  # a caller who comes again much too soon
            peak[0] = max(peak[0], server.memory_mb())

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(128)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    answered, refused = outcomes.count(200), outcomes.count(429)
    assert answered + refused == len(outcomes)
    assert refused > 9 * answered
    assert peak[0] < before + 300
    assert [order(server.rank(question))[0] for question in QUESTIONS] == list(range(len(QUESTIONS)))


def test_the_command_line_says_what_is_wrong(tmp_path) -> None:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "finerank", "serve", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
        )

    missing = run("--port", "0", "--model", "./nowhere")
    assert missing.returncode == 1
    assert "nowhere" in missing.stderr
    opened = run("--host", "0.0.0.0", "--port", "0")
    assert opened.returncode == 1
    assert "api_keys_file" in opened.stderr
    wrong = run(FINERANK_SERVE_MAX_DOCUMENTS="many")
    assert wrong.returncode == 2
    assert "FINERANK_SERVE_MAX_DOCUMENTS=many" in wrong.stderr


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("running"))
    yield process
    process.close()


def raw(query: str, document: str, more: bytes = b"") -> bytes:
    return json.dumps({"query": query, "documents": [document]}, ensure_ascii=False).encode()[:-1] + more + b"}"


HEAVY = {
    "a word of 3 MB": raw("q", "a" * 3_000_000),
    "9 MB that the tokenizer drops": raw("q", "\u200b" * 3_000_000),
    "a query that the tokenizer drops": raw("\u200b" * 3_000_000 + "q", "a"),
    "a query of 5 MB": raw("ab " * 1_700_000, "a"),
    "15 MB of ignored numbers": raw("q", "a", b', "x": [' + b"1," * 7_500_000 + b"1]"),
    "15 MB of ignored objects": raw("q", "a", b', "x": [' + b'{"a":1},' * 1_800_000 + b"1]"),
    "an ignored text of 15 MB": raw("q", "a", b', "x": "' + b"\\u4e2d" * 2_400_000 + b'"'),
    "15 MB of brackets": raw("q", "a", b', "x": ' + b"[" * 15_000_000),
    "a number of 15 MB": raw("q", "a", b', "top_n": ' + b"1" * 15_000_000),
    "3 million documents": b'{"query": "q", "documents": ["a"' + b',"b"' * 3_000_000 + b"]}",
    "words in passages": raw("q", "ab cd ef gh " * 600_000, b', "long_documents": "chunk"'),
    "a word in passages": raw("q", "a" * 7_000_000, b', "long_documents": "chunk"'),
}


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY)
def test_no_request_keeps_the_others_from_an_answer(running, body) -> None:
    """Twice at once, within a deadline of a second: seconds without the lock of Python, or without the event loop, show
    in the answers of /health/live, and work that goes on after the deadline in the request that follows."""

    def send(_: int) -> tuple[float, int]:
        start = time.monotonic()
        headers = {"x-request-timeout": "1"}
        answer = httpx.post(
            f"{running.url}/finerank/v1/rerank", content=body, headers=headers, timeout=60, trust_env=False
        )
        return time.monotonic() - start, answer.status_code

    def send_two() -> list[tuple[float, int]]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(send, range(2)))

    answers: list[tuple[float, int]] = []
    assert running.longest_wait(lambda: answers.extend(send_two())) < 1
    assert all(seconds < 4 for seconds, _ in answers)
    assert {status for _, status in answers} <= {200, 413, 422, 504}
    assert running.rank(QUESTIONS[0]).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"])
def test_silent_connections_do_not_use_up_the_open_files(processes, tmp_path, sent) -> None:
    processes.append(Process(tmp_path, files=64))
    server = processes[0]
    url = httpx.URL(server.url)
    held = [socket.create_connection((url.host, url.port), timeout=10) for _ in range(60)]
    for one in held:
        with suppress(OSError):  # it may have made room for another
            one.sendall(sent)
    time.sleep(1.5 if sent else 0)  # a body counts as slow after a second
    assert order(server.rank(QUESTIONS[0]))[0] == 0
    warnings = [line for line in server.lines() if line["event"] == "too many connections"]
    assert warnings
    assert warnings[0]["level"] == "warning"
    for one in held:
        one.close()
