"""Text to sentences: they end at full stops, not where a line is wrapped."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unicodedata import east_asian_width

from finerank.ranking import Span

_CLOSING = "\"'”’»）)」』】》〉\\]"
_STOPS = ".!?؟۔।॥"
# Full-width punctuation ends a sentence anywhere, .!? and their like before a space. No match begins past the second
# mark of a run: else a run of n marks within a word would cost n² steps.
_STOP = re.compile(
    rf"[。！？｡]+[{_CLOSING}]*"
    rf"|(?<![{_STOPS}]{{2}})[{_STOPS}]+[{_CLOSING}]*(?:\[\d{{1,3}}\])*(?=\s|$)"
)
_LINE_BREAK = re.compile(r"\r\n?|[\n\v\f\x85\u2028\u2029]")
_LAST_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|\.)*\Z")
_TITLES = frozenset(
    "mr mrs ms messrs dr prof st vs mme mlle sra dra hr fr e.g i.e z.b d.h u.a v.a bzw vgl ca cf approx "
    "evtl ggf".split()
)
"""No sentence ends after these."""
_BEFORE_NUMBERS = frozenset(
    "no nos nr fig figs eq eqs sec ch chap vol vols p pp art abs tab ver para ref ext tel".split()
)
_BEFORE_SMALL_LETTERS = frozenset(
    "etc al inc ltd co corp jr sr dept est usw max min incl excl resp a.m p.m u.s u.k".split()
)
_ENUMERATOR = re.compile(r"[ \t>]*\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})\Z")

_FENCE = re.compile(r"[ \t>]*(```+|~~~+)")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)*")
_RULE = re.compile(r"[ \t]*[-=~^\"'`#*+_:.|][-=~^\"'`#*+_:.| \t]{2,}\Z")
_HEADING = re.compile(r"#{1,6}\s|\*+ [A-Z]|=+ \S")
_NUMERALS = "〇零一二三四五六七八九十百"
_BULLET = re.compile(
    r"[-+*•▪◦‣·●○■□►➤✓–]\s|\(?\d{1,3}[.)]\s|\d{1,3}[、．]|[(（]\d{1,3}[)）]|\(?(?:[A-Za-z]|[ivxIVX]{1,5})[.)]\s"
    rf"|[(（][{_NUMERALS}]+[)）]|[{_NUMERALS}]+[、．]|第[{_NUMERALS}\d]+[章节節条條款项項]|[①-⑳]|\.\. |[QA问答問][:：]"
)
_COLUMNS = re.compile(r"\s\|\s|^\||\S\t+\S|\S {3,}\S.* {3,}\S")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
_STARTS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ENDS_UNSPACED = re.compile(f"[{_UNSPACED}]\\Z")
_OPEN_WORDS = frozenset("a an the of to in and or for with by from on at as".split())
_OPEN_SIGNS = frozenset("的和与與或于於在为為对對将將把被及从從向由而并並且はがをにへとでのもや")
"""No sentence, and hardly a heading, ends with one of these words."""
_WRAPPED = re.compile(r"[ \t]*(?:\r\n?|[\n\v\f\x85\u2028\u2029])[\s>]*")

# Columns. Nobody wraps text wider than this; a line narrower than the others is evidence only where its like recurs.
_WIDEST = 130
_NARROWEST = 40
_SURELY_WRAPPED = 60
_RAGGED = 12


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    text: str  # without its quotation marks, indentation and trailing space
    width: int
    indent: int
    quotes: int
    apart: bool  # a line of code, a table, a heading or a rule, or an empty one
    bullet: int  # the width of the mark, 0 without


def sentence_spans(text: str) -> list[Span]:
    """The sentences of `text` as [start, end) offsets, without surrounding white space; empty ones are left out.

    The end of a line ends a sentence unless the line was wrapped. Headings, list items, table rows and lines of code
    are never joined.

    >>> text = "重置路由器。按住按钮十秒！ The warranty covers parts\\nand labor."
    >>> [text[a:b] for a, b in sentence_spans(text)]
    ['重置路由器。', '按住按钮十秒！', 'The warranty covers parts\\nand labor.']
    """
    ends = [match.end() for match in _STOP.finditer(text) if not _goes_on(text, match)]
    if _LINE_BREAK.search(text):
        ends = sorted({*ends, *_line_ends(text)})
    spans = (strip_span(text, start, end) for start, end in zip([0, *ends], [*ends, len(text)], strict=True))
    return [(start, end) for start, end in spans if start < end]


def join_lines(text: str) -> str:
    """Text on one line: wrapped lines are joined with a space, or without one in scripts that have none.

    >>> join_lines("按住\\n按钮 until\\n> it blinks")
    '按住按钮 until it blinks'
    """
    return " ".join(_WRAPPED.sub(lambda mark: _joint(text, mark.start(), mark.end()), text).split())


def strip_span(text: str, start: int, end: int) -> Span:
    """The span without the white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _joint(text: str, before: int, after: int) -> str:
    left, right = text[before - 1 : before], text[after : after + 1]
    if _ENDS_UNSPACED.search(left) and _STARTS_UNSPACED.match(right):
        return ""
    return "" if left == "-" and text[before - 2 : before - 1].isalpha() and right.islower() else " "


