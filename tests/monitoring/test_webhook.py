import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finerank import InvalidSetting
from finerank.monitoring.webhook import Webhook


class Target:
    """A local HTTP server that keeps the bodies it is sent and answers with the statuses given, then 200."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.types: list[str | None] = []
        self.statuses: list[int] = []
        self.arrived = threading.Semaphore(0)
        self.hold = threading.Event()
        self.hold.set()
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                target.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                target.types.append(self.headers["Content-Type"])
                target.arrived.release()
                target.hold.wait(10)
                self.send_response(target.statuses.pop(0) if target.statuses else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret/path"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.hold.set()
    target.server.shutdown()
    target.server.server_close()


@pytest.fixture
def webhook() -> Iterator[Callable[..., Webhook]]:
    made: list[Webhook] = []

    def make(url: str, **options: Any) -> Webhook:
        made.append(Webhook(url, **{"retry_after_s": (0.01, 0.01), **options}))
        return made[-1]

    yield make
    for each in made:
        each.close(0)


def test_bodies_arrive_in_order(target: Target, webhook) -> None:
    hook = webhook(target.url)
    for number in range(20):
        hook.send({"number": number, "tag": "客服"})
    hook.close()
    assert target.bodies == [{"number": number, "tag": "客服"} for number in range(20)]
    assert set(target.types) == {"application/json; charset=utf-8"}


def test_a_body_is_sent_again_when_the_target_fails(target: Target, webhook, caplog) -> None:
    target.statuses = [503, 500]
    hook = webhook(target.url)
    hook.send({"number": 1})
    for _ in range(3):
        assert target.arrived.acquire(timeout=10)
    hook.close()
    assert target.bodies == [{"number": 1}] * 3
    assert "HTTP Error 503" in caplog.text
    assert "secret" not in caplog.text


def test_a_redirect_is_no_delivery(target: Target, webhook, caplog) -> None:
    target.statuses = [302]
    hook = webhook(target.url, retry_after_s=())
    hook.send({"number": 1})
    hook.close()
    assert target.bodies == [{"number": 1}]
    assert "HTTP Error 302" in caplog.text


def test_a_target_that_is_down_is_logged_and_left(target: Target, webhook, caplog) -> None:
    target.server.shutdown()
    target.server.server_close()
    hook = webhook(target.url)
    hook.send({"number": 1})
    hook.send({"number": 2})
    hook.close()
    assert caplog.text.count("not delivered") >= 2
    assert not hook._thread.is_alive()


def test_a_slow_target_holds_up_nobody(target: Target, webhook, caplog) -> None:
    target.hold.clear()
    hook = webhook(target.url, timeout_s=30, max_waiting=3)
    hook.send({"number": 0})
    assert target.arrived.acquire(timeout=10)
    with caplog.at_level(logging.WARNING, "finerank"):
        for number in range(1, 6):
            hook.send({"number": number})
    assert caplog.text.count("one is dropped") == 2
    hook.close(0)
    assert "closed before all was delivered" in caplog.text


def test_a_slow_target_is_given_up(target: Target, webhook, caplog) -> None:
    target.hold.clear()
    hook = webhook(target.url, timeout_s=0.05, retry_after_s=())
    hook.send({"number": 1})
    hook.close()
    assert "timed out" in caplog.text


@pytest.mark.parametrize("url", ["file:///etc/passwd", "example.org/x", "http://", "https://[half", "http://a:port/"])
def test_only_http_is_posted_to(url: str) -> None:
    with pytest.raises(InvalidSetting, match="http://host"):
        Webhook(url)
