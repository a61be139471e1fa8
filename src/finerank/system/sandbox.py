"""Child processes that run parsers on untrusted files, with limits on time and memory.

A parser that hangs, crashes or asks for too much memory takes its child down, and the caller gets a `SandboxError`.
Children are reused: a call costs a few hundred microseconds, a start about 0.2 s. Results come back as JSON, since
unpickling what a subverted parser sends would run its code here.
"""

import contextlib
import importlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

CALLS_PER_PROCESS = 500
"""Calls after which a child is replaced, so that what a library leaks stays bounded."""

_HEADER = struct.Struct(">BQ")
_ITEM, _END, _FAILED = range(3)
_START = "import sys; sys.path[:] = sys.argv[2:]; from finerank.system.sandbox import serve; serve(int(sys.argv[1]))"
# A parser needs no API keys, so it gets none.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "PYTHONHOME")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use. The memory limit needs Linux; elsewhere only time is limited."""

    timeout_s: float = 120.0
    memory_mb: int = 1024


class SandboxError(Exception):
    """A call that failed: `reason` is "time", "memory" or "crash" for a child that had to end, else "error"."""

    def __init__(self, message: str, reason: Literal["time", "memory", "crash", "error"]) -> None:
        super().__init__(message)
        self.reason = reason


class Sandbox:
    """Runs functions in child processes, one for each thread that calls at the same time.

    >>> with Sandbox(Limits(timeout_s=10)) as sandbox:
    ...     list(sandbox.stream("string:capwords", "reset the router"))[:5]
    ['R', 'e', 's', 'e', 't']
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._idle: list[_Child] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the idle children."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()

    def stream(self, function: str, *arguments: object) -> Iterator[Any]:
        """What the iterable returned by `function` ("module:name") yields, as JSON values. Raises `SandboxError`.

        `limits.timeout_s` counts the time spent waiting for the child, over the whole call.
        """
        child = self._take()
        reusable = False  # not after a caller that stops early either: the rest of its answer must not be read later
        try:
            yield from child.stream(function, arguments)
            reusable = True
        except SandboxError as error:
            reusable = error.reason == "error"
            raise
        finally:
            self._give_back(child, reusable)

    def _give_back(self, child: "_Child", reusable: bool) -> None:
        with self._lock:
            if reusable and child.calls < CALLS_PER_PROCESS and not self._idle:
                self._idle.append(child)
                return
        child.close()

    def _take(self) -> "_Child":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.usable:
                    return child
                child.close()
        return _Child(self.limits)


class _Child:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._owner = os.getpid()
        self.calls = 0
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(limits.memory_mb), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONUTF8": "1"},
        )

    @property
    def usable(self) -> bool:
        """Whether it still runs, and is this process's: one inherited by a fork answers the parent."""
        return self._owner == os.getpid() and self._process.poll() is None

    def stream(self, function: str, arguments: tuple[object, ...]) -> Iterator[Any]:
        self.calls += 1
        remaining_s = self._limits.timeout_s
        call = json.dumps([function, arguments, remaining_s]).encode()
        with contextlib.suppress(BrokenPipeError):  # it ended: reading says why
            _write(self._input, _ITEM, call)
        while True:
            started = time.monotonic()
            kind, content = self._read(remaining_s)
            remaining_s -= time.monotonic() - started
            if kind == _END:
                return
            value = json.loads(content)
            if kind == _FAILED:
                reason: Literal["memory", "error"] = "memory" if value["type"] == "MemoryError" else "error"
                said = self._needs_memory() if reason == "memory" else f"{value['type']}: {value['message']}"
                raise SandboxError(said, reason)
            yield value

    def close(self) -> None:
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):
                pipe.close()
        if self._owner == os.getpid():
            self._process.kill()
            self._process.wait()

    def _read(self, timeout_s: float) -> tuple[int, bytes]:
        """The next message. Kills a child that takes longer, or whose message is larger than its memory."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(max(0.0, timeout_s), end)
        timer.daemon = True
        timer.start()
        try:
            kind, size = _HEADER.unpack(_read_exactly(self._output, _HEADER.size))
            if size > self._limits.memory_mb << 20:
                raise SandboxError(self._needs_memory(), "memory")
            return kind, _read_exactly(self._output, size)
        except EOFError:
            if late.is_set():
                raise SandboxError(f"took more than {self._limits.timeout_s:g} s", "time") from None
            raise SandboxError(self._ended(), "crash") from None
        finally:
            timer.cancel()

    def _needs_memory(self) -> str:
        return f"needs more than {self._limits.memory_mb} MB of memory"

    def _ended(self) -> str:
        code = self._process.wait()
        try:
            cause = signal.Signals(-code).name
        except ValueError:
            cause = f"exit code {code}"
        return f"crashed its parser ({cause}): damaged, or it needs more than {self._limits.memory_mb} MB of memory"

    @property
    def _input(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]

    @property
    def _output(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]


def serve(memory_mb: int) -> None:
    """The child: limit itself, then answer calls until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the input
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what libraries print would break the protocol, or show the file's text
        os.dup2(silent, descriptor)
    warnings.simplefilter("ignore")
    _limit_memory(memory_mb << 20)
    while True:
        try:
            _, content = _receive(calls)
        except EOFError:
            return
        function, arguments, timeout_s = json.loads(content)
        _limit_processor(timeout_s)
        try:
            module, _, name = function.partition(":")
            for value in getattr(importlib.import_module(module), name)(*arguments):
                _write(answers, _ITEM, json.dumps(value).encode())
            _write(answers, _END, b"")
        except Exception as error:  # noqa: BLE001 - every failure is told to the parent
            said = {"type": type(error).__name__, "message": str(error)}
            error.__traceback__ = None  # its frames hold what the call allocated
            _write(answers, _FAILED, json.dumps(said).encode())


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in (("RLIMIT_AS", size), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower hard limit holds, and macOS has none of memory
            limit = getattr(resource, name)
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def _limit_processor(timeout_s: float) -> None:
    """Ends a child whose parent was killed while it hangs: nobody is left to end it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + timeout_s) + 5
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _receive(stream: BinaryIO) -> tuple[int, bytes]:
    kind, size = _HEADER.unpack(_read_exactly(stream, _HEADER.size))
    return kind, _read_exactly(stream, size)


def _write(stream: BinaryIO, kind: int, content: bytes) -> None:
    stream.write(_HEADER.pack(kind, len(content)) + content)
    stream.flush()


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content
