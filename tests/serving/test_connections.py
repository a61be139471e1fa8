"""Connections that are silent, slow, malformed or too many, and what the log says of them."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

import httpx
import pytest

from finerank.serving.connections import Connections, _network
from finerank.settings import ServeSettings

BODY = {"query": "where is it", "documents": ["it is here", "not there"]}
HEAD = b"POST /finerank/v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"


@contextmanager
def opened(server, number: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(server.address, timeout=10)) for _ in range(number)]
        for one in sockets:
            one.sendall(data)
        time.sleep(0.05)
        yield sockets


def read_all(connection: socket.socket) -> bytes:
    """What the server sends until it closes."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def drip(connection: socket.socket, data: bytes, seconds: float = 5) -> None:
    """Send a little, again and again: it raises `ConnectionError` when the server has closed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(data)
        time.sleep(0.05)


def lines(caplog, event: str = "request") -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.message == event]


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: loc", HEAD + b"\r\n{"], ids=len)
def test_connections_that_wait_lock_nobody_out(start_server, caplog, sent) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(max_connections=12, header_timeout_s=30, body_timeout_s=30)
    with opened(server, 40, sent):
        if sent.startswith(HEAD):
            time.sleep(1.2)  # a body is slow only after a while
        with httpx.Client(base_url=server.url, trust_env=False) as other:
            assert other.get("/health").status_code == 200
            assert other.post("/finerank/v1/rerank", json=BODY).status_code == 200
        (warning, *_) = lines(caplog, "too many connections")
        assert (warning.levelname, warning.peer, warning.max_connections) == ("WARNING", "127.0.0.1", 12)


def test_slow_bodies_take_no_place_of_a_request(start_server) -> None:
    server = start_server(max_requests=2)
    with opened(server, 20, HEAD + b"\r\n{"):
        assert server.http.post("/v2/rerank", json=BODY).status_code == 200
        assert server.application.gate.inside == 0


@pytest.mark.parametrize("sent", [b"GET /secret", b"GET /secret?q=text HTTP/1.1\r\nHost: l"], ids=len)
def test_headers_that_do_not_arrive_are_408(start_server, caplog, sent) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(header_timeout_s=0.3)
    with opened(server, 1, sent) as (half,):
        assert read_all(half).startswith(b"HTTP/1.1 408 ")
    (line,) = (line for line in lines(caplog) if line.status == 408)
    assert line.peer.startswith("127.0.0.1:")
    assert "0.3 s" in line.reason
    assert getattr(line, "path", "/secret") == "/secret"


def test_headers_that_drip_end_too(start_server) -> None:
    server = start_server(header_timeout_s=0.3)
    with opened(server, 1, b"GET / HTTP/1.1\r\n") as (dripping,), pytest.raises(ConnectionError):
        drip(dripping, b"X: a\r\n")


def test_a_silent_connection_is_closed_and_logged(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(header_timeout_s=0.3)
    with opened(server, 1) as (silent,):
        assert read_all(silent) == b""
    (line,) = lines(caplog, "connection closed")
    assert line.peer.startswith("127.0.0.1:")
    assert "0.3 s" in line.reason


@pytest.mark.parametrize("drips", [False, True])
def test_a_body_has_to_arrive_in_time(start_server, caplog, drips) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(body_timeout_s=0.4)
    with opened(server, 1, HEAD + b"\r\n{") as (slow,):
        slow.settimeout(0.1 if drips else 10)
        for _ in count():
            try:
                answer = slow.recv(4096)
                break
            except TimeoutError:
                slow.sendall(b" ")
        assert answer.startswith(b"HTTP/1.1 504 ")
    server.until(lambda: any(line.status == 504 and "0.4 s" in line.reason for line in lines(caplog)))


def test_a_body_that_nobody_reads_has_to_end_too(start_server) -> None:
    server = start_server(api_keys=("key",), body_timeout_s=0.3)
    with opened(server, 1, HEAD + b"\r\n{") as (slow,):
        assert slow.recv(4096).startswith(b"HTTP/1.1 401 ")
        with pytest.raises(ConnectionError):
            drip(slow, b" ")


def test_a_client_that_does_not_read_is_cut_off(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(write_timeout_s=0.4)
    body = httpx.Request("POST", server.url, json={"query": "q", "documents": ["it" * 2_000_000]}).read()
    head = b"POST /finerank/v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(10)
        deaf.connect(server.address)
        deaf.sendall(head + body)
        server.until(lambda: any("unread" in line.reason for line in lines(caplog, "connection closed")))
    assert server.http.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense with a treasure\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST //v1/rerank/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\ntreasure\r\n", 400),
        (b"POST /finerank/v1/rerank HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (
            b"POST /finerank/v1/rerank HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ntreasure\r\n",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_malformed_requests_are_logged_once(start_server, caplog, sent, status) -> None:
    caplog.set_level(logging.INFO)
    server = start_server()
    before = len(lines(caplog))
    with opened(server, 1, sent) as (wrong,):
        assert read_all(wrong).startswith(b"HTTP/1.1 %d " % status)
    server.until(lambda: len(lines(caplog)) > before)
    (line,) = lines(caplog)[before:]
    assert (line.status, line.reason) == (status, "malformed HTTP")
    assert line.peer.startswith("127.0.0.1:")
    assert not any("treasure" in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("field", [b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000], ids=len)
def test_long_headers_that_arrive_at_once_are_431(start_server, field) -> None:
    server = start_server()
    end = b"\r\n\r\n" if b"HTTP" in field else b" HTTP/1.1\r\n\r\n"
    with opened(server, 1, field + end) as (long,):
        assert read_all(long).startswith(b"HTTP/1.1 431 ")


def test_long_headers_are_logged(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    server = start_server()
    with opened(server, 1, b"GET /long HTTP/1.1\r\nHost: localhost\r\n") as (long,):
        with suppress(ConnectionError):
            long.sendall(b"X: " + b"a" * 1_000_000)
        server.until(lambda: any(line.status == 431 for line in lines(caplog)))
    (line,) = (line for line in lines(caplog) if line.status == 431)
    assert (line.method, line.path) == ("GET", "/long")


def test_a_peer_that_has_many_connections_makes_room_for_others() -> None:
    class Open:
        unsent = received = 0
        since = time.monotonic()

        def __init__(self, peer: str, phase: str = "new") -> None:
            self.peer, self.phase, self.ended = peer, phase, ""

        def refuse(self, status: int, reason: str) -> None:
            self.ended = reason

        def cut(self, reason: str) -> None:
            self.ended = reason

    limits = Connections(ServeSettings(max_connections=6, max_peer_connections=4))
    one = Open("10.0.0.1")
    crowd = [Open("10.0.0.2", phase) for phase in ("answer", "idle", "new", "answer")]
    assert all(limits.add(each) for each in (one, *crowd))
    assert limits.add(Open("10.0.0.2"))  # in the place of one of its own, which has asked nothing
    assert [bool(each.ended) for each in (one, *crowd)] == [False, False, False, True, False]
    assert limits.add(Open("10.0.0.3"))
    assert limits.add(Open("10.0.0.3", "answer"))  # the server is full: the busiest peer makes room
    assert not one.ended
    for _ in range(2):
        limits.add(Open("10.0.0.2", "answer"))
    assert not limits.add(Open("10.0.0.2"))  # all of its own are being answered
    assert not one.ended


def test_who_a_connection_counts_for() -> None:
    assert _network("2001:db8:1:2:3::4") == _network("2001:db8:1:2::9") != _network("2001:db8:1:3::9")
    assert _network("::ffff:10.0.0.1") == "10.0.0.1" != _network("10.0.0.2")
    assert _network("::1") == "::1"
