"""What the pipeline says in sentences, each with a code and its figures for whoever says it in another language.

Knows only English. A `Said` is a sentence like any other: print it, log it, compare it.
"""

from collections.abc import Mapping
from typing import Self

from finerank.messages import Message, message_of

SENTENCES: Mapping[str, str] = {
    "gate.setting": "the setting gate={gate}",
    "gate.alert": "an alert on the reranker's health: {why}",
    "gate.script": "{model} cannot read {script} script; --model takes one that can",
    "gate.no-evidence": "no evidence against it: `finerank evaluate --store` would gather some",
    "gate.hurts": "reranking hurts here: {measured}",
    "gate.may-hurt": "reranking may hurt here: {measured}",
    "gate.helps": "reranking helps here: {measured}",
    "gate.no-harm": "no harm seen: {measured}",
    "gate.failed": "the reranker failed",
    "note.recall": "{why}",
    "note.rerank": "not reranked: {why}",
    "note.partly": "{why}",
    "note.rewrite": "the question was not rewritten: {why}",
    "note.rewrite-generator": "the question was not rewritten: there is no generator",
    "note.generator": "the generator failed: {why}",
    "note.silent": "the generator {generator} answered nothing",
    "note.cites": "the answer cites {numbers}, which there is not",
    "note.sentences": "the sentences were not reranked: {why}",
    "note.cache": "{why}",
    "note.below": "no passage reaches the threshold of {threshold}: the best of {count} scores {best}",
    "drop.score": "its score {score} is below {threshold}",
    "drop.older": "older than {years} years: of {date}",
    "drop.source": "its source is not one of {allowed}",
    "drop.short": "shorter than {least} characters: {length}",
    "drop.duplicate": "says what passage {rank} says: {share} of their terms are the same",
    "drop.metadata": "its {name} is {value}",
}
"""By code."""


class Said(Message):
    """A sentence with its `code` and `values`, as they stand in it.

    >>> said = Said.of("drop.score", score="0.120", threshold="0.3")
    >>> print(said, said.code)
    its score 0.120 is below 0.3 drop.score
    """

    __slots__ = ()

    @classmethod
    def of(cls, code: str, **values: object) -> Self:
        return cls(SENTENCES[code], code, **{name: _shown(value) for name, value in values.items()})


def _shown(value: object) -> str:
    """As it stands in the sentence; the message of an exception keeps its own code."""
    if isinstance(value, BaseException):
        return message_of(value)
    return value if isinstance(value, Message) else str(value)
