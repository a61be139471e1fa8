"""Locks that fork() waits for, and a check for libraries that a forked child cannot use.

A forked child has only the thread that forked: a lock that another one held then would never be released in it, and
what the lock guards would stay half done. A library that hands work to its own threads would wait for them forever.
"""

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Protocol
from weakref import WeakSet

from finerank.errors import LostThreads


class Held(Protocol):
    """A lock, or what has one: `acquire` is called before a fork, `release` after it in parent and child."""

    def acquire(self) -> object: ...
    def release(self) -> None: ...


_known: "WeakSet[Held]" = WeakSet()
_held: list[Held] = []
_forking = threading.Lock()


def hold_at_fork(lock: Held) -> None:
    """Let fork() wait for `lock`, for as long as it lives. Nobody who holds it may wait for another such lock."""
    _register()
    with _forking:
        _known.add(lock)


def forkable_lock() -> threading.Lock:
    """A lock that is free in a forked child."""
    lock = threading.Lock()
    hold_at_fork(lock)
    return lock


class ForkCheck:
    """Whether the threads of a library, which every process has once, stayed behind in the parent."""

    def __init__(self, library: str) -> None:
        self._library = library
        self._used = False
        self._lost = False

    def use(self, *, threaded: bool) -> None:
        """To be called before the library computes, on threads of its own if `threaded`.

        Raises `LostThreads` where it would wait for those of a parent process.
        """
        if self._lost and threaded:
            raise LostThreads(
                f"this process was forked after its parent had used {self._library}, whose threads a forked process "
                "lacks: scoring would hang. Start processes with multiprocessing.get_context('spawn'), or load the "
                "model in the children alone; threads=1 on the CPU and backend='native' work after a fork too"
            )
        if threaded and not self._used:
            self._used = True
            after_fork(self._lose)

    def _lose(self) -> None:
        self._lost = True


def after_fork(act: Callable[[], None]) -> None:
    """Call `act` in every child that this process forks from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=act)


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)


def _hold() -> None:
    _forking.acquire()
    for lock in list(_known):
        lock.acquire()
        _held.append(lock)


def _let_go() -> None:
    while _held:
        _held.pop().release()
    _forking.release()
