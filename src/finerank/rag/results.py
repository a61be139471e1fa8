"""What the pipeline answers with: a search as it narrowed, and an answer with its citations. Does nothing itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from finerank.messages import Message, message_json
from finerank.ranking import Document, Ranking

Order = Literal["rerank", "blend", "keep"]
"""The reranker's order, that and the first stage's fused, or the first stage's."""

Kind = Literal["generated", "extractive", "unknown"]
"""Written by a generator, put together from the passages' own sentences, or "I do not know"."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the funnel: passages given to it, passages it kept, and its time."""

    name: str
    given: int
    kept: int
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which order counts, and why."""

    order: Order
    why: str


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage that came through. `recall_rank` is its place (from 1) in the first stage, `rank` in the order that
    counts; `score` and `logit` are the reranker's, None where it was not asked. `merged` are the nearly equal ones."""

    document: Document
    rank: int
    recall_rank: int
    score: float | None = None
    logit: float | None = None
    merged: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """A passage that was dropped, and the reason in words."""

    passage: FoundPassage
    reason: str


@dataclass(frozen=True, slots=True)
class Search:
    """A question's way through the funnel. `query` is what was searched and judged by: the question, perhaps rewritten.

    `passages` are those an answer may be made from, best first; `reranked` those before the rules; `notes` say what
    was not as asked.
    """

    question: str
    query: str
    recalled: Ranking
    reranked: tuple[FoundPassage, ...]
    passages: tuple[FoundPassage, ...]
    dropped: tuple[Drop, ...]
    stages: tuple[Stage, ...]
    decision: Decision
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Citation:
    """What [number] in an answer refers to: a passage, and where in its source it stands, as character offsets."""

    number: int
    source: str
    start: int
    end: int
    page: int | None = None
    heading: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its citations. `passages` are numbered from 1 in their order; `notes` say what was not as asked,
    such as a generator that broke off; `search` is None where the answer came from the cache."""

    question: str
    text: str
    kind: Kind
    generator: str = ""
    citations: tuple[Citation, ...] = ()
    passages: tuple[FoundPassage, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    cached: bool = False
    search: Search | None = field(default=None, compare=False)

    @property
    def complete(self) -> bool:
        """Whether everything went as asked: such an answer may be given again."""
        return not self.notes and self.kind != "unknown"


def citation(number: int, document: Document) -> Citation:
    """The citation of a passage by its number in the prompt."""
    place: Mapping[str, Any] = document.metadata
    return Citation(
        number,
        str(place.get("source") or document.id or ""),
        int(place.get("start") or 0),
        int(place.get("end") or len(document.text)),
        place.get("page"),
        str(place.get("heading") or ""),
        str(place.get("key") or ""),
    )


def search_json(search: Search) -> dict[str, Any]:
    """A search as one JSON object."""
    return {
        "question": search.question,
        "query": search.query,
        "decision": {"order": search.decision.order, "why": search.decision.why, **message_json(search.decision.why)},
        "stages": [asdict(stage) for stage in search.stages],
        "passages": [passage_json(passage) for passage in search.passages],
        "reranked": [passage_json(passage) for passage in search.reranked],
        "dropped": [
            {"reason": drop.reason, **message_json(drop.reason), **passage_json(drop.passage)}
            for drop in search.dropped
        ],
        "recalled": [{"id": result.document.id, "score": result.score} for result in search.recalled],
        "notes": list(search.notes),
        "note_codes": [message_json(note) for note in search.notes],
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as one JSON object, with its search if there was one."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "kind": answer.kind,
        "generator": answer.generator,
        "citations": [asdict(each) for each in answer.citations],
        "passages": [passage_json(passage) for passage in answer.passages],
        "notes": list(answer.notes),
        "note_codes": [message_json(note) for note in answer.notes],
        "seconds": round(answer.seconds, 6),
        "cached": answer.cached,
        **({"search": search_json(answer.search)} if answer.search else {}),
    }


def answer_from_json(fields: Mapping[str, Any]) -> Answer:
    """The answer that `answer_json` wrote, without its search."""
    return Answer(
        fields["question"],
        fields["answer"],
        fields["kind"],
        fields["generator"],
        tuple(Citation(**each) for each in fields["citations"]),
        tuple(_passage(each) for each in fields["passages"]),
        tuple(map(_note, fields["notes"], fields.get("note_codes") or [{}] * len(fields["notes"]))),
        fields["seconds"],
        fields["cached"],
    )


def passage_json(passage: FoundPassage) -> dict[str, Any]:
    return {
        "id": passage.document.id,
        "text": passage.document.text,
        "metadata": dict(passage.document.metadata),
        "rank": passage.rank,
        "recall_rank": passage.recall_rank,
        "score": passage.score,
        "logit": passage.logit,
        "merged": [str(document.id) for document in passage.merged],
    }


def _passage(fields: Mapping[str, Any]) -> FoundPassage:
    return FoundPassage(
        Document(fields["text"], fields["id"], fields["metadata"]),
        fields["rank"],
        fields["recall_rank"],
        fields["score"],
        fields["logit"],
        tuple(Document("", id_) for id_ in fields["merged"]),
    )


def _note(text: str, how: Mapping[str, Any]) -> str:
    return Message.restore(text, how["code"], how["values"]) if how.get("code") else text
