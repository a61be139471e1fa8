"""An answer without a generator: the sentences of the passages that answer best, word for word."""

from collections.abc import Sequence
from dataclasses import dataclass

from finerank.rag.results import FoundPassage
from finerank.ranking import Document, Ranker
from finerank.text.sentences import join_lines, sentence_spans
from finerank.text.terms import terms

MAX_SENTENCES = 3
"""Sentences of an answer."""

_JUDGED = 60
"""Sentences a ranker is asked about, at most: those that stand first in the best passages."""

_LEAST_TERMS = 3
"""Terms without which a line is a heading or a fragment, and no statement."""


@dataclass(frozen=True, slots=True)
class Extract:
    """A sentence of the passage with a number (from 1)."""

    text: str
    number: int


def extract(question: str, passages: Sequence[FoundPassage], ranker: Ranker | None, threshold: float) -> list[Extract]:
    """The best sentences by the ranker, those of `threshold` and more and at least one, in their passages' order;
    without a ranker, by the terms they share with the question."""
    sentences = _sentences(passages)
    if not sentences:
        return []
    if ranker is None:
        shares = [_shared(question, each.text) for each in sentences]
        order = sorted(range(len(sentences)), key=lambda index: -shares[index])
        best = [index for index in order if index == order[0] or shares[index] > 0]
    else:
        ranking = ranker.rank(question, [Document(each.text) for each in sentences], top_n=MAX_SENTENCES)
        best = [result.index for result in ranking if result.rank == 1 or result.score >= threshold]
    return [sentences[index] for index in sorted(best[:MAX_SENTENCES])]


def extract_text(extracts: Sequence[Extract]) -> str:
    """The sentences with their citations."""
    return "\n".join(f"{each.text} [{each.number}]" for each in extracts)


def _sentences(passages: Sequence[FoundPassage]) -> list[Extract]:
    seen: dict[str, Extract] = {}
    for number, passage in enumerate(passages, start=1):
        text, heading = passage.document.text, str(passage.document.metadata.get("heading") or "")
        for start, end in sentence_spans(text):
            sentence = join_lines(text[start:end])
            if len(terms(sentence)) >= _LEAST_TERMS and not sentence.startswith("#") and not _in(heading, sentence):
                seen.setdefault(sentence, Extract(sentence, number))
    return list(seen.values())[:_JUDGED]


def _in(heading: str, sentence: str) -> bool:
    return sentence in heading.split(" > ")


def _shared(question: str, sentence: str) -> float:
    wanted = set(terms(question))
    return len(wanted & set(terms(sentence))) / max(len(wanted), 1)
