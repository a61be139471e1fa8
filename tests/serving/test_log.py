"""The log: a line for every request, refused ones too, that no input can break and that holds no text."""

import json
import logging

import pytest

from finerank.serving.log import JsonFormatter, TextFormatter
from finerank.testing import OverlapBackend, stub_reranker

SECRET = "treasure"
BODY = {"query": f"where is the {SECRET}", "documents": [f"the {SECRET} is here"]}


def lines_of(caplog, path: str) -> list[logging.LogRecord]:
    return [line for line in caplog.records if line.message == "request" and getattr(line, "path", "") == path]


@pytest.mark.parametrize(
    ("settings", "asked", "status", "reason"),
    [
        ({}, {"json": BODY}, 200, None),
        ({}, {"content": b'{"query": "treasure'}, 422, "invalid: not JSON"),
        ({}, {"json": {**BODY, "documents": [{"treasure": 1}]}}, 422, "invalid: documents[0].text"),
        ({}, {"json": {**BODY, "model": SECRET}}, 404, "not_found"),
        ({}, {"json": BODY, "headers": {"origin": "https://evil.example"}}, 403, "evil.example"),
        ({}, {"json": BODY, "headers": {"host": "evil.example"}}, 403, "evil.example"),
        ({}, {"json": BODY, "headers": {"x-request-timeout": "treasure"}}, 422, "invalid"),
        ({"api_keys": ("key",)}, {"json": BODY}, 401, "a key is needed"),
        ({"api_keys": ("key",)}, {"json": BODY, "headers": {"x-api-key": SECRET}}, 401, "not known"),
        ({"max_documents": 1}, {"json": {**BODY, "documents": [SECRET] * 2}}, 413, "max_documents"),
        ({"max_body_mb": 1}, {"content": b"treasure" * 200_000}, 413, "max_body_mb"),
    ],
)
def test_a_line_says_who_asked_and_why_it_was_refused(start_server, caplog, settings, asked, status, reason) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(**settings)
    assert server.http.post("/finerank/v1/rerank", **asked).status_code == status
    server.until(lambda: lines_of(caplog, "/finerank/v1/rerank"))
    (line,) = lines_of(caplog, "/finerank/v1/rerank")
    assert (line.method, line.status) == ("POST", status)
    assert line.peer.startswith("127.0.0.1:")
    assert line.ms >= 0
    assert reason in line.reason if reason else not hasattr(line, "reason")
    assert not any(SECRET in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/", 200, None),
        ("GET", "/health", 200, None),
        ("HEAD", "/metrics", 200, None),
        ("GET", "/no/such/path", 404, "Not Found"),
        ("GET", "/js/none.js", 404, "Not Found"),
        ("PUT", "/finerank/v1/rerank", 405, "Method Not Allowed"),
        ("POST", "/finerank/v1/ask", 404, "not_found"),
    ],
)
def test_every_path_has_its_line(start_server, caplog, method, path, status, reason) -> None:
    server = start_server()
    caplog.set_level(logging.INFO)
    before = len(lines_of(caplog, path))
    assert server.http.request(method, f"{path}?q={SECRET}").status_code == status
    server.until(lambda: len(lines_of(caplog, path)) > before)
    (line,) = lines_of(caplog, path)[before:]
    assert (line.method, line.status, getattr(line, "reason", None)) == (method, status, reason)
    assert SECRET not in str(vars(line))


def test_overload_failures_and_deadlines_have_reasons(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    failing = start_server(lambda name: stub_reranker(OverlapBackend(error=RuntimeError(SECRET))))
    assert failing.http.post("/finerank/v1/rerank", json=BODY).status_code == 500
    late = start_server(timeout_s=1e-6)
    assert late.http.post("/v2/rerank", json=BODY).status_code == 504
    failing.until(lambda: lines_of(caplog, "/finerank/v1/rerank") and lines_of(caplog, "/v2/rerank"))
    assert lines_of(caplog, "/finerank/v1/rerank")[0].reason == "failed: RuntimeError"
    assert "1e-06 s" in lines_of(caplog, "/v2/rerank")[0].reason
    streamed = failing.http.post("/finerank/v1/rerank", json=BODY, headers={"accept": "text/event-stream"})
    assert "event: error" in streamed.text
    failing.until(lambda: len(lines_of(caplog, "/finerank/v1/rerank")) == 2)
    assert lines_of(caplog, "/finerank/v1/rerank")[1].reason == "failed: RuntimeError"


def test_a_forwarded_address_is_not_the_peer(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    server = start_server()
    server.http.post("/finerank/v1/rerank", json=BODY, headers={"x-forwarded-for": "10.9.8.7"})
    server.until(lambda: lines_of(caplog, "/finerank/v1/rerank"))
    assert lines_of(caplog, "/finerank/v1/rerank")[0].peer.startswith("127.0.0.1:")


ACTIVE = 'x\r\n{"event": "forged"}\x1b[2J\x7f\x85\x9b2J\u2028\u202e\u200b\ud800 y="1" \U000e0041'


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_value_cannot_break_or_forge_a_line(formatter) -> None:
    record = logging.makeLogRecord({"msg": "request", "levelname": "INFO", "path": ACTIVE, "status": 404})
    line = formatter.format(record)
    assert line.isprintable()
    assert line.encode()
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["path"] == ACTIVE


def test_a_long_path_is_cut_in_the_log(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    server = start_server()
    assert server.http.get("/" + "a" * 30_000).status_code == 404
    server.until(lambda: any(getattr(line, "status", 0) == 404 for line in caplog.records))
    assert max(len(str(line.path)) for line in caplog.records if line.message == "request") <= 256


def test_text_lines_are_for_people() -> None:
    values = {"peer": "127.0.0.1:5", "path": "/a b", "status": 404, "reason": 'no "key"'}
    record = logging.makeLogRecord({"msg": "request", "levelname": "INFO", **values})
    line = TextFormatter().format(record)
    assert line.partition(" ")[2] == 'info request peer=127.0.0.1:5 path="/a b" status=404 reason="no \\"key\\""'
