"""Long text to passages: cut at the ends of sentences, with overlap, as offsets into the text itself.

Knows nothing about tokenizers: the caller says how many tokens a piece of text has.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from finerank.ranking import Span
from finerank.text.sentences import sentence_spans as sentence_spans
from finerank.text.sentences import strip_span

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Texts to the number of tokens of each."""


def chunk_spans(text: str, count_tokens: CountTokens, max_tokens: int, overlap: int = 0) -> list[Span]:
    """Passages of at most `max_tokens` tokens as [start, end) offsets, in order, that together cover every sentence.

    Neighbours share whole sentences of up to `overlap` tokens. A sentence longer than a passage is cut, at spaces
    where it has them. Text without a sentence is one empty passage.
    """
    pieces = _fitting_pieces(text, sentence_spans(text), count_tokens, max_tokens)
    if not pieces:
        return [(0, 0)]
    passages: list[Span] = []
    first = 0
    while first < len(pieces):
        last, tokens = first, pieces[first][1]
        while last + 1 < len(pieces) and tokens + pieces[last + 1][1] <= max_tokens:
            last += 1
            tokens += pieces[last][1]
        passages.append((pieces[first][0][0], pieces[last][0][1]))
        following = last + 1
        if following < len(pieces):
            following = _step_back(pieces, first, following, min(overlap, max_tokens - pieces[following][1]))
        first = following
    return passages


def section_spans(
    text: str, breaks: Sequence[int], count_tokens: CountTokens, max_tokens: int, overlap: int = 0
) -> list[Span]:
    """Passages as of `chunk_spans`, none of which reaches over a break: the offset where a heading or a page begins."""
    passages = []
    for start, end in pairwise(sorted({0, *(place for place in breaks if 0 < place < len(text)), len(text)})):
        spans = chunk_spans(text[start:end], count_tokens, max_tokens, overlap)
        passages += [(start + first, start + last) for first, last in spans if first < last]
    return passages


def _step_back(pieces: list[tuple[Span, int]], first: int, following: int, overlap: int) -> int:
    """The piece the next passage begins with: as far before `following` as the overlap allows, after `first`."""
    while following - 1 > first and pieces[following - 1][1] <= overlap:
        following -= 1
        overlap -= pieces[following][1]
    return following


def _fitting_pieces(text: str, spans: list[Span], count_tokens: CountTokens, max_tokens: int) -> list[tuple[Span, int]]:
    """Every span with its token count; spans over the limit are halved until their parts fit."""
    counted: list[tuple[Span, int]] = []
    if not spans:
        return counted
    followed = [start for start, _ in spans[1:]] + [spans[-1][1]]  # the space between sentences may cost tokens too
    sizes = count_tokens([text[start:after] for (start, _), after in zip(spans, followed, strict=True)])
    for (start, end), tokens in zip(spans, sizes, strict=True):
        if tokens <= max_tokens or end - start == 1:
            counted.append(((start, end), tokens))
        else:
            parts = _parts(text, start, end, max(2, -(-tokens * 4 // (3 * max_tokens))))
            counted += _fitting_pieces(text, parts, count_tokens, max_tokens)
    return counted


def _parts(text: str, start: int, end: int, count: int) -> list[Span]:
    """The span in about `count` parts of like length, cut at white space if there is some near."""
    size = max(1, (end - start) // count)
    cuts = [start]
    while cuts[-1] + size < end:
        cut = cuts[-1] + size
        before = max(text.rfind(space, cut - size // 2, cut) for space in " \t\n")
        cuts.append(before if before > cuts[-1] else cut)
    spans = (strip_span(text, first, last) for first, last in zip(cuts, [*cuts[1:], end], strict=True))
    return [(first, last) for first, last in spans if first < last]
