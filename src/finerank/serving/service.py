"""Requests to answers: limits, deadline, encoding, the queue, sorting, and what monitoring is told of it.

Knows no HTTP and no dialect.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from finerank.errors import DeadlineExceeded, InvalidInput, InvalidSetting, RequestTooLarge
from finerank.explain import Explanation
from finerank.job import STAGES, EncodedRequest, RankingJob, Stage
from finerank.messages import Message, change_text, message_of
from finerank.monitoring.monitor import Monitor
from finerank.ranking import RankedDocument, Ranking, Usage
from finerank.reranker import Reranker
from finerank.scoring.backend import ScoringBackend
from finerank.scoring.batch import EncodedPair
from finerank.scoring.scorer import Progress, Scores
from finerank.serving.models import LoadedModel, ServedModels, hide_path, ways_to_write
from finerank.serving.problems import problem_of
from finerank.serving.request import Answer, RerankRequest
from finerank.serving.scheduler import Scheduler, Scored, Ticket
from finerank.settings import ServeSettings

logger = logging.getLogger("finerank")

FAIL_OPEN = ("failed", "timeout", "unavailable")
"""Kinds of problem that `fail_open` answers with the caller's own order."""

LARGE = 500_000
"""Characters of a request that is encoded on a thread apart, one at a time: no other waits behind it."""

EXPLAINERS = 4
"""Requests explained at once: each holds a thread for as long as its pairs are in the queue."""


