"""Text from a language model, as it is written: any OpenAI-compatible chat endpoint. Knows nothing of passages."""

import json
from collections.abc import Iterator, Sequence
from http.client import HTTPResponse
from typing import Any, Protocol

from finerank.errors import EndpointError
from finerank.rag.prompt import Message
from finerank.retrieval.endpoint import Endpoint

_MAX_TOKENS = 1024


class Generator(Protocol):
    """Whatever writes text after messages. `name` is shown beside its answers."""

    @property
    def name(self) -> str: ...
    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The text in pieces. Raises `EndpointError`, also after some pieces."""
        ...


class ChatEndpoint:
    """`POST /chat/completions` of an OpenAI-compatible server (Ollama, vLLM, a cloud), streamed."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self.name = model

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        body = {
            "model": self.name,
            "messages": list(messages),
            "stream": True,
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
        }
        with self._endpoint.open("/chat/completions", body) as response:
            if "json" in response.headers.get_content_type():  # a server that does not stream
                yield self._whole(response.read())
            else:
                yield from self._pieces(response)

    def _pieces(self, response: HTTPResponse) -> Iterator[str]:
        ended = False
        for line in response:
            name, _, data = line.decode("utf-8", errors="replace").partition(":")
            if name.strip() != "data":
                continue
            if data.strip() == "[DONE]":
                return
            choice = self._choice(data)
            ended = ended or bool(choice.get("finish_reason"))
            text = (choice.get("delta") or {}).get("content")
            if isinstance(text, str) and text:
                yield text
        if not ended:
            raise EndpointError(f"{self._endpoint.url}: broke off in the middle of its answer")

    def _whole(self, content: bytes) -> str:
        message = self._choice(content.decode("utf-8", errors="replace")).get("message") or {}
        return str(message.get("content") or "")

    def _choice(self, data: str) -> dict[str, Any]:
        try:
            fields = json.loads(data)
            if fields.get("error"):
                raise EndpointError(f"{self._endpoint.url}: {json.dumps(fields['error'], ensure_ascii=False)[:300]}")
            choices = fields.get("choices") or [{}]
            return dict(choices[0])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise EndpointError(f"{self._endpoint.url}: sent what is no chat completion: {data[:200]!r}") from error
