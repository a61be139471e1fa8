"""Locks that fork() waits for.

A forked child has only the thread that forked: a lock that another one held then would never be released in it, and
what the lock guards would stay half done.
"""

import os
import threading
from functools import cache
from typing import Protocol
from weakref import WeakSet


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
