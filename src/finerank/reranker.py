"""The reranker: a loaded model that puts documents in order.

>>> reranker = Reranker.from_pretrained("BAAI/bge-reranker-v2-m3")      # doctest: +SKIP
>>> ranking = reranker.rank("how do I reset it?", passages, top_n=3)    # doctest: +SKIP
>>> ranking[0].document.text, ranking[0].score                          # doctest: +SKIP
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from finerank.effort import exit_scorer, small_model
from finerank.errors import FinerankError, InvalidInput, InvalidSetting, OutOfMemory, ScoreError
from finerank.job import STAGES, EncodedRequest, FirstLook, RankingJob, SecondStage, Stage
from finerank.ranking import (
    Document,
    Documents,
    PairScore,
    Ranking,
    Span,
    Usage,
    check_documents,
    check_pairs,
    check_query,
    check_request,
    rank_by_score,
)
from finerank.scoring.backend import ScoringBackend, open_backend
from finerank.scoring.batch import EncodedPair
from finerank.scoring.cache import open_cache
from finerank.scoring.calibration import Calibration, find_calibration
from finerank.scoring.device import Device, choose_device
from finerank.scoring.encode import EncodedQuery, PairEncoder, open_encoder
from finerank.scoring.forks import forkable_lock
from finerank.scoring.model_files import NATIVE_DTYPES, ModelFiles, find_model
from finerank.scoring.processor import check_native
from finerank.scoring.scorer import PairScorer, Progress, Scorer, Scores
from finerank.second_stage import second_files, second_stage
from finerank.settings import Options, Settings, check_threshold, check_top_n
from finerank.text.pool import pool

if TYPE_CHECKING:
    from finerank.explain import Explanation

logger = logging.getLogger("finerank")

OnTokens = Callable[[int], None]
"""Called with the tokens of pairs that have been encoded."""

_STRETCH = 200_000
"""Characters of a text that are cut into passages together."""
_TOGETHER = 1_000_000
"""Characters of texts that are tokenized between two calls of `on_tokens`; more at once are no faster."""
_PLACES = re.compile(r"\{(query|instruction)\}")

BATCH_TOKENS = {"native": 2048, "cpu": 1024, "mps": 8192, "cuda": 65536}
"""Tokens per batch by kind of device, and in our own engine. On a CPU small batches stay in its cache: with torch 1024
was fastest of 512 to 4096."""


class Reranker:
    """Scores documents against a query with a model. Safe to use from several threads.

    Make one with `Reranker.from_pretrained`; the constructor takes ready parts and serves tests.
    """

    def __init__(
        self,
        encoder: PairEncoder,
        scorer: PairScorer,
        *,
        settings: Settings | None = None,
        device: Device | None = None,
        files: ModelFiles | None = None,
        calibration: Calibration | None = None,
        first_look: FirstLook | None = None,
        second_stage: SecondStage | None = None,
    ) -> None:
        self._encoder = encoder
        self.scorer = scorer
        self.settings = settings or Settings()
        self.device = device or Device()
        self.files = files
        self.calibration = calibration
        self.first_look = first_look
        self.second_stage = second_stage
        self.model = files.name if files else type(scorer.backend).__name__
        self._lock = forkable_lock()  # of the two below
        self._users = 0
        self._closed = False

    @classmethod
    def from_pretrained(cls, model: str | Path | None = None, **options: Unpack[Options]) -> Self:
        """Load a model: a hub id, a local folder, an .onnx file, or nothing for the default model.

        The options are those of `finerank.settings.Settings`; what is not given comes from the environment and
        finerank.toml. Raises `ModelError`, `DeviceError`, `InvalidSetting` or `MissingExtra`, each naming the fix.
        """
        return cls._open(Settings.load(model=str(model) if model is not None else None, **options))

    @classmethod
    def _open(cls, settings: Settings) -> Self:
        files = find_model(settings.model, settings.revision, settings.backend, settings.dtype, settings.device)
        calibration = find_calibration(settings.calibration, files.folder)
        device = _device_for(files, settings)
        small = small_model(settings, files) if settings.effort == "fast" else None
        encoder = open_encoder(files, _max_length(files, settings.max_length))
        scorer, device = _open_scorer(files, device, settings)
        second = second_files(files)
        stage = second_stage(files, _open_scorer(second, device, settings)[0]) if second else None
        look = None
        if small is not None:
            look = _look_of(cls._open(small))
        elif settings.effort == "fast":
            look = FirstLook(exit_scorer(scorer, files))
        if stage and settings.effort == "fast":
            stage = replace(stage, candidates=0)
        return cls(
            encoder,
            scorer,
            settings=settings,
            device=device,
            files=files,
            calibration=calibration,
            first_look=look,
            second_stage=stage,
        )

    def __reduce__(self) -> tuple[Callable[[Settings], Self], tuple[Settings]]:
        """Pickled, it is its settings: a spawned process, or a Ray worker, loads the model anew."""
        if self.files is None:
            raise TypeError("a Reranker made of ready parts cannot be pickled; make it with from_pretrained")
        return self._open, (self.settings,)

    @property
    def max_length(self) -> int:
        """The longest pair in tokens; what is beyond is cut or chunked."""
        return self._encoder.max_length

    def rank(
        self,
        query: str,
        documents: Documents,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        progress: Progress | None = None,
    ) -> Ranking:
        """Documents in order of relevance, best first.

        `top_n` keeps the first n; `threshold` (0..1, default from the settings) drops lower scores. No documents give
        an empty ranking. Raises `InvalidInput` naming the index of what cannot be scored.
        """
        with self._in_use():
            return self._rank_all("", [(query, documents)], top_n, threshold, progress)[0]

    def rank_many(
        self,
        requests: Iterable[tuple[str, Documents]],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        progress: Progress | None = None,
    ) -> list[Ranking]:
        """One ranking a request, all scored in shared batches. Errors are those of `rank`, with the request's index."""
        with self._in_use():
            return self._rank_all("requests[{}]: ", requests, top_n, threshold, progress)

    def score_pairs(
        self, pairs: Iterable[tuple[str, str | Document]], *, progress: Progress | None = None
    ) -> list[PairScore]:
        """The score of each (query, passage), in the order given; a passage too long is cut, or chunked and pooled.

        Raises `InvalidInput` naming the index of a pair that cannot be scored.
        """
        requests = [(query, [passage]) for query, passage in check_pairs(pairs)]
        with self._in_use():
            rankings = self._rank_all("pairs[{}]: ", requests, None, 0.0, progress)
        return [
            PairScore(result.score, result.logit, result.truncated, ranking.degraded, result.probability)
            for ranking in rankings
            for result in ranking
        ]

    def explain(
        self, query: str, document: str | Document | Mapping[str, object], *, words: bool = True
    ) -> "Explanation":
        """Which sentences, and unless `words` is False which words of the best, carry the score; see `Explanation`.

        Of a document longer than max_length the part the model reads is explained: its best passage with
        long_documents="chunk", else its beginning.
        """
        with self._in_use():
            return self._explain(query, document, words)

    def encode(
        self,
        query: str,
        documents: Documents,
        *,
        instruction: str | None = None,
        max_length: int | None = None,
        max_passage_tokens: int | None = None,
        long_documents: str | None = None,
        on_tokens: OnTokens = lambda tokens: None,
    ) -> EncodedRequest:
        """The first half of `rank`: what the model is to read. What is not given is as in the settings.

        `instruction` goes where the template says {instruction}. `max_length` (tokens of a pair) and
        `max_passage_tokens` can only lower what the model allows. `on_tokens` is called with the tokens read since its
        last call; what it raises ends the reading of a large request. Raises `InvalidInput`.
        """
        encoder = self._encoder
        if max_length is not None and max_length < encoder.max_length:
            encoder = encoder.shortened(max_length)
        encoder.check_query(check_query(query))
        put = self._put(query, instruction)
        room = max_passage_tokens or self.max_length
        return self._encode(encoder, put, check_documents(documents), room, long_documents, on_tokens)

    def _encode(
        self,
        encoder: PairEncoder,
        put: str,
        checked: list[Document],
        room: int,
        long_documents: str | None,
        on_tokens: OnTokens,
    ) -> EncodedRequest:
        encoded = encoder.encode_query(put)
        room = min(encoder.passage_room(encoded), room)
        if (long_documents or self.settings.long_documents) == "chunk":
            pairs, counts, spans = self._chunked(encoder, encoded, checked, room, on_tokens)
            return EncodedRequest(put, checked, pairs, counts, spans)
        pairs = []
        for texts in _parts([document.text for document in checked]):
            if self.settings.clean:
                from finerank.text.clean import strip_html

                texts = [strip_html(text).text for text in texts]
            encoded_pairs = encoder.encode(encoded, texts, room)
            on_tokens(sum(len(pair) for pair in encoded_pairs))
            pairs += encoded_pairs
        return EncodedRequest(put, checked, pairs, [1] * len(checked), [None] * len(checked))

    def job(self, request: EncodedRequest, top_n: int | None = None) -> RankingJob:
        """The request on its way through the model's stages; `ranking` makes a ranking of what comes out."""
        return RankingJob(request, top_n, look=self.first_look, second=self.second_stage, pooling=self.settings.pooling)

    def ranking(
        self,
        request: EncodedRequest,
        scores: Scores,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> Ranking:
        """The second half of `rank`: the scores of the request's pairs, pooled and sorted."""
        pooled = request.pooled(scores.logits.tolist(), self.settings.pooling)
        truncated = [any(request.pairs[pair].truncated for pair in place) for place in request.places()]
        logits = [best[0] if best else None for best in pooled]
        usage = Usage(
            pairs=len(request.pairs),
            tokens=sum(len(pair) for pair in request.pairs),
            truncated=sum(truncated),
            cached=int(scores.cached.sum()),
            skipped=logits.count(None),
            seconds=seconds or {},
        )
        results = rank_by_score(
            request.documents,
            logits,
            truncated=truncated,
            best_spans=[request.spans[best[1]] if best else None for best in pooled],
            probabilities=[0.0 if logit is None else self.calibration.probability(logit) for logit in logits]
            if self.calibration
            else None,
            top_n=top_n,
            threshold=self.settings.threshold if threshold is None else threshold,
        )
        return Ranking(results, self.model, usage, scores.degraded)

    def scoring_with(
        self, scorer: PairScorer, look: PairScorer | None = None, reread: PairScorer | None = None
    ) -> Self:
        """The same model, its pairs scored by `scorer`: a queue that other requests share, say.

        `look` and `reread` score the pairs of the other stages; a stage without one is left out. Closing it closes
        these, and nothing else.
        """
        return type(self)(
            self._encoder,
            scorer,
            settings=self.settings,
            device=self.device,
            files=self.files,
            calibration=self.calibration,
            first_look=replace(self.first_look, scorer=look) if self.first_look and look else None,
            second_stage=replace(self.second_stage, scorer=reread) if self.second_stage and reread else None,
        )

    def close(self) -> None:
        """Release the model's memory and the cache's file: at once, or when the rankings under way are done.

        Another ranking is then a `FinerankError`; closing again does nothing.
        """
        with self._lock:
            idle = not self._closed and not self._users
            self._closed = True
        if idle:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Reranker({self.model!r}, {self.device.name}, {self.device.precision}, max_length={self.max_length})"

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keeps the model meanwhile, also if another thread, or a progress function, closes it."""
        with self._lock:
            if self._closed:
                raise FinerankError("the reranker is closed; load it again")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                last = self._closed and not self._users
            if last:
                self._release()

    def _release(self) -> None:
        for scorer in self.scorers.values():
            scorer.close()

    def _explain(self, query: str, document: str | Document | Mapping[str, object], words: bool) -> "Explanation":
        from finerank.explain import explain
        from finerank.text.clean import strip_html

        (checked,) = check_documents([document])
        job = self.encode(query, [checked])
        encoded = self._encoder.encode_query(job.query)
        _, best = pool(self._score_fully(job.pairs), "max")
        start, end = job.spans[best] or (0, len(checked.text))
        clean = strip_html(checked.text[start:end]) if self.settings.clean else None
        text = clean.text if clean else checked.text[start:end]

        def place(span: Span) -> Span:
            first, last = clean.original_span(span) if clean else span
            return start + first, start + last

        return explain(
            text[: self._encoder.read_length(encoded, text)],
            lambda texts: self._score_fully(self._encoder.encode(encoded, texts)),
            self._encoder.token_spans,
            words=words,
        ).placed(place)

    def _score_fully(self, pairs: Sequence[EncodedPair]) -> list[float]:
        """The logits of pairs that every stage reads."""
        first: list[float] = self.scorer.score(pairs).logits.tolist()
        stage = self.second_stage
        if stage is None:
            return first
        second = stage.scorer.score([stage.pair(pair) for pair in pairs]).logits.tolist()
        return [stage.combined(*logits) for logits in zip(first, second, strict=True)]

    def _rank_all(
        self,
        place: str,
        requests: Iterable[tuple[str, Documents]],
        top_n: int | None,
        threshold: float | None,
        progress: Progress | None,
    ) -> list[Ranking]:
        """Rank requests together; `place` is put before an error's message, with the request's index."""
        top_n, threshold = check_top_n(top_n), check_threshold(threshold)
        start = time.perf_counter()
        encoded = []
        for index, request in enumerate(requests):
            with _placed(place, index):
                encoded.append(self.encode(*check_request(request)))
        encode_s = time.perf_counter() - start
        jobs = [self.job(request, top_n) for request in encoded]
        for stage in STAGES:
            self._run(stage, [job for job in jobs if job.stage == stage], progress if stage == "score" else None)
        seconds = {"encode": encode_s, "forward": time.perf_counter() - start - encode_s}
        rankings = []
        for index, job in enumerate(jobs):
            with _placed(place, index):
                rankings.append(self.ranking(job.request, job.scores, top_n=top_n, threshold=threshold))
        seconds["total"] = time.perf_counter() - start
        return [replace(ranking, usage=replace(ranking.usage, seconds=seconds)) for ranking in rankings]

    def _run(self, stage: Stage, jobs: Sequence[RankingJob], progress: Progress | None) -> None:
        """Take jobs through a stage together, in shared batches."""
        waiting = [job.pairs() for job in jobs]
        if not waiting:
            return
        scores, first = self.scorers[stage].score([pair for pairs in waiting for pair in pairs], progress), 0
        for job, pairs in zip(jobs, waiting, strict=True):
            job.receive(scores.part(first, first + len(pairs)))
            first += len(pairs)

    @property
    def scorers(self) -> dict[Stage, PairScorer]:
        """What scores the pairs of each stage that the model has."""
        found: dict[Stage, PairScorer] = {"score": self.scorer}
        if self.first_look:
            found["look"] = self.first_look.scorer
        if self.second_stage:
            found["reread"] = self.second_stage.scorer
        return found

    def _put(self, query: str, instruction: str | None = None) -> str:
        """The query, trimmed as the model's texts are, as the template puts it to the model."""
        parts = {"query": self._encoder.trimmed(query), "instruction": instruction or ""}
        if instruction and "{instruction}" not in self.settings.template:
            raise InvalidInput(
                "instruction: this model takes none; leave it out, or set a template with {instruction} and {query}"
            )
        return _PLACES.sub(lambda place: parts[place[1]], self.settings.template)

    def _chunked(
        self, encoder: PairEncoder, query: EncodedQuery, documents: list[Document], room: int, on_tokens: OnTokens
    ) -> tuple[list[EncodedPair], list[int], list[Span | None]]:
        """Pairs of the documents' passages of at most `room` tokens, how many each has, and where in it they lie."""
        from finerank.text.chunk import chunk_spans
        from finerank.text.clean import strip_html

        pairs: list[EncodedPair] = []
        spans: list[Span | None] = []
        counts = []
        for document in documents:
            clean = strip_html(document.text) if self.settings.clean else None
            text = clean.text if clean else document.text
            chunks: list[Span] = []
            for start, end in _stretches(text):
                found = chunk_spans(text[start:end], encoder.count_tokens, room, self.settings.chunk_overlap)
                found = [(start + first, start + last) for first, last in found if first < last]
                if len(found) == 1 and end - start == len(text) and encoder.count_tokens([text])[0] <= room:
                    found = [(0, len(text))]  # the white space around it too, as where it is not chunked
                encoded = encoder.encode(query, [text[first:last] for first, last in found])
                on_tokens(sum(len(pair) for pair in encoded))
                pairs += encoded
                chunks += found
            if not chunks:
                chunks = [(0, 0)]
                pairs += encoder.encode(query, [""])
            spans += [clean.original_span(chunk) if clean else chunk for chunk in chunks]
            counts.append(len(chunks))
        return pairs, counts, spans


def _look_of(small: Reranker) -> FirstLook:
    """The look of a small model: it reads the documents with its own tokenizer, in passages if the model does."""

    def read(request: EncodedRequest) -> EncodedRequest:
        chunked = any(span is not None for span in request.spans)
        query, how = small._put(request.query), "chunk" if chunked else "truncate"
        # not checked: that the model itself can read the query is enough
        return small._encode(small._encoder, query, request.documents, small.max_length, how, lambda tokens: None)

    return FirstLook(small.scorer, read)


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in runs of about `_TOGETHER` characters."""
    part: list[str] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size >= _TOGETHER:
            yield part
            part, size = [], 0
    if part:
        yield part


def _stretches(text: str) -> Iterator[Span]:
    """A very long text in stretches that are cut into passages one after the other, ending at a line or a word."""
    start = 0
    while len(text) - start > _STRETCH:
        end = start + _STRETCH
        cut = max(text.rfind(space, end - _STRETCH // 10, end) for space in "\n ")
        yield start, (cut if cut > start else end)
        start = cut if cut > start else end
    yield start, len(text)


@contextmanager
def _placed(place: str, index: int) -> Iterator[None]:
    """Puts the place, with the index, before the message of an error about the input."""
    try:
        yield
    except (InvalidInput, ScoreError) as error:
        raise type(error)(place.format(index) + str(error)) from error


def _device_for(files: ModelFiles, settings: Settings) -> Device:
    if files.backend == "native":
        if settings.device not in ("auto", "cpu"):
            raise InvalidSetting(f"device={settings.device!r}: the native engine runs on the CPU; use backend='torch'")
        if settings.dtype not in NATIVE_DTYPES:
            raise InvalidSetting(f"dtype={settings.dtype!r}: the native engine computes in int16 and fp32")
        return Device("cpu", "int16" if settings.dtype == "auto" else settings.dtype, (), check_native().found)
    if files.backend != "onnx":
        return choose_device(settings.device, settings.dtype)
    if settings.device not in ("auto", "cpu"):
        raise InvalidSetting(f"device={settings.device!r}: ONNX models run on the CPU; load safetensors for a GPU")
    if settings.dtype in ("fp16", "bf16", "int16"):
        raise InvalidSetting(f"dtype={settings.dtype!r}: an ONNX model has the precision of its file; use auto")
    quantised = files.uses_operator("DynamicQuantizeLinear", "MatMulNBits", "QLinearMatMul", "MatMulInteger")
    if settings.dtype == "fp32" and quantised:
        raise InvalidSetting(f"dtype='fp32': {files.name} is quantised to int8; use dtype='auto' or another file")
    if settings.dtype == "int8" and not quantised:
        raise InvalidSetting(
            f"dtype='int8': {files.name} is not quantised; make it so with `finerank export MODEL OUT --precision int8`"
        )
    precision = "int8" if quantised else "as exported"
    return Device("cpu", precision, (), "ONNX models run on the CPU")


def _open_scorer(files: ModelFiles, device: Device, settings: Settings) -> tuple[Scorer, Device]:
    """A scorer of the model, and the device it is on: the CPU if it does not fit and the settings allow that."""
    backend, device = _open_backend(files, device, settings)
    cache = open_cache(settings.cache, settings.cache_entries)
    how = f"{files.backend} {device.kind} {device.precision} {settings.deterministic}"
    scorer = Scorer(
        backend,
        max_batch_tokens=settings.batch_tokens or BATCH_TOKENS["native" if files.backend == "native" else device.kind],
        namespace=f"{files.fingerprint()} {how}" if cache else "",
        cache=cache,
        deterministic=settings.deterministic and files.backend != "native",  # which is so anyway
        open_fallback=(lambda: open_backend(files, Device(), settings.threads))
        if settings.fallback == "cpu" and device.kind != "cpu"
        else None,
    )
    return scorer, device


def _open_backend(files: ModelFiles, device: Device, settings: Settings) -> tuple[ScoringBackend, Device]:
    """The model on the device, or on the CPU if it does not fit and the settings allow that."""
    try:
        return open_backend(files, device, settings.threads, settings.passage_cache_mb), device
    except OutOfMemory as error:
        if settings.fallback != "cpu" or device.kind == "cpu":
            raise OutOfMemory(
                f"{files.name} does not fit into the memory of {device.name}: {error}. Use device='cpu', "
                "fallback='cpu' or a smaller model."
            ) from error
        device = Device("cpu", "fp32", device.checks, f"the model does not fit into the memory of {device.name}")
    return open_backend(files, device, settings.threads, settings.passage_cache_mb), device


def _max_length(files: ModelFiles, given: int | None) -> int:
    if given is not None and given > files.usable_length:
        raise InvalidSetting(f"max_length={given}: {files.name} has positions for {files.usable_length} tokens")
    declared = files.declared_length if given is not None else None
    if given is not None and declared is not None and given > declared:
        logger.warning("max_length=%d: %s is made for %d tokens, say its files", given, files.name, declared)
    return given or files.tuned_length