def _goes_on(text: str, stop: re.Match[str]) -> bool:
    """Whether a full stop is that of an abbreviation, an initial or a list item's number."""
    if stop[0] != ".":
        return False
    before = text[max(0, stop.start() - 12) : stop.start()]
    line = before[before.rfind("\n") + 1 :]
    if (len(before) < 12 or line != before) and _ENUMERATOR.match(line):
        return not _LINE_BREAK.match(text, stop.end()) and stop.end() < len(text)
    word = _LAST_WORD.search(before)
    if not word:
        return False
    following = text[stop.end() : stop.end() + 8].lstrip()[:1]
    name = word[0].lower()
    return (
        (len(name) == 1 and word[0].isupper())
        or name in _TITLES
        or (name in _BEFORE_NUMBERS and following.isdecimal())
        or (name in _BEFORE_SMALL_LETTERS and following.islower())
    )


def _line_ends(text: str) -> list[int]:
    """Where a line break is the end of a sentence or of something that is none."""
    lines = _lines(text)
    widths = sorted(line.width for line in lines if not line.apart)
    widest = _widest_neighbors(lines)
    ends: list[int] = []
    complete = False  # whether the sentence of the line below comes to a full stop
    for number in range(len(lines) - 2, -1, -1):
        line, following = lines[number], lines[number + 1]
        complete = complete or bool(_STOP.search(following.text))
        wrapped = (
            not (line.apart or following.apart or following.bullet or line.quotes != following.quotes)
            and _indented_alike(lines, number)
            and _is_wrapped(line, following, widest[number], widths, complete)
        )
        if not wrapped:
            ends.append(following.start)
            complete = False
    return ends


def _is_wrapped(line: _Line, following: _Line, widest: int, widths: Sequence[int], complete: bool) -> bool:
    last, first = line.text[-1], next((each for each in following.text if each.isalnum()), "")
    if last in ";{}；":
        return False
    if last == ".":  # of an abbreviation: a full stop would have ended the sentence already
        return True
    unspaced = bool(_STARTS_UNSPACED.match(first))
    first_word = 4 if unspaced else 1 + _width(following.text.split(maxsplit=1)[0])
    full = line.width + first_word > widest <= _WIDEST
    if first.islower() and last not in ":：":
        return complete or (full and line.width >= _NARROWEST)
    if last in "，、" or (complete and (last in _OPEN_SIGNS or line.text.rsplit(maxsplit=1)[-1] in _OPEN_WORDS)):
        return True
    slack = 4 if unspaced else _RAGGED
    alike = _between(widths, line.width - slack, line.width + slack) > 1
    least = _NARROWEST // 2 if unspaced else _NARROWEST
    sure = _SURELY_WRAPPED if first.isupper() or first.isdecimal() else _NARROWEST
    return full and line.width >= (least if alike else sure)


def _between(widths: Sequence[int], low: int, high: int) -> int:
    return bisect_right(widths, high) - bisect_left(widths, low)


def _widest_neighbors(lines: Sequence[_Line]) -> list[int]:
    """The width of each line's paragraph: lines up to the next empty one, or one of another kind."""
    widest: list[int] = []
    first = 0
    for number, line in enumerate(lines):
        if line.apart:
            widest += [0] * (number - first + 1)
            first = number + 1
        elif number + 1 == len(lines) or lines[number + 1].apart:
            widest += [max(each.width for each in lines[first : number + 1])] * (number + 1 - first)
            first = number + 1
    return widest


def _indented_alike(lines: Sequence[_Line], number: int) -> bool:
    """Whether the next line is no deeper than this one; less deep only below a paragraph's first line."""
    line, following = lines[number], lines[number + 1]
    if line.bullet:
        return following.indent <= line.indent + max(line.bullet, 4)
    if following.indent < line.indent:
        return number == 0 or lines[number - 1].apart or lines[number - 1].indent != line.indent
    return following.indent == line.indent


def _lines(text: str) -> list[_Line]:
    lines: list[_Line] = []
    fence = ""
    starts = [0, *(match.end() for match in _LINE_BREAK.finditer(text))]
    for start, after in zip(starts, [*starts[1:], len(text)], strict=True):
        whole = text[start:after].rstrip()
        mark = _FENCE.match(whole)
        in_code = bool(fence or mark)
        if mark:
            fence = mark[1] if not fence else "" if mark[1].startswith(fence) else fence
        prefix = _QUOTE.match(whole)
        quotes = prefix[0].count(">") if prefix else 0
        body = whole[prefix.end() :].lstrip() if prefix else whole
        bullet = _BULLET.match(body)
        is_rule = bool(_RULE.match(body))
        if is_rule and lines and not lines[-1].apart:
            lines[-1] = _apart(lines[-1])  # a heading, underlined
        apart = in_code or is_rule or not body or bool(_HEADING.match(body) or _COLUMNS.search(body))
        apart = apart or text[start - 1 : start] in ("\f", "\v", "\u2029")  # begins a page or a paragraph
        indent = len(whole) - len(whole.lstrip())
        lines.append(
            _Line(start, after, body, _width(whole), indent, quotes, apart, len(bullet[0]) if bullet else 0)
        )  # fmt: skip
    return lines


def _apart(line: _Line) -> _Line:
    return replace(line, apart=True)


def _width(text: str) -> int:
    """Columns of a terminal: two for a Chinese character."""
    return len(text) if text.isascii() else sum(1 + (east_asian_width(each) in "WF") for each in text)
