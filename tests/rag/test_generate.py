"""The streamed generator and the embeddings' endpoint, and what is wrong with them."""

import socket

import numpy as np
import pytest

from finerank.errors import EndpointError, InvalidSetting
from finerank.rag.generate import ChatEndpoint
from finerank.retrieval import endpoint as endpoint_module
from finerank.retrieval.embed import load_embedder
from finerank.retrieval.endpoint import Endpoint
from finerank.testing import TermsEmbedder

CHAT = [{"role": "user", "content": "how?"}]


def chat(url: str, timeout_s: float = 5) -> ChatEndpoint:
    return ChatEndpoint(Endpoint(url, "secret-key", timeout_s), "tiny")


@pytest.mark.parametrize("fault", ["", "whole"])
def test_text_comes_in_pieces(endpoint, fault: str):
    endpoint.fault = fault
    pieces = list(chat(endpoint.url).stream(CHAT))
    assert "".join(pieces) == "Hold the button [1]."
    assert len(pieces) == (1 if fault else 2)
    assert endpoint.bodies[0]["messages"] == CHAT
    assert (endpoint.bodies[0]["model"], endpoint.bodies[0]["stream"]) == ("tiny", True)
    assert endpoint.keys == ["Bearer secret-key"]


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [("cut", "broke off"), ("drop", "broke off"), ("slow", r"nothing for 0.3 s"), ("error", "out of memory")],
)
def test_what_came_before_a_fault_is_kept(endpoint, fault: str, complaint: str):
    endpoint.fault = fault
    pieces = []
    with pytest.raises(EndpointError, match=complaint):  # noqa: PT012
        for piece in chat(endpoint.url, 0.3).stream(CHAT):
            pieces.append(piece)  # noqa: PERF402 - extend would lose what came before the fault
    assert "".join(pieces) == "Hold the button [1]."


REASONS = {
    "length": "generator_max_tokens",
    "LENGTH": "generator_max_tokens",
    "max_tokens": "cut at 77 tokens",
    "content_filter": "content filter",
    "tool_calls": "'tool_calls'",
    "abort": "'abort'",
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("reason", REASONS)
def test_an_answer_that_is_not_whole_says_why(endpoint, reason: str, whole: bool):
    endpoint.reason, endpoint.fault = reason, "whole" if whole else ""
    pieces = []
    with pytest.raises(EndpointError, match=REASONS[reason]):  # noqa: PT012
        for piece in ChatEndpoint(Endpoint(endpoint.url), "tiny", 77).stream(CHAT):
            pieces.append(piece)  # noqa: PERF402 - extend would lose what came before the fault
    assert "".join(pieces) == "Hold the button [1]."
    assert endpoint.bodies[0]["max_tokens"] == 77


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos", "end_turn", None])
@pytest.mark.parametrize("fault", ["", "whole"])
def test_an_answer_is_whole_whatever_the_server_calls_that(endpoint, reason: str | None, fault: str):
    endpoint.reason, endpoint.fault = reason, fault
    assert "".join(chat(endpoint.url).stream(CHAT)) == "Hold the button [1]."


@pytest.mark.parametrize("fault", ["", "whole"])
@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning_content": "maybe [3]"},
        {"reasoning": "maybe [3]", "content": ""},
        {"content": None, "thinking": "maybe [3]"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "maybe [3]"}]}]},
    ],
)
def test_reasoning_in_its_own_field_is_no_part_of_the_answer(endpoint, fault: str, thought: dict[str, object]):
    endpoint.fault = fault
    endpoint.pieces = [thought, {"content": [{"type": "text", "text": "Hold it"}]}, {"content": " [1]."}]
    if fault:
        endpoint.pieces = [{**thought, "content": "Hold it [1]."}]
    assert "".join(chat(endpoint.url).stream(CHAT)) == "Hold it [1]."


@pytest.mark.parametrize(("fault", "complaint"), [("404", "model's name"), ("401", "key"), ("500", "no such model")])
def test_a_refusal_says_what_to_do(endpoint, fault: str, complaint: str):
    endpoint.fault = fault
    with pytest.raises(EndpointError, match=complaint) as caught:
        list(chat(endpoint.url).stream(CHAT))
    assert "secret-key" not in str(caught.value)


def test_a_server_that_is_down_says_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match="Is the server running"):
            list(chat(url).stream(CHAT))
    with pytest.raises(InvalidSetting, match="must be a URL"):
        Endpoint("localhost:11434")


def test_embeddings_come_in_the_order_of_the_texts(endpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finerank.retrieval.embed.ENDPOINT_BATCH", 2)
    embedder = load_embedder(endpoint.url, model="tiny")
    texts = ["reset the router", "", "two years"]
    expected = TermsEmbedder(16).embed_queries(texts)
    np.testing.assert_allclose(embedder.embed_passages(texts), expected)
    assert [body["input"] for body in endpoint.bodies] == [["reset the router", " "], ["two years"]]
    endpoint.fault = "cut"
    with pytest.raises(EndpointError, match="0 embeddings for 1"):
        embedder.embed_queries(["a"])


def test_a_busy_endpoint_is_asked_again(endpoint, monkeypatch: pytest.MonkeyPatch):
    waited: list[float] = []
    monkeypatch.setattr(endpoint_module.time, "sleep", waited.append)
    endpoint.fault, endpoint.fail_times = "429", 2
    assert load_embedder(endpoint.url, model="tiny").embed_queries(["a"]).shape == (1, 16)
    assert waited == [1.0, 2.0]
    endpoint.fail_times = 9
    with pytest.raises(EndpointError, match="429"):
        load_embedder(endpoint.url, model="tiny").embed_queries(["a"])
