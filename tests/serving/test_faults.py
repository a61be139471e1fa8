"""The server over HTTP when something is too much, too late, broken, or about to end."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from finerank.errors import FinerankError, InvalidSetting, ModelNotFound
from finerank.job import FirstLook
from finerank.reranker import Reranker
from finerank.scoring.batch import Batch
from finerank.serving.server import Server
from finerank.settings import ServeSettings
from finerank.testing import OverlapBackend, stub_reranker

QUERY = "how do I reset it"
DOCUMENTS = ["keep it dry", "to reset it hold the button", "the lamp is green"]
BODY = {"query": QUERY, "documents": DOCUMENTS}
FORTY = {"query": QUERY, "documents": [f"passage number {n}" for n in range(40)]}
FIRST_OF_FORTY = {**FORTY, "top_n": 3}


@dataclass
class Gated(OverlapBackend):
    """Waits at every forward until `gate` is set; `reached` says that it does."""

    gate: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    pairs: int = 0

    def forward(self, batch: Batch):
        self.reached.set()
        assert self.gate.wait(30)
        self.pairs += len(batch)
        return super().forward(batch)


@pytest.fixture
def gated() -> Iterator[Gated]:
    backend = Gated()
    yield backend
    backend.gate.set()


def served_by(backend: OverlapBackend, looks: bool, **options) -> Reranker:
    """A model on the backend, or one whose first look is."""
    if not looks:
        return stub_reranker(backend, **options)
    reranker = stub_reranker()
    reranker.first_look = FirstLook(stub_reranker(backend, **options).scorer)
    return reranker


@pytest.fixture
def together() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def kind_of(response: httpx.Response) -> str:
    return response.json()["error"]["kind"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_large_is_refused_before_it_is_read(start_server, chunked) -> None:
    server = start_server(max_body_mb=1)
    content = b'{"query": "' + b"x" * 2_000_000 + b'"}'
    sent = iter([content[:900_000], content[900_000:]]) if chunked else content
    answer = server.http.post("/finerank/v1/rerank", content=sent)
    assert (answer.status_code, kind_of(answer)) == (413, "too_large")
    assert "max_body_mb" in answer.json()["error"]["message"]
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200


def test_too_many_documents_or_tokens_are_refused(start_server) -> None:
    server = start_server(max_documents=3, max_request_tokens=50)
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200
    many = server.http.post("/v2/rerank", json={"model": "m", "query": QUERY, "documents": ["a"] * 4})
    assert many.status_code == 413
    assert "max_documents" in many.json()["message"]
    long = server.http.post("/rerank", json={"query": QUERY, "texts": ["word " * 100]})
    assert long.status_code == 413
    assert set(long.json()) == {"error", "error_type"}


@pytest.mark.parametrize("looks", [False, True])
def test_a_full_queue_is_429_with_retry_after(start_server, gated, together, looks) -> None:
    server = start_server(lambda name: served_by(gated, looks), max_queue_tokens=300)
    waiting = together.submit(server.http.post, "/finerank/v1/rerank", json=FIRST_OF_FORTY)
    assert gated.reached.wait(10)
    refused = server.http.post("/v1/rerank", json=FIRST_OF_FORTY)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    gated.gate.set()
    assert waiting.result().status_code == 200
    assert server.http.post("/finerank/v1/rerank", json={"query": "q", "documents": ["a"]}).status_code == 200


def test_too_many_requests_are_429_before_their_body_is_read(start_server, gated, together) -> None:
    server = start_server(lambda name: stub_reranker(gated), max_requests=2)
    inside = [together.submit(server.http.post, "/finerank/v1/rerank", json=BODY) for _ in range(2)]
    server.until(lambda: server.application.gate.inside == 2)
    refused = server.http.post("/rerank", json={"query": "q", "texts": ["a"]})
    assert refused.status_code == 429
    assert server.http.get("/health").status_code == 200
    gated.gate.set()
    assert all(one.result().status_code == 200 for one in inside)
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200


@pytest.mark.parametrize("looks", [False, True])
def test_a_deadline_is_kept_and_costs_nothing_more(start_server, gated, looks) -> None:
    server = start_server(lambda name: served_by(gated, looks, batch_tokens=32))
    late = server.http.post("/finerank/v1/rerank", json=FIRST_OF_FORTY, headers={"x-request-timeout": "0.2"})
    assert (late.status_code, kind_of(late)) == (504, "timeout")
    gated.gate.set()
    server.until(lambda: server.application.models.queued() == (0, 0))
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200
    assert gated.pairs < 20


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "0"])
def test_a_wrong_deadline(server, given) -> None:
    wrong = server.http.post("/finerank/v1/rerank", json=BODY, headers={"x-request-timeout": given})
    assert (wrong.status_code, kind_of(wrong)) == (422, "invalid")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_caller_who_hangs_up_costs_nothing_more(start_server, gated, accept) -> None:
    server = start_server(lambda name: stub_reranker(gated, batch_tokens=32))
    with pytest.raises(httpx.ReadTimeout):
        server.http.post("/finerank/v1/rerank", json=FORTY, headers={"accept": accept}, timeout=0.3)
    server.until(lambda: server.application.gate.inside == 0)
    gated.gate.set()
    server.until(lambda: server.application.models.queued() == (0, 0))
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200
    assert gated.pairs < 20


def test_a_failed_forward_reaches_every_waiter_in_its_dialect(start_server, together) -> None:
    backend = OverlapBackend(error=RuntimeError("the GPU fell off the bus"))
    server = start_server(lambda name: stub_reranker(backend))
    asked = {
        "/v2/rerank": {"model": "m", **BODY},
        "/v1/rerank": BODY,
        "/voyage/v1/rerank": {"model": "m", **BODY},
        "/rerank": {"query": QUERY, "texts": DOCUMENTS},
        "/vllm/rerank": {"model": "m", **BODY},
        "/infinity/rerank": {"model": "m", **BODY},
        "/finerank/v1/rerank": BODY,
    }
    futures = {path: together.submit(server.http.post, path, json=body) for path, body in asked.items()}
    answers = {path: future.result() for path, future in futures.items()}
    assert {path: answer.status_code for path, answer in answers.items()} == {
        **dict.fromkeys(asked, 500),
        "/rerank": 424,
    }
    assert all("bus" in answer.text for answer in answers.values())
    backend.error = None
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200


def test_a_nan_is_an_error_of_its_own_request(start_server) -> None:
    server = start_server(lambda name: stub_reranker(OverlapBackend(nan_word="poison")))
    bad = server.http.post("/finerank/v1/rerank", json={"query": "q", "documents": ["fine", "poison"]})
    assert bad.status_code == 500
    assert "documents[1]" in bad.json()["error"]["message"]
    streamed = server.http.post(
        "/finerank/v1/rerank",
        json={"query": "q", "documents": ["fine", "poison"]},
        headers={"accept": "text/event-stream"},
    )
    assert "NaN" not in streamed.text.replace("answered nan", "")
    assert "event: error" in streamed.text


@pytest.mark.parametrize("fault", ["failed", "late"])
def test_failing_open_gives_the_callers_order_back_and_says_so(start_server, gated, fault) -> None:
    if fault == "failed":
        gated.gate.set()
        gated.error = RuntimeError("the GPU fell off the bus")
    server = start_server(lambda name: stub_reranker(gated), fail_open=True, timeout_s=0.3)
    answer = server.http.post("/finerank/v1/rerank", json={**BODY, "top_n": 2})
    assert answer.status_code == 200
    assert [row["index"] for row in answer.json()["results"]] == [0, 1]
    assert {row["score"] for row in answer.json()["results"]} == {0.0}
    assert "order given" in answer.json()["degraded"]
    code = answer.json()["degraded_code"]
    assert code["code"] == "degraded.own-order"
    why = code["values"]["why"]
    assert why == "the GPU fell off the bus" if fault == "failed" else why["code"] == "server.late"
    cohere = server.http.post("/v2/rerank", json={"model": "m", **BODY})
    assert [row["index"] for row in cohere.json()["results"]] == [0, 1, 2]
    assert "order given" in cohere.headers["x-finerank-degraded"]
    invalid = server.http.post("/finerank/v1/rerank", json={"query": "", "documents": DOCUMENTS})
    assert invalid.status_code == 422
    assert server.http.get("/finerank/v1/health/ranking").json()["requests"] == 0
    kind = "failed" if fault == "failed" else "timeout"
    assert f'finerank_errors_total{{kind="{kind}"}} 2.0' in server.http.get("/metrics").text


@pytest.mark.parametrize("path", ["/v2/rerank", "/finerank/v1/explain"])
def test_a_body_that_stalls_is_given_up_and_leaves_room_for_others(start_server, path) -> None:
    server = start_server(max_requests=1, timeout_s=0.5)
    with socket.create_connection(server.address, timeout=10) as stalled:
        stalled.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{{".encode())
        time.sleep(0.1)
        assert server.http.post("/v2/rerank", json=BODY).status_code == 200  # it takes no place until it is complete
        answer = stalled.recv(4096).decode()
        assert " 504 " in answer.partition("\r\n")[0]
        assert "did not arrive within 0.5 s" in answer
    assert server.http.post("/v2/rerank", json=BODY).status_code == 200


def test_headers_that_do_not_end_close_the_connection(server) -> None:
    with socket.create_connection(server.address, timeout=10) as endless:
        endless.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        with pytest.raises(ConnectionError):
            endless.sendall(b"a" * 100_000_000)
    for size, status in ((50_000, 200), (300_000, 431)):
        with socket.create_connection(server.address, timeout=10) as long:
            long.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
            time.sleep(0.1)
            with suppress(OSError):
                long.sendall(b"X: " + b"a" * size + b"\r\n\r\n")
            assert long.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


def test_shutdown_finishes_what_was_accepted_and_refuses_the_rest(start_server, gated, together) -> None:
    server = start_server(lambda name: stub_reranker(gated))
    accepted = [together.submit(server.http.post, "/finerank/v1/rerank", json=BODY) for _ in range(5)]
    server.until(lambda: server.application.gate.inside == 5)
    server.stop()
    server.until(lambda: server.http.get("/health").status_code == 503)
    health = server.http.get("/health").json()
    assert (health["live"], health["ready"], health["state"]) == (True, False, "draining")
    assert server.http.get("/health/live").status_code == 200
    refused = server.http.post("/finerank/v1/rerank", json=BODY)
    assert (refused.status_code, kind_of(refused)) == (503, "unavailable")
    assert "retry-after" in refused.headers
    gated.gate.set()
    assert [one.result().status_code for one in accepted] == [200] * 5
    server.join()
    with pytest.raises(httpx.ConnectError):
        server.http.get("/health")


def test_shutdown_waits_no_longer_than_it_may(start_server, gated, together) -> None:
    server = start_server(lambda name: stub_reranker(gated), shutdown_s=0.3)
    stuck = together.submit(server.http.post, "/finerank/v1/rerank", json=BODY)
    server.until(lambda: server.application.gate.inside == 1)
    server.stop()
    given_up = stuck.result(20)
    assert (given_up.status_code, kind_of(given_up)) == (503, "unavailable")
    gated.gate.set()
    server.join()


def test_a_model_is_swapped_without_dropping_a_request(start_server, gated, together) -> None:
    class Backwards(OverlapBackend):
        def forward(self, batch: Batch):
            return -super().forward(batch)

    second = Backwards()
    backends = {"stub": gated, "second": second}

    def load(name: str):
        if name not in backends:
            raise ModelNotFound(f"{name}: no such folder")
        return stub_reranker(backends[name])

    server = start_server(load, admin_keys=("secret",))
    server.http.headers["authorization"] = "Bearer secret"
    old = [together.submit(server.http.post, "/finerank/v1/rerank", json=BODY) for _ in range(3)]
    assert gated.reached.wait(10)
    server.until(lambda: server.application.gate.inside == 3)
    wrong = server.http.post("/finerank/v1/model", json={"model": "missing"})
    assert (wrong.status_code, kind_of(wrong)) == (422, "invalid")
    assert "missing" in wrong.json()["error"]["message"]
    assert server.http.post("/finerank/v1/model", json={"model": "second"}).json()["name"] == "second"
    new = server.http.post("/finerank/v1/rerank", json=BODY).json()
    assert new["results"][0]["index"] != 1
    assert not any(one.done() for one in old)
    assert not gated.closed
    gated.gate.set()
    assert [one.result().json()["results"][0]["index"] for one in old] == [1, 1, 1]
    server.until(lambda: gated.closed)
    assert not second.closed


def test_an_unused_model_is_unloaded_and_comes_back(start_server) -> None:
    made: list[OverlapBackend] = []

    def load(name: str):
        made.append(OverlapBackend())
        return stub_reranker(made[-1])

    server = start_server(load, idle_unload_s=0.2)
    server.until(lambda: server.http.get("/finerank/v1/info").json()["models"][0]["state"] == "unloaded")
    server.until(lambda: made[0].closed)
    assert server.http.get("/health").status_code == 200
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.http.post("/finerank/v1/rerank", json=BODY), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len(made) == 2


def test_health_while_the_model_loads(start_server) -> None:
    may_load = threading.Event()

    def load(name: str):
        assert may_load.wait(20)
        return stub_reranker()

    server = start_server(load, wait=False)
    server.until(lambda: server.http.get("/health/live").status_code == 200)
    health = server.http.get("/health/ready")
    assert (health.status_code, health.json()["state"]) == (503, "loading")
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(server.http.post, "/finerank/v1/rerank", json=BODY)
        may_load.set()
        assert early.result().status_code == 200
    assert server.http.get("/health/ready").status_code == 200


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path) -> None:
    def load(name: str):
        raise ModelNotFound("nix: no such folder; give a hub id or a folder")

    server = Server("nix", load, ServeSettings(port=0, state_dir=str(tmp_path)))
    with pytest.raises(FinerankError, match="no such folder"):
        server.run()


def test_a_port_that_is_taken(start_server) -> None:
    port = int(start_server().url.rsplit(":", 1)[1])
    with pytest.raises(InvalidSetting, match="choose another"):
        Server("stub", lambda name: stub_reranker(), ServeSettings(port=port))


def test_ten_times_what_it_can_hold(start_server) -> None:
    """Every request gets an answer, a right one or a refusal; nothing stays behind."""

    class Slow(OverlapBackend):
        def forward(self, batch: Batch):
            time.sleep(0.01)
            return super().forward(batch)

    server = start_server(lambda name: stub_reranker(Slow(), batch_tokens=64), max_queue_tokens=2000, max_requests=40)
    expected = [result.index for result in stub_reranker().rank(FORTY["query"], FORTY["documents"])]
    outcomes: list[int] = []

    def ask(_: int) -> None:
        answer = httpx.post(server.url + "/finerank/v1/rerank", json=FORTY, timeout=60)
        outcomes.append(answer.status_code)
        if answer.status_code == 200:
            assert [row["index"] for row in answer.json()["results"]] == expected
        else:
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1

    with ThreadPoolExecutor(100) as pool:
        list(pool.map(ask, range(300)))
    assert len(outcomes) == 300
    assert outcomes.count(200) >= 5
    assert outcomes.count(429) >= 5
    server.until(lambda: server.application.gate.inside == 0)
    assert server.application.models.queued() == (0, 0)
