"""A question to a cited answer: recall, rerank, rules, prompt, answer, each stage counted and timed.

Takes any `Retriever`, `Ranker` and `Generator`; loads none of them.

>>> pipeline = Pipeline(retriever, reranker)                      # doctest: +SKIP
>>> answer = pipeline.ask("how do I reset the router?")           # doctest: +SKIP
>>> answer.text, answer.citations[0].source, answer.search.stages  # doctest: +SKIP
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Steps
from dataclasses import dataclass, replace
from typing import TypeVar

from finerank.errors import CacheError, EndpointError, FinerankError, InvalidInput
from finerank.messages import Message
from finerank.rag.answer_cache import AnswerCache
from finerank.rag.citations import cited
from finerank.rag.extract import extract, extract_text
from finerank.rag.gate import Evidence, decide
from finerank.rag.generate import Generator
from finerank.rag.order import blend, merge, rerank
from finerank.rag.prompt import answer_messages, rewrite_messages
from finerank.rag.results import Answer, Decision, Drop, FoundPassage, Search, Stage
from finerank.rag.rules import Rule, apply_rules, parse_rules
from finerank.rag.said import Said
from finerank.rag.thinking import SpokenText
from finerank.ranking import Ranker, is_blank
from finerank.retrieval.retriever import Retriever
from finerank.retrieval.where import Filter
from finerank.settings import RagSettings
from finerank.text.script import script

Result = TypeVar("Result")

UNKNOWN = "I do not know: no passage that was found answers this question."
UNKNOWN_IN_CHINESE = "不知道：找到的段落都没有回答这个问题。"

Event = Stage | Search | str | Answer
"""What `Pipeline.stream` yields: each stage as it ends, the search, the answer's text in pieces, the answer."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """A cache of answers, and the version of the index now."""

    cache: AnswerCache
    version: Callable[[], int]


