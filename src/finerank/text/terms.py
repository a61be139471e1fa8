"""Text to the terms that word overlap counts, and the count."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from finerank.ranking import Span
from finerank.text.fold import fold, folded_spans

_UNSPACED_SCRIPTS = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff\U00020000-\U0003ffff"
"""Thai, kana, Chinese characters; and Hangul, whose words carry endings that would keep them from matching."""

_WORD = re.compile(rf"[^\W{_UNSPACED_SCRIPTS}]+")
_UNSPACED = re.compile(f"[{_UNSPACED_SCRIPTS}]+")


def terms(text: str) -> list[str]:
    """Words, and pairs of neighbouring characters in scripts written without spaces, both in the form of `fold`.

    >>> terms("Reset 路由器")
    ['reset', '路由', '由器']
    """
    folded = fold(text)
    return [folded[start:end] for start, end in _spans(folded)]


def term_spans(text: str) -> Iterator[tuple[str, Span]]:
    """Each term with the place in `text` it was found in."""
    if text.isascii():
        folded, places = fold(text), None
    else:
        characters = list(folded_spans(text))
        folded, places = "".join(character for character, _ in characters), [span for _, span in characters]
    for start, end in _spans(folded):
        yield folded[start:end], (places[start][0], places[end - 1][1]) if places else (start, end)


def _spans(folded: str) -> Iterator[Span]:
    for word in _WORD.finditer(folded):
        yield word.span()
    for run in _UNSPACED.finditer(folded):
        start, end = run.span()
        for first in range(start, max(end - 1, start + 1)):
            yield first, min(first + 2, end)


def bm25(query: str, passages: Sequence[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Okapi BM25 of each passage within this list (Robertson and Zaragoza 2009, equation 3.15, with Lucene's idf)."""
    bags = [Counter(terms(passage)) for passage in passages]
    lengths = [sum(bag.values()) for bag in bags]
    mean = sum(lengths) / max(len(lengths), 1) or 1
    wanted = set(terms(query))
    containing = Counter(term for bag in bags for term in bag if term in wanted)
    idf = {term: math.log(1 + (len(bags) - count + 0.5) / (count + 0.5)) for term, count in containing.items()}
    return [
        sum(
            idf[term] * frequency * (k1 + 1) / (frequency + k1 * (1 - b + b * length / mean))
            for term, frequency in bag.items()
            if term in idf
        )
        for bag, length in zip(bags, lengths, strict=True)
    ]