class RerankService:
    """Answers requests with the models there are.

    >>> await service.answer([RerankRequest("who?", (Document("I"),))])   # doctest: +SKIP
    """

    def __init__(self, models: ServedModels, monitor: Monitor, settings: ServeSettings) -> None:
        self.models = models
        self.monitor = monitor
        self.settings = settings
        self._store_paths = ways_to_write(settings.store) if settings.store else []
        monitor.watch_queue(models.queued)
        self._encoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="finerank-encoding")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="finerank-encoding-large")
        self._explainers = ThreadPoolExecutor(EXPLAINERS, thread_name_prefix="finerank-explaining")

    async def answer(
        self,
        requests: Sequence[RerankRequest],
        *,
        timeout_s: float | None = None,
        strictly: bool = False,
        watch: Callable[["Encoded"], Scored] | None = None,
    ) -> list[Answer]:
        """One answer a request, all scored together; of the model that the first names.

        `timeout_s` may shorten the settings' deadline. `watch`, called with what was encoded, gives a function that
        is told of scores as they are made, on the scoring thread. Cancelling the task takes the pairs out of the queue.
        Raises `InvalidInput`, `RequestRefused` or whatever scoring raised.
        """
        limit_s = min(timeout_s or self.settings.timeout_s, self.settings.timeout_s)
        try:
            self.check_count(sum(len(request.documents) for request in requests))
            model = self.models.named(requests[0].model, strictly=strictly)
            async with asyncio.timeout(limit_s), model.use() as loaded:
                answers = await self._answer(loaded, requests, watch)
        except TimeoutError as error:
            late = DeadlineExceeded(
                Message(
                    "not answered within {seconds:g} s; send fewer documents, or raise timeout_s",
                    "server.late",
                    seconds=limit_s,
                ),
                retry_after_s=1,
            )
            late.__cause__ = error
            return self._own_order(requests, late)
        except Exception as error:  # noqa: BLE001 - own_order raises it again unless the settings say otherwise
            return self._own_order(requests, error)
        return answers

    async def explain(
        self, query: str, documents: Sequence[str], *, model: str | None, words: bool, timeout_s: float | None = None
    ) -> list[Explanation]:
        """What each document's score hangs on; see `Reranker.explain`."""
        limit_s = min(timeout_s or self.settings.timeout_s, self.settings.timeout_s)
        self.check_count(len(documents))
        try:
            async with asyncio.timeout(limit_s), self.models.named(model, strictly=True).use() as loaded:
                queue = _RequestQueue(loaded.scheduler, self.settings.max_request_tokens)
                reranker = loaded.reranker.scoring_with(queue)
                loop = asyncio.get_running_loop()
                try:
                    return await loop.run_in_executor(self._explainers, _explain_all, reranker, query, documents, words)
                finally:
                    queue.cancel()
        except TimeoutError as error:
            message = "not explained within {seconds:g} s; send fewer documents"
            raise DeadlineExceeded(Message(message, "server.explain-late", seconds=limit_s)) from error

    def hide_paths(self, text: str) -> str:
        """A message for callers: without the paths of models and of the store."""
        return hide_path(self.models.hide_paths(text), self._store_paths, "the store")

    def close(self) -> None:
        for pool in (self._encoders, self._large, self._explainers):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _answer(
        self,
        loaded: LoadedModel,
        requests: Sequence[RerankRequest],
        watch: "Callable[[Encoded], Scored] | None",
    ) -> list[Answer]:
        start = time.perf_counter()
        encoded = Encoded(requests, self.settings.max_request_tokens)
        try:
            loop = asyncio.get_running_loop()
            size = sum(len(one.query) + sum(len(document.text) for document in one.documents) for one in requests)
            threads = self._encoders if size < LARGE else self._large
            await loop.run_in_executor(threads, encoded.encode, loaded.reranker)
            for stage in STAGES:
                if any(job.stage == stage for job in encoded.jobs):
                    ticket = await loop.run_in_executor(threads, encoded.submit, stage, loaded.stages[stage], watch)
                    encoded.receive(stage, await asyncio.wrap_future(ticket.scores))
        finally:
            encoded.cancel()
        queue_s = sum(each.queue_s for each in encoded.tickets)
        self.monitor.waited(queue_s)
        forward_s = sum(each.forward_s for each in encoded.tickets)
        seconds = {"queue": queue_s, "encode": encoded.seconds, "forward": forward_s}
        seconds["total"] = time.perf_counter() - start
        return [
            self._rank(loaded.reranker, request, job, seconds)
            for request, job in zip(requests, encoded.jobs, strict=True)
        ]

    def _rank(self, reranker: Reranker, request: RerankRequest, job: RankingJob, seconds: dict[str, float]) -> Answer:
        ranking = reranker.ranking(job.request, job.scores, threshold=0.0, seconds=seconds)
        self.monitor.ranked(ranking, len(job.request.documents), request.tag)
        threshold = reranker.settings.threshold or 0.0 if request.threshold is None else request.threshold
        results = tuple(result for result in ranking if result.score >= threshold)[: request.top_n]
        device = reranker.device
        return Answer(request, replace(ranking, results=results), device.name, device.precision)

    def check_count(self, count: int) -> None:
        """Raises `RequestTooLarge` for more documents than a request may have."""
        if count > self.settings.max_documents:
            raise RequestTooLarge(
                Message(
                    "documents: {count} are more than the {limit} a request may have; send them in parts, or raise "
                    "max_documents",
                    "documents.count",
                    count=count,
                    limit=self.settings.max_documents,
                )
            )

    def _own_order(self, requests: Sequence[RerankRequest], error: Exception) -> list[Answer]:
        """The caller's own order, if the settings allow that for this error; else the error."""
        kind = problem_of(error).kind
        if not self.settings.fail_open or kind not in FAIL_OPEN:
            raise error
        self.monitor.refused(kind)
        logger.warning("failed open", extra={"error": str(error)})
        message = "not reranked, this is the order given: {why}"
        reason = change_text(Message(message, "degraded.own-order", why=message_of(error)), self.hide_paths)
        name = self.models.named(requests[0].model).name
        return [Answer(request, _unranked(request, name, reason)) for request in requests]


@dataclass(eq=False, slots=True)
class Encoded:
    """Requests on their way through the queues. `encode` and `submit` run on a thread, `cancel` takes back their work.

    `tickets`: their place in the queue of each stage so far.
    """

    requests: Sequence[RerankRequest]
    max_tokens: int
    jobs: list[RankingJob] = field(default_factory=list)
    seconds: float = 0.0
    pooling: str = "max"
    tickets: list[Ticket] = field(default_factory=list)
    _cancelled: bool = False
    _tokens: int = 0

    def encode(self, reranker: Reranker) -> None:
        """Encode and check the requests, unless they are cancelled by then."""
        start = time.perf_counter()
        self.pooling = reranker.settings.pooling
        for request in self.requests:
            self.jobs.append(reranker.job(_encode(reranker, request, self._count), request.top_n))
        self.seconds = time.perf_counter() - start

    def submit(self, stage: Stage, scheduler: Scheduler, watch: "Callable[[Encoded], Scored] | None") -> Ticket:
        """Queue the pairs of a stage. Raises `CancelledError` once cancelled."""
        if self._cancelled:
            raise CancelledError
        pairs = [pair for job in self.jobs if job.stage == stage for pair in job.pairs()]
        ticket = scheduler.submit(pairs, watch(self) if watch and stage == "score" else None)
        self.tickets.append(ticket)
        if self._cancelled:
            self.cancel()
        return ticket

    def receive(self, stage: Stage, scores: Scores) -> None:
        """Hand the scores of a stage to the jobs that wait for them."""
        first = 0
        for job in [job for job in self.jobs if job.stage == stage]:
            last = first + len(job.pairs())
            job.receive(scores.part(first, last))
            first = last

    def cancel(self) -> None:
        """Take it out of the queue, or let it not get there; does nothing once it is answered."""
        self._cancelled = True
        for ticket in self.tickets:
            ticket.cancel()

    def _count(self, tokens: int) -> None:
        """End the encoding once the request is cancelled, or has more tokens than it may."""
        self._tokens += tokens
        if self._cancelled:
            raise CancelledError
        if self._tokens > self.max_tokens:
            raise RequestTooLarge(
                Message(
                    "documents: more than the {limit} tokens a request may have; send them in parts, or raise "
                    "max_request_tokens",
                    "documents.tokens",
                    limit=self.max_tokens,
                )
            )


