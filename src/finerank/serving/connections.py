"""Limits on open connections: how many there are, of whom, and how long each may take to send and to read."""

import logging
import sys
import time
from collections import Counter
from ipaddress import ip_address
from typing import Literal, Protocol

from finerank.settings import ServeSettings

logger = logging.getLogger("finerank")

KEEP_ALIVE_S = 30
"""How long a connection may stay open between two requests."""

MOST_CONNECTIONS = 8192
"""Open at once where the limit on open files is no obstacle."""

_SPARE_FILES = 32
_IPV6_NETWORK = 64  # bits: what one customer of a provider has
_WARN_EVERY_S = 10.0
_BYTES_PER_S = 1000  # a body slower than this gives way to a new connection, and a reader slower is cut off

Phase = Literal["new", "head", "body", "answer", "idle", "rest"]
"""What a connection does: nothing yet, sends headers, sends a body, waits for the answer, is between two requests, or
sends the rest of a body that was answered before its end."""


class Connection(Protocol):
    """What the limits see of a connection. `since` is when its phase began, by `time.monotonic`."""

    phase: Phase
    since: float
    received: int

    @property
    def peer(self) -> str: ...
    @property
    def unsent(self) -> int: ...
    def refuse(self, status: int, reason: str) -> None: ...
    def cut(self, reason: str) -> None: ...


class Connections:
    """The open connections. A new one beyond a limit takes the place of one that keeps the server waiting; if there is
    none it is refused."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self.max_total = settings.max_connections or _default_max()
        self.max_per_peer = settings.max_peer_connections or max(self.max_total // 2, 1)
        self._open: dict[Connection, str] = {}
        self._by_peer: Counter[str] = Counter()
        self._unread: dict[Connection, tuple[float, int]] = {}
        self._given_up = 0
        self._warned = -_WARN_EVERY_S

    def add(self, connection: Connection) -> bool:
        """Whether there is a place for a new connection; makes one if need be."""
        network = _network(connection.peer)
        full, crowded = len(self._open) >= self.max_total, self._by_peer[network] >= self.max_per_peer
        placed = not (full or crowded) or self._make_room(network if crowded else None)
        if full or crowded:
            self._warn(network)
        if placed:
            self._open[connection] = network
            self._by_peer[network] += 1
        return placed

    def remove(self, connection: Connection) -> None:
        network = self._open.pop(connection, None)
        self._unread.pop(connection, None)
        if network is not None:
            self._by_peer[network] -= 1
            if not self._by_peer[network]:
                del self._by_peer[network]

    def sweep(self) -> None:
        """Close what has kept the server waiting too long. To be called a few times a second."""
        now = time.monotonic()
        settings = self._settings
        for connection in list(self._open):
            waited = now - connection.since
            if connection.phase == "head" and waited > settings.header_timeout_s:
                connection.refuse(408, f"the headers did not arrive within {settings.header_timeout_s:g} s")
            elif connection.phase == "new" and waited > settings.header_timeout_s:
                connection.cut(f"no request within {settings.header_timeout_s:g} s")
            elif connection.phase == "idle" and waited > KEEP_ALIVE_S + 1:  # uvicorn's own timer ends at the first byte
                connection.cut(f"no other request within {KEEP_ALIVE_S} s")
            elif connection.phase == "rest" and waited > settings.body_timeout_s:
                connection.cut(f"the rest of the body did not arrive within {settings.body_timeout_s:g} s")
            self._check_reader(connection, now)

    def _check_reader(self, connection: Connection, now: float) -> None:
        """Cut off a client that reads its response not at all, or very slowly."""
        unsent, limit_s = connection.unsent, self._settings.write_timeout_s
        if not unsent:
            self._unread.pop(connection, None)
            return
        since, before = self._unread.setdefault(connection, (now, unsent))
        if now - since < limit_s:
            return
        if before - unsent < limit_s * _BYTES_PER_S:
            connection.cut(f"the client left {unsent} bytes of its response unread for {limit_s:g} s")
        self._unread[connection] = now, unsent

    def _make_room(self, network: str | None) -> bool:
        """Close the connection that can best be spared: of this network, or of the one that has most."""
        network = network or self._by_peer.most_common(1)[0][0]
        now = time.monotonic()
        spare = [
            (rank, connection.since, connection)
            for connection, owner in self._open.items()
            if owner == network and (rank := _spared(connection, now)) is not None
        ]
        if not spare:
            return False
        connection = min(spare, key=lambda one: one[:2])[2]
        self._given_up += 1
        reason = "gave way to a new connection; see max_connections and max_peer_connections"
        if connection.phase in ("head", "body"):
            connection.refuse(408, reason)
        else:
            connection.cut(reason)
        self.remove(connection)
        return True

    def _warn(self, network: str) -> None:
        now = time.monotonic()
        if now - self._warned < _WARN_EVERY_S:
            return
        self._warned = now
        facts = {
            "open": len(self._open),
            "max_connections": self.max_total,
            "max_peer_connections": self.max_per_peer,
            "peer": network,
            "of_peer": self._by_peer[network],
            "gave_way": self._given_up,
        }
        logger.warning("too many connections", extra=facts)


def _spared(connection: Connection, now: float) -> int | None:
    """How well a connection can be spared, 0 best; None if it cannot be."""
    match connection.phase:
        case "new" | "head":
            return 0
        case "rest":
            return 1
        case "idle":
            return 2
        case "body" if connection.received < (now - connection.since - 1) * _BYTES_PER_S:
            return 3
    return None


def _network(address: str) -> str:
    """Who a connection counts for: an IPv4 address, or an IPv6 network."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if ip.version == 4 or ip.is_loopback:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{ip_address(int(ip) >> _IPV6_NETWORK << _IPV6_NETWORK)}/{_IPV6_NETWORK}"


def _default_max() -> int:
    """As many as the limit on open files leaves, less what models, stores and logs may need."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, files - max(_SPARE_FILES, files // 8)))
