"""Server-sent events: the scores of a long request as they are made."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import ExitStack

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from finerank.ranking import sigmoid
from finerank.serving.request import Json
from finerank.serving.scheduler import Scored
from finerank.serving.service import Encoded
from finerank.text.pool import pool

Event = tuple[str, Json]


class Progress:
    """Collects the passage scores of one request, on the scoring thread, and tells of documents on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Event] = asyncio.Queue()

    def watch(self, encoded: Encoded) -> Scored:
        """For `RerankService.answer`."""
        ranking_job = encoded.jobs[0]
        job = ranking_job.request
        logits = [math.nan] * len(job.pairs)
        owner = [document for document, count in enumerate(job.counts) for _ in range(count)]
        places = job.places()
        waiting = list(job.counts)
        done, total = 0, sum(map(bool, job.counts))

        def scored(positions: Sequence[int], values: Sequence[float]) -> None:
            nonlocal done
            new: list[dict[str, object]] = []
            for position, value in zip(positions, values, strict=True):
                logits[position] = value
                document = owner[position]
                waiting[document] -= 1
                if not waiting[document]:
                    done += 1
                    place = places[document]
                    pooled, _ = pool([logits[pair] for pair in place], encoded.pooling)
                    logit = ranking_job.provisional(pooled)
                    cut = any(job.pairs[pair].truncated for pair in place)
                    if math.isfinite(logit):  # else the request is about to fail
                        new.append({"index": document, "logit": logit, "score": sigmoid(logit), "truncated": cut})
            event: Mapping[str, object] = {"done": done, "total": total, "scores": new}
            self._loop.call_soon_threadsafe(self._told.put_nowait, ("progress", event))

        return scored

    async def events(self, work: Awaitable[Event]) -> AsyncIterator[Event]:
        """What is told while the work goes on, then the event it ends with. Ending the iteration cancels the work."""
        ending = asyncio.ensure_future(work)
        next_told = asyncio.ensure_future(self._told.get())
        try:
            while True:
                await asyncio.wait((ending, next_told), return_when=asyncio.FIRST_COMPLETED)
                if not next_told.done():
                    break
                yield next_told.result()
                next_told = asyncio.ensure_future(self._told.get())
            yield ending.result()
        finally:
            ending.cancel()
            next_told.cancel()


class Stream(StreamingResponse):
    """Events as they come; the visit at the gate lasts until they end, or the caller hangs up."""

    def __init__(self, events: AsyncIterator[Event], visit: ExitStack) -> None:
        lines = (_to_bytes(event) async for event in events)
        super().__init__(lines, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self._visit = visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._visit:
            await super().__call__(scope, receive, send)


def _to_bytes(event: Event) -> bytes:
    name, data = event
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
