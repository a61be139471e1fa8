"""Calls in child processes: their results, and what becomes of those that hang, crash or grow."""

import os
import threading
import time
from pathlib import Path

import pytest

from finerank.system.sandbox import Limits, Sandbox, SandboxError


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits(timeout_s=1.0, memory_mb=256)) as one:
        list(one.stream("string:capwords", "warm up"))
        yield one


def test_results_are_json_values_in_order(sandbox: Sandbox):
    assert list(sandbox.stream("itertools:repeat", {"页": [1, None]}, 3)) == [{"页": [1, None]}] * 3


def _pid(sandbox: Sandbox) -> str:
    return "".join(sandbox.stream("os:readlink", "/proc/self"))


def test_a_child_is_reused_after_an_error_and_replaced_after_a_crash(sandbox: Sandbox):
    first = _pid(sandbox)
    with pytest.raises(SandboxError, match="FileNotFoundError") as raised:
        list(sandbox.stream("os:listdir", "/no/such/folder"))
    assert raised.value.reason == "error"
    assert _pid(sandbox) == first != str(os.getpid())
    with pytest.raises(SandboxError, match="SIGABRT") as raised:
        list(sandbox.stream("os:abort"))
    assert raised.value.reason == "crash"
    assert _pid(sandbox) != first
    with pytest.raises(SandboxError, match="exit code 3"):
        list(sandbox.stream("os:_exit", 3))


@pytest.mark.parametrize(
    ("call", "reason", "message"),
    [
        (("time:sleep", 60), "time", "took more than 1 s"),
        (("itertools:count",), "time", "took more than 1 s"),
        (("builtins:bytearray", 1 << 29), "memory", "needs more than 256 MB"),
    ],
    ids=["hangs", "never ends", "grows"],
)
def test_limits(sandbox: Sandbox, call: tuple[str, object], reason: str, message: str):
    started = time.monotonic()
    with pytest.raises(SandboxError, match=message) as raised:
        for _ in sandbox.stream(*call):
            pass
    assert raised.value.reason == reason
    assert time.monotonic() - started < 10
    assert list(sandbox.stream("string:capwords", "a")) == ["A"]


def test_the_rest_of_an_answer_given_up_is_not_read_by_the_next_call(sandbox: Sandbox):
    answer = sandbox.stream("itertools:repeat", "old", 100)
    assert next(answer) == "old"
    answer.close()
    assert list(sandbox.stream("string:capwords", "new")) == list("New")


def test_a_child_gets_no_keys_and_cannot_write(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FINERANK_SERVE_KEYS", "secret")
    fresh = Sandbox(sandbox.limits)
    with fresh:
        assert list(fresh.stream("os:getenv", "FINERANK_SERVE_KEYS", "none")) == list("none")
        with pytest.raises(SandboxError):
            list(fresh.stream("shutil:copyfile", __file__, str(tmp_path / "copy")))


def test_threads_have_a_child_each(sandbox: Sandbox):
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append("".join(sandbox.stream("string:capwords", "a b"))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["A B"] * 3
