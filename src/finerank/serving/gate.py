"""Admission control: how many requests, and how many bytes of them, are inside at once; none during shutdown."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from finerank.errors import Overloaded, Unavailable
from finerank.messages import Message

BODIES = 8
"""Bodies of the largest size that may be held at once: what bounds the memory that waiting requests take."""


class Gate:
    """Lets requests in, up to a number and a size. Lives on the event loop."""

    def __init__(self, max_requests: int, max_body_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = BODIES * max_body_bytes
        self._bytes = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.inside = 0
        self.closed = False

    @contextmanager
    def enter(self) -> Iterator["Visit"]:
        """One request, from its arrival to its answer. It counts as inside once it is admitted: a body that is slow to
        arrive takes no place. Raises `Unavailable` when closed, `Overloaded` when full."""
        self._check_room()
        visit = Visit(self)
        try:
            yield visit
        finally:
            self._bytes -= visit.held
            if visit.admitted:
                self.inside -= 1
                if not self.inside:
                    self._empty.set()

    def _check_room(self) -> None:
        if self.closed:
            raise Unavailable(
                Message("the server is shutting down; send the request to another, or later", "server.closing"),
                retry_after_s=5,
            )
        if self.inside >= self._max_requests:
            raise Overloaded(
                Message(
                    "{inside} requests are being answered and max_requests is {limit}; try again in 1 s",
                    "server.requests",
                    inside=self.inside,
                    limit=self._max_requests,
                ),
                retry_after_s=1,
            )

    def _admit(self) -> None:
        self._check_room()
        self.inside += 1
        self._empty.clear()

    def close(self) -> None:
        """Let no more in."""
        self.closed = True

    async def emptied(self) -> None:
        """Wait until nobody is inside."""
        await self._empty.wait()

    def _hold(self, size: int) -> None:
        if self._bytes and self._bytes + size > self._max_bytes:
            raise Overloaded(
                Message(
                    "the bodies of waiting requests fill {megabytes} MB; try again in 1 s",
                    "server.bodies",
                    megabytes=self._bytes // 10**6,
                ),
                retry_after_s=1,
            )
        self._bytes += size


class Visit:
    """One request inside the gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.held = 0
        self.admitted = False

    def admit(self) -> None:
        """Count it as inside: its body is complete. Raises as `enter`."""
        self._gate._admit()
        self.admitted = True

    def hold(self, size: int) -> None:
        """Account for so many more bytes of its body. Raises `Overloaded` when all bodies together are too much."""
        self._gate._hold(size)
        self.held += size
