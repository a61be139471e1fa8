"""A finerank server as a `Ranker`: the texts go to /finerank/v1/rerank, the caller's documents come back in its order.

Knows nothing of models. Ids and metadata are not sent.

>>> with RemoteReranker("http://localhost:8000") as reranker:                            # doctest: +SKIP
...     reranker.rank("how do I reset it?", passages, top_n=3)[0].score
"""

import asyncio
import json
import random
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from finerank.errors import (
    DeadlineExceeded,
    FinerankError,
    Forbidden,
    InvalidInput,
    InvalidSetting,
    NotFound,
    Overloaded,
    RequestRefused,
    RequestTooLarge,
    ScoreError,
    Unauthorized,
    Unavailable,
)
from finerank.ranking import Document, Documents, RankedDocument, Ranking, Usage, at_least, check_documents, check_query
from finerank.settings import check_threshold, check_top_n

ATTEMPTS = 4
"""How often a request is sent before its last refusal is raised."""

GRACE_S = 1.0
"""Seconds past the deadline that the answer may take to arrive: a server that fails open answers at the deadline."""

_REFUSALS: Mapping[str, type[RequestRefused]] = {
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "too_large": RequestTooLarge,
    "overloaded": Overloaded,
    "unavailable": Unavailable,
    "timeout": DeadlineExceeded,
}
_FAULTS: Mapping[str, type[FinerankError]] = {"invalid": InvalidInput, "failed": ScoreError}
_STATUSES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    413: "too_large",
    429: "overloaded",
    502: "unavailable",
    503: "unavailable",
    504: "timeout",
}
"""What a status means that a proxy answered, in the server's place."""

_AGAIN = frozenset({429, 503})


class RemoteReranker:
    """Ranks on a finerank server. Safe to use from several threads and event loops; connections are kept and reused.

    `model` is one of those the server lists, its first unless given. `timeout_s` is for a whole `rank`, with the waits
    between its tries: a server that is busy (429, 503) or breaks the connection off is asked again, when it says so.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, model: str | None = None, timeout_s: float = 60.0
    ) -> None:
        if not _is_address(url):
            raise InvalidSetting(f"url={url!r}: must be a server's address, such as http://localhost:8000")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise InvalidSetting("api_key: must be of printable ASCII characters; a line's end got into it, perhaps")
        if timeout_s <= 0:
            raise InvalidSetting(f"timeout_s={timeout_s}: must be more than 0")
        self.url = url.rstrip("/")
        self.model = model
        self.timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx2.Client(headers=self._headers)
        weakref.finalize(self, self._client.close)  # frameworks have no place to close what they rank with
        self._async_clients: dict[asyncio.AbstractEventLoop, tuple[httpx2.AsyncClient, AsyncIterator[None]]] = {}

    def rank(
        self,
        query: str,
        documents: Documents,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
    ) -> Ranking:
        """Documents in order of relevance, best first; as `Reranker.rank`, with the server's options.

        Raises what a local reranker raises, and `RequestRefused`: `Overloaded`, `Unavailable` (not reached, too),
        `DeadlineExceeded`, `Unauthorized` and others.
        """
        exchange = self._exchange(query, documents, top_n, threshold)
        while exchange.documents:
            try:
                response = self._client.post(exchange.url, **exchange.next_try())
            except httpx2.RequestError as error:
                wait_s = exchange.failed(error)
            else:
                settled = exchange.answered(response)
                if isinstance(settled, Ranking):
                    return settled
                wait_s = settled
            time.sleep(wait_s)
        return Ranking((), self.model or "")

    async def rank_async(
        self,
        query: str,
        documents: Documents,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
    ) -> Ranking:
        """`rank`, awaited. Cancelling it frees its place in the server's queue."""
        exchange = self._exchange(query, documents, top_n, threshold)
        client = await self._async_client()
        while exchange.documents:
            try:
                response = await client.post(exchange.url, **exchange.next_try())
            except httpx2.RequestError as error:
                wait_s = exchange.failed(error)
            else:
                settled = exchange.answered(response)
                if isinstance(settled, Ranking):
                    return settled
                wait_s = settled
            await asyncio.sleep(wait_s)
        return Ranking((), self.model or "")

    def close(self) -> None:
        """Close the connections of `rank`. Those of `rank_async` close with their event loop, or by `aclose`."""
        self._client.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop too."""
        self.close()
        client, _ = self._async_clients.pop(asyncio.get_running_loop(), (None, None))
        if client is not None:
            await client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"RemoteReranker({self.url!r})"

    def _exchange(self, query: str, documents: Documents, top_n: int | None, threshold: float | None) -> "_Exchange":
        top_n, threshold = check_top_n(top_n), check_threshold(threshold)
        body: dict[str, object] = {"query": check_query(query), "return_documents": False}
        checked = check_documents(documents)
        body["documents"] = [document.text for document in checked]
        if self.model is not None:
            body["model"] = self.model
        if top_n:  # the server takes no 0
            body["top_n"] = top_n
        # A lone surrogate is no character: it goes as a question mark.
        content = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        deadline = time.monotonic() + self.timeout_s
        return _Exchange(f"{self.url}/finerank/v1/rerank", content, checked, top_n, threshold, self.timeout_s, deadline)

    async def _async_client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        for ended in [each for each in self._async_clients if each.is_closed()]:
            del self._async_clients[ended]
        if loop not in self._async_clients:
            client = httpx2.AsyncClient(headers=self._headers)
            closing = _closed_with_loop(client)
            self._async_clients[loop] = (client, closing)
            await anext(closing)
        return self._async_clients[loop][0]


async def _closed_with_loop(client: httpx2.AsyncClient) -> AsyncIterator[None]:
    """An event loop that ends closes the generators begun in it, and this one the client's connections with it."""
    try:
        yield
    finally:
        await client.aclose()


