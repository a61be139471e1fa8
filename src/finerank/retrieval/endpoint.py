"""JSON to an OpenAI-compatible HTTP endpoint and back. Knows nothing of what is asked.

The standard library's client: a request is one POST, and what matters is that every fault has a name.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from finerank.errors import EndpointError, InvalidSetting

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may cure."""

_SHOWN = 300
"""Characters of an answer that an error quotes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, such as http://localhost:11434/v1, and how long to wait for each piece of the answer."""

    url: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0
    attempts: int = 1

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise InvalidSetting(f"endpoint {self.url!r}: must be a URL such as http://localhost:11434/v1")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that answers. Raises `EndpointError`."""
        with self.open(path, body) as response:
            content = response.read()
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise EndpointError(f"{self.url}{path}: answered no JSON: {_shown(content)}") from error
        if not isinstance(answer, dict):
            raise EndpointError(f"{self.url}{path}: answered no JSON object: {_shown(content)}")
        return answer

    @contextmanager
    def open(self, path: str, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
        """The response as it comes; faults while it is read are `EndpointError`s too."""
        address = self.url.rstrip("/") + path
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
        with self._faults_named(address), self._send(request) as response:
            yield response

    def _send(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        for attempt in range(1, self.attempts + 1):
            try:
                response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout_s)
                return response
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY or attempt == self.attempts:
                    raise
                error.close()
            except (TimeoutError, OSError):
                if attempt == self.attempts:
                    raise
            time.sleep(2.0 ** (attempt - 1))
        raise InvalidSetting(f"attempts={self.attempts}: must be at least 1")

    @contextmanager
    def _faults_named(self, address: str) -> Iterator[None]:
        try:
            yield
        except urllib.error.HTTPError as error:
            with error:
                said = _shown(error.read())
            raise EndpointError(f"{address}: answered {error.code}: {said}{_remedy(error.code)}") from error
        except TimeoutError as error:
            raise self._slow(address) from error
        except http.client.HTTPException as error:
            raise EndpointError(f"{address}: broke off its answer ({type(error).__name__})") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._slow(address) from error
            raise EndpointError(f"{address}: cannot be reached ({reason}). Is the server running?") from error

    def _slow(self, address: str) -> EndpointError:
        return EndpointError(
            f"{address}: said nothing for {self.timeout_s:g} s; raise its timeout, or look at its load"
        )


def _remedy(status: int) -> str:
    if status in (401, 403):
        return ". Is the key right?"
    return ". Are the URL (it ends in /v1, usually) and the model's name right?" if status == 404 else ""


def _shown(content: bytes) -> str:
    text = " ".join(content.decode(errors="replace").split())
    return text[:_SHOWN] + ("..." if len(text) > _SHOWN else "")
