"""Why a document scored as it did: what the logit loses when a sentence, or a word, is taken out (occlusion).

Costs one forward pass a sentence and one a word of the best sentence, on the same engine that ranks. Drops are in
logits: the document's logit minus the logit without the piece; positive means the piece speaks for the document.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from finerank.ranking import Span
from finerank.text.sentences import sentence_spans

ScoreTexts = Callable[[Sequence[str]], Sequence[float]]
"""Passages to logits, for one query."""

MAX_PIECES = 128
"""Pieces occluded at most; a longer text is cut into this many runs of neighbouring pieces."""

# Scripts written without spaces have no words to find by spaces: there the model's own tokens stand in for words.
_WORDS = re.compile(r"[^\W\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff]+|[\uac00-\ud7ff]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence or a word: its text, its place in the document, and what the logit loses without it."""

    text: str
    span: Span
    drop: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """`sentences` in text order, `words` of the best sentence in text order.

    Faithfulness: `top_drop` is what removing the best sentence costs, `random_drop` what removing another one costs
    on average (the expectation over a random choice). As the best sentence is the one with the largest drop, top_drop
    is never below: how far above it lies tells how much of the score hangs on one sentence.
    With one sentence there is nothing to compare, and `random_drop` is None.
    """

    logit: float
    sentences: tuple[Piece, ...]
    words: tuple[Piece, ...]
    top_drop: float
    random_drop: float | None

    @property
    def best_sentence(self) -> Piece:
        return max(self.sentences, key=lambda piece: piece.drop)

    def placed(self, place: Callable[[Span], Span]) -> Self:
        """The same explanation, each span where `place` says: for a text taken out of a longer document."""
        sentences, words = (
            tuple(replace(piece, span=place(piece.span)) for piece in pieces) for pieces in (self.sentences, self.words)
        )
        return replace(self, sentences=sentences, words=words)


def explain(
    text: str, score: ScoreTexts, token_spans: Callable[[str], Sequence[Span]], *, words: bool = True
) -> Explanation:
    """Occlude the sentences of `text`, then, with `words`, the words of the sentence that carries most."""
    spans = _at_most(sentence_spans(text), MAX_PIECES) or [(0, len(text))]
    logit, *without = score([text, *(_without(text, span) for span in spans)])
    sentences = _pieces(text, spans, logit, without)
    best = max(sentences, key=lambda piece: piece.drop)
    word_spans = _at_most(_word_spans(text, best.span, token_spans), MAX_PIECES) if words else []
    word_logits = score([_without(text, span) for span in word_spans]) if words else []
    others = [piece.drop for piece in sentences if piece is not best]
    return Explanation(
        logit=logit,
        sentences=sentences,
        words=_pieces(text, word_spans, logit, word_logits),
        top_drop=best.drop,
        random_drop=sum(others) / len(others) if others else None,
    )


def _pieces(text: str, spans: Sequence[Span], logit: float, without: Sequence[float]) -> tuple[Piece, ...]:
    return tuple(
        Piece(text[start:end], (start, end), logit - other) for (start, end), other in zip(spans, without, strict=True)
    )


def _without(text: str, span: Span) -> str:
    return text[: span[0]] + text[span[1] :]


def _word_spans(text: str, span: Span, token_spans: Callable[[str], Sequence[Span]]) -> list[Span]:
    """Words between spaces and punctuation; in scripts without spaces, the model's tokens."""
    start, end = span
    spans = [match.span() for match in _WORDS.finditer(text, start, end)]
    taken = {position for a, b in spans for position in range(a, b)}
    for a, b in token_spans(text[start:end]):
        a, b = start + a, start + b
        if b > a and not any(position in taken for position in range(a, b)) and text[a:b].strip(".,;:!?。，、！？ \n"):
            spans.append((a, b))
            taken.update(range(a, b))
    return sorted(spans)


def _at_most(spans: list[Span], limit: int) -> list[Span]:
    """Join neighbours so that no more than `limit` spans are left."""
    size = -(-len(spans) // limit) if spans else 1
    groups = [spans[first : first + size] for first in range(0, len(spans), size)]
    return [(group[0][0], group[-1][1]) for group in groups]
