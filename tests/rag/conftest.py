"""A pipeline over a few passages, on doubles; and an OpenAI-compatible server with faults."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from finerank.rag.pipeline import Pipeline
from finerank.ranking import Document, RankedDocument, Ranking
from finerank.retrieval.where import Filter
from finerank.settings import RagSettings
from finerank.testing import TermsEmbedder, stub_reranker


class ListRetriever:
    """Finds all its passages, in their order."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.asked: list[str] = []

    def retrieve(self, query: str, k: int, where: Filter | None = None) -> Ranking:
        self.asked.append(query)
        found = enumerate(self.documents[:k])
        return Ranking(tuple(RankedDocument(d, 1.0, 1.0, index, index + 1) for index, d in found), "list")


def passage(text: str, number: int = 0, **metadata: object) -> Document:
    place = {"source": f"/docs/{number}.md", "start": 0, "end": len(text)}
    return Document(text, f"/docs/{number}.md#0", {**place, **metadata})


TEXTS = (
    "Our routers come in black and white.",
    "Passwords must have twelve characters.",
    "To reset the router, hold the reset button for ten seconds. It then starts anew.",
    "A reset of the lamp takes a minute or two.",
)

MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def make_pipeline() -> MakePipeline:
    """`make_pipeline(texts_or_documents, settings={...}, **parts)`. The ranker scores shared words: 0.5 for none."""

    def make(documents: Sequence[str | Document] = TEXTS, settings: dict[str, object] | None = None, **parts: object):
        given = [d if isinstance(d, Document) else passage(d, number) for number, d in enumerate(documents)]
        ranker = parts.pop("ranker", None) or stub_reranker(threshold=0.0)
        return Pipeline(ListRetriever(given), ranker, settings=RagSettings(**(settings or {})), **parts)

    return make


@dataclass
class FakeEndpoint:
    """What the server shall do, and the bodies it was sent. `pieces` are texts, or messages in parts; `reason` is the
    finish_reason.

    `fault`: "" streams `pieces`; "cut" ends after them without an end mark; "drop" closes the connection in the middle
    of a chunk; "slow" says nothing after them; "error" sends an error in the stream; "whole" does not stream; a number
    is a status.
    """

    url: str = ""
    pieces: Sequence[str | dict] = ("Hold the ", "button [1].")
    fault: str = ""
    reason: str | None = "stop"
    fail_times: int = 1_000_000
    bodies: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    """An OpenAI-compatible server on a free port: /v1/chat/completions and /v1/embeddings."""
    state = FakeEndpoint()
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            state.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            state.keys.append(self.headers["Authorization"])
            if state.fault.isdigit() and len(state.bodies) <= state.fail_times:
                self._json({"error": {"message": "no such model"}}, int(state.fault))
            elif self.path == "/v1/embeddings":
                texts = state.bodies[-1]["input"]
                vectors = TermsEmbedder(16).embed_queries(texts).tolist()
                rows = [{"index": index, "embedding": row} for index, row in enumerate(vectors)]
                self._json({"data": rows[: len(rows) - (state.fault == "cut")][::-1]})
            elif state.fault == "whole":
                (message, *others) = state.pieces
                given = message if isinstance(message, dict) else {"content": "".join((message, *others))}
                self._json({"choices": [{"message": given, "finish_reason": state.reason}]})
            else:
                self._stream()

        def _json(self, fields: dict, status: int = 200) -> None:
            content = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._chunk(": keep-alive\n\n")
            for piece in state.pieces:
                delta = piece if isinstance(piece, dict) else {"content": piece}
                self._chunk("data: " + json.dumps({"choices": [{"delta": delta}]}) + "\n\n")
            if state.fault == "slow":
                closing.wait(20)
            elif state.fault == "error":
                self._chunk('data: {"error": {"message": "out of memory"}}\n\n')
            elif state.fault == "drop":
                self.wfile.write(b"ff\r\ndata: {")
                self.wfile.flush()
                self.connection.close()
                return
            elif state.fault != "cut":
                last = {"choices": [{"delta": {}, "finish_reason": state.reason}]}
                self._chunk(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, text: str) -> None:
            self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
            self.wfile.flush()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (OSError, ValueError):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    closing.set()
    server.shutdown()
    thread.join()
    server.server_close()
    time.sleep(0)
