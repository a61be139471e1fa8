"""`RemoteReranker` against a server that answers as it is told; against finerank's own: serving/test_remote.py."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from finerank import RemoteReranker
from finerank.errors import (
    DeadlineExceeded,
    FinerankError,
    Forbidden,
    InvalidInput,
    InvalidSetting,
    Overloaded,
    RequestRefused,
    Unavailable,
)
from finerank.remote import ATTEMPTS

OK = json.dumps(
    {
        "model": "m",
        "degraded": "",
        "usage": {"pairs": 1, "tokens": 3, "truncated": 0, "cached": 0, "skipped": 0},
        "timings": {"total_ms": 2.0},
        "results": [
            {"index": 0, "rank": 1, "score": 0.5, "logit": 0.0}
            | {"truncated": False, "best_span": None, "probability": None}
        ],
    }
)


class Script:
    """Answers each request with the next of `answers`: a status, headers and a body; None hangs up, a number waits."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], str] | float | None] = []
        self.requests: list[tuple[dict[str, str], dict[str, object]]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script.requests.append((dict(self.headers), json.loads(body)))
                answer = script.answers.pop(0)
                if isinstance(answer, float):
                    time.sleep(answer)
                if not isinstance(answer, tuple):
                    self.close_connection = True
                    return
                status, headers, text = answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.close()


@pytest.fixture
def remote(script: Script) -> Iterator[RemoteReranker]:
    with RemoteReranker(script.url) as made:
        yield made


def refusal(status: int, kind: str, message: str = "why", **headers: str) -> tuple[int, dict[str, str], str]:
    fields = {"kind": kind, "message": message, "field": None, "retry_after_s": None}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps({"error": fields})


def test_a_busy_server_is_asked_again_when_it_says(script: Script, remote: RemoteReranker):
    script.answers = [
        refusal(429, "overloaded", retry_after="0"),
        refusal(503, "unavailable", retry_after="0"),
        None,
        (200, {}, OK),
    ]
    script.answers *= 2
    assert remote.rank("q", ["d"]).model == "m"
    assert asyncio.run(remote.rank_async("q", ["d"])).model == "m"
    assert len(script.requests) == 8


@pytest.mark.parametrize(
    ("status", "kind", "error"), [(429, "overloaded", Overloaded), (503, "unavailable", Unavailable)]
)
def test_asking_again_has_an_end(script, remote, status: int, kind: str, error: type[FinerankError]):
    script.answers = [refusal(status, kind, retry_after="0")] * 10
    with pytest.raises(error, match="why"):
        remote.rank("q", ["d"])
    assert len(script.requests) == ATTEMPTS


def test_a_wait_beyond_the_deadline_is_not_begun(script: Script):
    script.answers = [refusal(429, "overloaded", retry_after="3600")]
    with RemoteReranker(script.url, timeout_s=30) as remote, pytest.raises(Overloaded) as raised:
        remote.rank("q", ["d"])
    assert raised.value.retry_after_s == 3600


def test_a_server_that_is_late(script: Script):
    script.answers = [1.5, 1.5]
    with RemoteReranker(script.url, timeout_s=0.05) as remote:
        with pytest.raises(DeadlineExceeded, match="raise timeout_s"):
            remote.rank("q", ["d"])
        with pytest.raises(DeadlineExceeded, match="raise timeout_s"):
            asyncio.run(remote.rank_async("q", ["d"]))
    headers, _ = script.requests[0]
    assert 0 < float(headers["X-Request-Timeout"]) <= 0.05


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (refusal(422, "invalid", "documents[3] is None"), InvalidInput, r"documents\[3\]"),
        (refusal(403, "forbidden"), Forbidden, "why"),
        ((403, {}, "<html>"), Forbidden, "answered 403"),
        ((404, {}, "{}"), RequestRefused, "is it the address of a finerank server"),
        ((301, {"Location": "/x"}, ""), RequestRefused, "answered 301"),
        ((200, {}, "<html>"), RequestRefused, "does not answer as a finerank server"),
        ((200, {}, "[]"), RequestRefused, "does not answer as a finerank server"),
        ((200, {}, OK.replace('"index": 0', '"index": 1')), RequestRefused, "index 1 of 1"),
        ((200, {"Content-Encoding": "gzip"}, OK), Unavailable, "cannot be reached"),
    ],
    ids=str,
)
def test_what_else_a_server_may_answer(script, remote, answer, error: type[FinerankError], message: str):
    script.answers = [answer]
    with pytest.raises(error, match=message):
        remote.rank("q", ["d"])


def test_only_query_and_texts_are_sent(script: Script, remote: RemoteReranker):
    from finerank import Document

    script.answers = [(200, {}, OK)]
    document = Document("text \ud800", id="private", metadata={"owner": "me"})
    assert remote.rank("q", [document], top_n=np.int64(1))[0].document is document
    assert script.requests[0][1] == {"query": "q", "documents": ["text ?"], "top_n": 1, "return_documents": False}


def test_what_cannot_be_asked_is_not_sent(script: Script, remote: RemoteReranker):
    assert len(remote.rank("q", [])) == 0
    with pytest.raises(InvalidInput, match=r"documents\[1\] is None"):
        remote.rank("q", ["d", None])
    for query in (" ", "\u200b", "\u00ad\u3164"):
        with pytest.raises(InvalidInput, match="query is empty"):
            remote.rank(query, ["d"])
    with pytest.raises(InvalidSetting, match="top_n=-1"):
        remote.rank("q", ["d"], top_n=-1)
    assert script.requests == []


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", ""])
def test_a_url_that_is_none(url: str):
    with pytest.raises(InvalidSetting, match="url="):
        RemoteReranker(url)


@pytest.mark.parametrize("options", [{"api_key": "schlüssel"}, {"api_key": "key\n"}, {"timeout_s": 0}], ids=str)
def test_settings_that_cannot_be(options: dict[str, object]):
    with pytest.raises(InvalidSetting, match=next(iter(options))):
        RemoteReranker("http://localhost", **options)


def test_cancelling_hangs_up():
    async def run() -> None:
        asked, rest = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b'"documents"')
            asked.set()
            await reader.read()
            rest.set_result(None)
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with RemoteReranker(f"http://127.0.0.1:{port}") as remote:
                task = asyncio.create_task(remote.rank_async("q", ["d"]))
                await asked.wait()
                task.cancel()
                await asyncio.wait_for(rest, 20)

    asyncio.run(run())