class Pipeline:
    """The funnel with its parts. Safe to use from several threads if its parts are.

    `light` is the quick reranker of the stage in between, `model` the ranker's name, `evidence` what is known about
    reranking here, `alert` says what is wrong with the ranker's scores at the moment ("" for nothing), `answers` keeps
    answers.
    """

    def __init__(
        self,
        retriever: Retriever,
        ranker: Ranker,
        *,
        settings: RagSettings | None = None,
        generator: Generator | None = None,
        light: Ranker | None = None,
        model: str = "",
        evidence: Evidence | None = None,
        alert: Callable[[], str] = lambda: "",
        answers: CacheKey | None = None,
    ) -> None:
        self.settings = settings or RagSettings()
        self._retriever = retriever
        self._ranker = ranker
        self._generator = generator
        self._light = light
        self._model = model
        self._evidence = evidence
        self._alert = alert
        self._answers = answers
        self._rules: tuple[Rule, ...] = parse_rules(self.settings.rules)

    def search(self, question: str, *, where: Filter | None = None) -> Search:
        """The passages that may answer the question, and how they were found."""
        for event in self._search(question, where):
            if isinstance(event, Search):
                return event
        raise AssertionError("a search ends with its result")

    def ask(self, question: str, *, where: Filter | None = None) -> Answer:
        """The answer. A generator that fails is no error: the answer is then put together from the passages, and
        its notes say why."""
        for event in self.stream(question, where=where):
            if isinstance(event, Answer):
                return event
        raise AssertionError("a stream ends with its answer")

    def stream(self, question: str, *, where: Filter | None = None) -> Iterator[Event]:
        """The same, step by step: stages, the search, pieces of text, and at last the `Answer`."""
        start = time.perf_counter()
        asked = self._asked(where)
        notes: list[str] = []
        kept = self._kept_answer(question, asked, notes)
        if kept is not None:
            yield kept.text
            yield replace(kept, seconds=time.perf_counter() - start)
            return
        version = self._answers.version() if self._answers else 0
        search = yield from self._search(question, where)
        answer = yield from self._answer(search)
        answer = replace(answer, seconds=time.perf_counter() - start)
        if self._answers is not None and answer.complete:
            try:
                self._answers.cache.put(question, asked, version, answer)
            except CacheError as error:
                notes.append(Said.of("note.cache", why=error))
        yield replace(answer, notes=(*answer.notes, *notes))

    def _search(self, question: str, where: Filter | None) -> Steps[Event, None, Search]:
        if is_blank(question):
            raise InvalidInput(Message("the question is empty; there is nothing to answer", "question.empty"))
        settings, stages, notes = self.settings, _Stages(), list[str]()
        query = question
        if settings.rewrite != "off":
            query = stages.timed("rewrite", 0, lambda: self._rewritten(question, notes), lambda _: 0)
            yield stages.last
        recalled = stages.timed("recall", 0, lambda: self._retriever.retrieve(query, settings.recall, where))
        notes += [Said.of("note.recall", why=recalled.degraded)] if recalled.degraded else []
        yield stages.last
        decision = decide(settings.gate, question, self._evidence, model=self._model, alert=self._alert())
        passages = [FoundPassage(result.document, rank, rank) for rank, result in enumerate(recalled, start=1)]
        if self._light is not None and decision.order != "keep":
            light = self._light
            passages = stages.timed(
                "light rerank",
                len(passages),
                lambda: (_tried(light, query, passages, notes) or passages)[: settings.light_top],
            )
            yield stages.last
        ordered, decision = stages.timed(
            "rerank" if decision.order != "keep" else "no rerank",
            len(passages),
            lambda: self._ordered(query, passages, decision, notes),
            lambda done: len(done[0]),
        )
        yield stages.last
        reranked = stages.timed(
            "merge", len(ordered), lambda: merge(ordered, settings.merge_overlap, settings.rerank_top)
        )
        yield stages.last
        kept, dropped = stages.timed("rules", len(reranked), lambda: self._ruled(reranked), lambda done: len(done[0]))
        yield stages.last
        scores = [each.score for each in reranked if each.score is not None and each.score < settings.threshold]
        if scores and not kept:
            best, limit = f"{max(scores):.3f}", f"{settings.threshold:g}"
            notes.append(Said.of("note.below", threshold=limit, count=len(scores), best=best))
        search = Search(
            question,
            query,
            recalled,
            tuple(reranked),
            tuple(kept[: settings.prompt_top]),
            tuple(dropped),
            tuple(stages.done),
            decision,
            tuple(notes),
        )
        yield search
        return search

    def _rewritten(self, question: str, notes: list[str]) -> str:
        if self.settings.rewrite == "template":
            return self.settings.rewrite_template.replace("{question}", question)
        if self._generator is None:
            notes.append(Said.of("note.rewrite-generator"))
            return question
        try:
            spoken = SpokenText()
            spoken.add("".join(self._generator.stream(rewrite_messages(question))))
            spoken.end()
            return spoken.text.strip().split("\n")[0] or question
        except EndpointError as error:
            notes.append(Said.of("note.rewrite", why=error))
            return question

    def _ordered(
        self, query: str, passages: Sequence[FoundPassage], decision: Decision, notes: list[str]
    ) -> tuple[list[FoundPassage], Decision]:
        """All passages in the order that counts. A ranker that fails leaves the order it was given."""
        reranked = _tried(self._ranker, query, passages, notes) if decision.order != "keep" else None
        if reranked is None:
            failed = decision.order != "keep"
            return list(passages), Decision("keep", Said.of("gate.failed")) if failed else decision
        return (blend(passages, reranked) if decision.order == "blend" else reranked), decision

    def _ruled(self, passages: Sequence[FoundPassage]) -> tuple[list[FoundPassage], list[Drop]]:
        kept, dropped = apply_rules(passages, self._rules, self.settings.rule_score)
        weak = [each for each in kept if each.score is not None and each.score < self.settings.threshold]
        limit = f"{self.settings.threshold:g}"
        dropped += [Drop(each, Said.of("drop.score", score=f"{each.score:.3f}", threshold=limit)) for each in weak]
        return [each for each in kept if each not in weak], dropped

    def _answer(self, search: Search) -> Steps[Event, None, Answer]:
        if not search.passages:
            text = UNKNOWN_IN_CHINESE if script(search.question) == "han" else UNKNOWN
            yield text
            return Answer(search.question, text, "unknown", notes=search.notes, search=search)
        notes = list(search.notes)
        if self._generator is not None:
            spoken, failed = SpokenText(), False
            try:
                for piece in self._generator.stream(answer_messages(search.query, search.passages)):
                    if new := spoken.add(piece):
                        yield new
            except EndpointError as error:
                notes.append(Said.of("note.generator", why=error))
                failed = True
            if new := spoken.end():
                yield new
            if text := spoken.text.strip():
                return self._generated(search, text, notes)
            if not failed:
                notes.append(Said.of("note.silent", generator=self._generator.name))
        text = self._extracted(search, notes)
        yield text
        citations, _ = cited(text, search.passages)
        return Answer(search.question, text, "extractive", "", citations, search.passages, tuple(notes), search=search)

    def _generated(self, search: Search, text: str, notes: list[str]) -> Answer:
        citations, unknown = cited(text, search.passages)
        if unknown:
            numbers = ", ".join(f"[{number}]" for number in unknown)
            notes.append(Said.of("note.cites", numbers=numbers))
        name = self._generator.name if self._generator else ""
        return Answer(search.question, text, "generated", name, citations, search.passages, tuple(notes), search=search)

    def _extracted(self, search: Search, notes: list[str]) -> str:
        ranker = self._ranker if search.decision.order != "keep" else None
        try:
            found = extract(search.query, search.passages, ranker, self.settings.threshold)
        except InvalidInput:
            raise
        except FinerankError as error:
            notes.append(Said.of("note.sentences", why=error))
            found = extract(search.query, search.passages, None, self.settings.threshold)
        return extract_text(found) or f"{search.passages[0].document.text.strip()} [1]"

    def _kept_answer(self, question: str, asked: str, notes: list[str]) -> Answer | None:
        if self._answers is None:
            return None
        try:
            return self._answers.cache.get(question, asked, self._answers.version())
        except CacheError as error:
            notes.append(Said.of("note.cache", why=error))
            return None

    def _asked(self, where: Filter | None) -> str:
        """What else an answer depends on: every setting, the models, what is known of reranking here, the filter."""
        name = self._generator.name if self._generator else ""
        state = repr((self.settings, name, self._model, self._evidence, where))
        return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


def _tried(ranker: Ranker, query: str, passages: Sequence[FoundPassage], notes: list[str]) -> list[FoundPassage] | None:
    """The passages in the ranker's order; None, and a note, if it fails."""
    try:
        reranked, degraded = rerank(ranker, query, passages)
    except InvalidInput:
        raise
    except FinerankError as error:
        notes.append(Said.of("note.rerank", why=error))
        return None
    notes += [Said.of("note.partly", why=degraded)] if degraded else []
    return reranked


class _Stages:
    """The stages as they end."""

    def __init__(self) -> None:
        self.done: list[Stage] = []

    @property
    def last(self) -> Stage:
        return self.done[-1]

    def timed(
        self, name: str, given: int, work: Callable[[], Result], count: Callable[[Result], int] | None = None
    ) -> Result:
        """Do the work, and note how long it took and how many passages it left."""
        start = time.perf_counter()
        result = work()
        kept = count(result) if count else len(result)  # type: ignore[arg-type]
        self.done.append(Stage(name, given, kept, time.perf_counter() - start))
        return result