def _encode(reranker: Reranker, request: RerankRequest, on_tokens: Callable[[int], None]) -> EncodedRequest:
    _check_length(reranker, request.max_length)
    chunk = request.chunk
    if chunk is None and request.max_length is not None:
        chunk = False  # the request asks for a cut
    try:
        job = reranker.encode(
            request.query,
            request.documents,
            instruction=request.instruction,
            max_length=request.max_length,
            max_passage_tokens=request.max_passage_tokens,
            long_documents=None if chunk is None else ("chunk" if chunk else "truncate"),
            on_tokens=on_tokens,
        )
    except InvalidSetting as error:
        if request.max_length is None:
            raise
        raise InvalidInput(
            f"truncate_prompt_tokens is {request.max_length}, which leaves no room for a query and a passage; ask "
            "for more"
        ) from error
    if not request.truncate:
        cut = next((index for index, pair in enumerate(job.pairs) if pair.truncated), None)
        if cut is not None:
            raise InvalidInput(
                f"documents[{cut}]: with the query it is longer than {request.max_length or reranker.max_length} "
                "tokens, and the request forbids to cut it; shorten it, or allow truncation"
            )
    return job


def _check_length(reranker: Reranker, max_length: int | None) -> None:
    """Raises `InvalidInput` for a `truncate_prompt_tokens` that the model cannot follow; vLLM refuses it too."""
    if max_length is not None and max_length > reranker.max_length:
        raise InvalidInput(
            f"truncate_prompt_tokens is {max_length}, more than the {reranker.max_length} tokens the model reads; ask "
            "for fewer, or for -1, which is the model's length"
        )


def _explain_all(reranker: Reranker, query: str, documents: Sequence[str], words: bool) -> list[Explanation]:
    return [reranker.explain(query, document, words=words) for document in documents]


class _RequestQueue:
    """A `PairScorer`: scores the pairs of one request through the queue, as many tokens as a request may have, until it
    is cancelled."""

    def __init__(self, scheduler: Scheduler, max_tokens: int) -> None:
        self._scheduler = scheduler
        self._max_tokens = max_tokens
        self._tokens = 0
        self._ticket: Ticket | None = None
        self._cancelled = False

    @property
    def backend(self) -> ScoringBackend:
        return self._scheduler.backend

    def score(self, pairs: Sequence[EncodedPair], progress: Progress | None = None) -> Scores:
        self._tokens += sum(len(pair) for pair in pairs)
        if self._tokens > self._max_tokens:
            raise RequestTooLarge(
                Message(
                    "documents: explaining them takes more than the {limit} tokens a request may have; send fewer, or "
                    "raise max_request_tokens",
                    "documents.explained-tokens",
                    limit=self._max_tokens,
                )
            )
        self._ticket = self._scheduler.submit(pairs)
        if self._cancelled:
            self.cancel()
        return self._ticket.scores.result()

    def cancel(self) -> None:
        """Score no more: whoever waits for scores gets a `CancelledError`."""
        self._cancelled = True
        if self._ticket is not None:
            self._ticket.cancel()

    def close(self) -> None:
        """The queue is the model's, and stays open."""


def _unranked(request: RerankRequest, model: str, reason: str) -> Ranking:
    """The caller's order, scored 0 throughout: nothing is known of the documents."""
    results = tuple(
        RankedDocument(document, 0.0, 0.0, index, index + 1) for index, document in enumerate(request.documents)
    )
    return Ranking(results[: request.top_n], model, Usage(), reason)
