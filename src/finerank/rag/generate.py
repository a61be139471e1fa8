"""Text from a language model, as it is written: any OpenAI-compatible chat endpoint. Knows nothing of passages."""

import json
from collections.abc import Iterator, Sequence
from http.client import HTTPResponse
from typing import Any, Protocol

from finerank.errors import EndpointError
from finerank.rag.prompt import Message
from finerank.retrieval.endpoint import Endpoint

_WHOLE = frozenset({"stop", "stop_sequence", "end_turn", "eos", "eos_token", "complete", "completed", "done"})
"""Reasons to finish, of all kinds of servers, that leave a whole answer."""

_CUT = {
    **dict.fromkeys(
        ("length", "max_tokens", "max_length", "model_length", "max_output_tokens"),
        "its answer is cut at {limit} tokens, reasoning included; raise generator_max_tokens, or the server's limit",
    ),
    **dict.fromkeys(
        ("content_filter", "safety", "recitation", "prohibited_content", "refusal"),
        "its answer is cut by the server's content filter",
    ),
}
"""What other reasons mean."""


class Generator(Protocol):
    """Whatever writes text after messages. `name` is shown beside its answers."""

    @property
    def name(self) -> str: ...
    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The text in pieces. Raises `EndpointError`, also after some pieces where these are not the whole answer."""
        ...


class ChatEndpoint:
    """`POST /chat/completions` of an OpenAI-compatible server (Ollama, vLLM, a cloud), streamed."""

    def __init__(self, endpoint: Endpoint, model: str, max_tokens: int = 4096) -> None:
        self._endpoint = endpoint
        self._max_tokens = max_tokens
        self.name = model

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        body = {
            "model": self.name,
            "messages": list(messages),
            "stream": True,
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        with self._endpoint.open("/chat/completions", body) as response:
            if "json" in response.headers.get_content_type():  # a server that does not stream
                yield from self._whole(response.read())
            else:
                yield from self._pieces(response)

    def _pieces(self, response: HTTPResponse) -> Iterator[str]:
        reason = ""
        for line in response:
            name, _, data = line.decode("utf-8", errors="replace").partition(":")
            if name.strip() != "data":
                continue
            if data.strip() == "[DONE]":
                self._check(reason or "stop")
                return
            choice = self._choice(data)
            if text := _text(choice.get("delta")):
                yield text
            reason = str(choice.get("finish_reason") or reason)
        if not reason:
            raise EndpointError(f"{self._endpoint.url}: broke off in the middle of its answer")
        self._check(reason)

    def _whole(self, content: bytes) -> Iterator[str]:
        choice = self._choice(content.decode("utf-8", errors="replace"))
        if text := _text(choice.get("message")):
            yield text
        self._check(str(choice.get("finish_reason") or "stop"))

    def _check(self, reason: str) -> None:
        """Raises `EndpointError` unless the answer is whole."""
        if reason.lower() not in _WHOLE:
            why = _CUT.get(reason.lower(), f"its answer is not whole: the server finished with {reason!r}")
            raise EndpointError(f"{self._endpoint.url}: {why.format(limit=self._max_tokens)}")

    def _choice(self, data: str) -> dict[str, Any]:
        try:
            fields = json.loads(data)
            if fields.get("error"):
                raise EndpointError(f"{self._endpoint.url}: {json.dumps(fields['error'], ensure_ascii=False)[:300]}")
            choices = fields.get("choices") or [{}]
            return dict(choices[0])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise EndpointError(f"{self._endpoint.url}: sent what is no chat completion: {data[:200]!r}") from error


def _text(message: object) -> str:
    """What is said in a message or a piece of one; its reasoning, in fields or parts of its own, is not."""
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type", "text") == "text")
    return "".join(text for text in texts if isinstance(text, str))