@dataclass(slots=True)
class _Exchange:
    """One ranking on its way to the server and back, in as many tries as it may take. Sends and awaits nothing."""

    url: str
    content: bytes
    documents: list[Document]
    top_n: int | None
    threshold: float | None
    timeout_s: float
    deadline: float
    tries: int = 0

    def next_try(self) -> dict[str, Any]:
        """How httpx2 is to send it."""
        self.tries += 1
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise self._late()
        return {
            "content": self.content,
            "headers": {"X-Request-Timeout": f"{left_s:.3f}"},
            "timeout": httpx2.Timeout(left_s + GRACE_S, connect=left_s),
        }

    def failed(self, error: httpx2.RequestError) -> float:
        """Seconds until the next try after a broken connection; raises what else went wrong."""
        if isinstance(error, httpx2.TimeoutException):
            raise self._late() from error
        if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError) and not isinstance(
            error, httpx2.ConnectError
        ):
            wait_s = self._wait_s(None)
            if wait_s is not None:
                return wait_s
        raise Unavailable(f"{self.url} cannot be reached ({error}). Is the server running there?") from error

    def answered(self, response: httpx2.Response) -> Ranking | float:
        """The ranking, or seconds until the next try; raises the server's error."""
        if response.status_code == 200:
            return at_least(self._ranking(response), self.threshold)
        if response.status_code in _AGAIN:
            wait_s = self._wait_s(response.headers.get("retry-after"))
            if wait_s is not None:
                return wait_s
        raise self._error(response)

    def _wait_s(self, retry_after: str | None) -> float | None:
        """When to try again, None if there is no try or no time left."""
        asked_s = _seconds(retry_after)
        wait_s = 0.25 * 2**self.tries if asked_s is None else float(asked_s)
        wait_s *= random.uniform(1.0, 1.25)  # not all callers of a busy server at once
        if self.tries >= ATTEMPTS or time.monotonic() + wait_s >= self.deadline:
            return None
        return wait_s

    def _ranking(self, response: httpx2.Response) -> Ranking:
        try:
            answer = response.json()
            results = tuple(self._result(row) for row in answer["results"][: self.top_n])
            counts = {name: answer["usage"][name] for name in ("pairs", "tokens", "truncated", "cached", "skipped")}
            seconds = {name.removesuffix("_ms"): ms / 1000 for name, ms in answer["timings"].items()}
            return Ranking(results, answer["model"], Usage(**counts, seconds=seconds), answer["degraded"])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise RequestRefused(
                f"{self.url} does not answer as a finerank server of this version ({type(error).__name__}: {error}); "
                "look at the URL, and at the versions"
            ) from error

    def _result(self, row: Mapping[str, Any]) -> RankedDocument:
        index, span = row["index"], row["best_span"]
        if not 0 <= index < len(self.documents):
            raise ValueError(f"index {index} of {len(self.documents)} documents")
        return RankedDocument(
            document=self.documents[index],
            score=row["score"],
            logit=row["logit"],
            index=index,
            rank=row["rank"],
            truncated=row["truncated"],
            best_span=(span[0], span[1]) if span else None,
            probability=row["probability"],
        )

    def _error(self, response: httpx2.Response) -> FinerankError:
        try:
            told = response.json()["error"]
            kind, message = told["kind"], told["message"]
        except (ValueError, KeyError, TypeError):
            kind = _STATUSES.get(response.status_code, "")
            message = f"{self.url} answered {response.status_code}; is it the address of a finerank server?"
        if kind in _FAULTS:
            return _FAULTS[kind](message)
        refusal = _REFUSALS.get(kind, RequestRefused)
        return refusal(message, retry_after_s=_seconds(response.headers.get("retry-after")))

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self.url} has not answered within {self.timeout_s:g} s; send fewer documents, or raise timeout_s"
        )


def _seconds(header: str | None) -> int | None:
    """Seconds of a Retry-After; None where there is none, or a date."""
    return int(header) if header and header.isdecimal() else None


def _is_address(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)
