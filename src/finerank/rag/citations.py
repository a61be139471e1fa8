"""The citations in an answer, in the many forms that models write them."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain

from finerank.rag.results import Citation, FoundPassage, citation

_LABEL = (
    r"(?:(?:id|no|sources?|passages?|documents?|docs?|references?|refs?|citations?|cite|context|excerpts?|chunks?|snippets?"
    r"|quellen?|fuentes?|fontes?|источник|출처|문서"
    r"|来源|來源|出处|出處|出典|段落|文档|文檔|文献|文獻|资料|資料|参考|參考|引用|片段|第)\s*[.:#_-]?\s*)"
)
_NUMBER = rf"[\^#]*{_LABEL}?[\^#]*(?:\d{{1,3}})(?:段|条|條|篇|号|號)?\^?"
_DASH = r"(?:[-‐‑‒–—−~〜…]|\.\.\.?|to|through|bis|至|到)"
_ITEM = rf"{_NUMBER}(?:\s*{_DASH}\s*{_NUMBER})?"
_BETWEEN = r"(?:\s*(?:[,;、/&+]|and|und|et|y|e|和|及|与|與)\s*)+|\s+"
_TAIL = r"†|:\s+\D|\s[-–—]\s+\D|\(|\||,\s*(?:pp?\.|pages?\b|section\b|§|第\s*\d+\s*[页頁])"
"""What a mark may say of its source."""
_REFERENCE = re.compile(rf"{_ITEM}(?:(?:{_BETWEEN}){_ITEM})*(?:\s*(?:{_TAIL}).*)?", re.IGNORECASE | re.DOTALL)
_LABELED = re.compile(rf"[\^#]*{_LABEL}[\^#]*\d", re.IGNORECASE)

_CODE = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1|\Z)|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
# In brackets, in parentheses with a word for source, or raised: not after a number or a unit (10³, m², km²).
_MARK = re.compile(
    r"[\[［【〔〖⟦](?P<bracketed>[^\[\]［］【】〔〕〖〗⟦⟧\n]{1,120})[\]］】〕〗⟧]"
    r"|[(（](?P<labeled>[^()（）\[\]［］【】〔〕〖〗⟦⟧\n]{1,120})[)）]"
    r"|<sup>(?P<raised>[^<>\[\]\n]{1,40})</sup>"
    rf"|(?<![\d{_SUPERSCRIPTS}])(?<!\b[A-Za-z])(?<!\b[A-Za-z]{{2}})"
    rf"(?P<superscript>[{_SUPERSCRIPTS}]+(?:[⁻–,，˒·][{_SUPERSCRIPTS}]+)*)"
)
_BETWEEN_MARKS = re.compile(rf"\s*{_DASH}\s*", re.IGNORECASE)
_LONGEST_RANGE = 100


def cited(text: str, passages: Sequence[FoundPassage]) -> tuple[tuple[Citation, ...], list[int]]:
    """The citations of an answer in the order of their first mention, and the numbers that no passage has."""
    numbers = cited_numbers(text)
    known = dict.fromkeys(number for number in numbers if 1 <= number <= len(passages))
    citations = tuple(citation(number, passages[number - 1].document) for number in known)
    return citations, sorted({number for number in numbers if number not in known})


def cited_numbers(text: str) -> list[int]:
    """The numbers an answer cites, in order.

    >>> cited_numbers("Hold it [1-3], then wait【5】 (source 4), but step (2) first.")
    [1, 2, 3, 5, 4]
    """
    found: list[list[int]] = []
    end = -1
    for mark in _MARK.finditer(_CODE.sub(_blank, text)):
        numbers = _numbers(mark)
        if numbers and found and _BETWEEN_MARKS.fullmatch(text, end, mark.start()):
            found.append(list(_span(found[-1][-1], numbers[0]))[1:-1])
        if numbers:
            found.append(numbers)
            end = mark.end()
    return list(chain.from_iterable(found))


def _numbers(mark: re.Match[str]) -> list[int]:
    inside = unicodedata.normalize("NFKC", next(group for group in mark.groups() if group)).strip()
    if mark["labeled"] and not _LABELED.match(inside):
        return []
    said = _REFERENCE.fullmatch(inside)
    if not said:
        return []
    return list(chain.from_iterable(_span(int(first), int(last or first)) for first, last in _ranges(inside)))


def _ranges(inside: str) -> Iterator[tuple[str, str]]:
    listed = re.split(_TAIL, inside, maxsplit=1, flags=re.IGNORECASE)[0]
    for item in re.finditer(_ITEM, listed, re.IGNORECASE):
        numbers = re.findall(r"\d+", item[0])
        yield numbers[0], numbers[-1]


def _span(first: int, last: int) -> Sequence[int]:
    """The numbers from one to the other; of what is no range the two."""
    return range(first, last + 1) if first <= last < first + _LONGEST_RANGE else (first, last)


def _blank(code: re.Match[str]) -> str:
    """Code as so many spaces, unless it is nothing but a citation."""
    inside = code[0].strip("`")
    return code[0] if not code[1] and _MARK.fullmatch(inside) else re.sub(r"[^\n]", " ", code[0])
