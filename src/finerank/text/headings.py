"""Where a text's headings are. Knows Markdown, reStructuredText, Org mode and the chapter lines of plain text."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of some level (1 is highest) at an offset of the text."""

    start: int
    level: int
    title: str


_FENCE = re.compile(r"^ {0,3}(```+|~~~+)", re.MULTILINE)
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(\S.*)$", re.MULTILINE)
_SETEXT = re.compile(r"^ {0,3}(\S[^\n]*)\n {0,3}(=+|-{3,})[ \t]*$", re.MULTILINE)
_RST = re.compile(
    r"^(?:(?P<over>([=\-~^\"'`#*+_:.])\2{2,})[ \t]*\n)?(?P<title>[ \t]*\S[^\n]{0,200})\n"
    r"(?P<under>([=\-~^\"'`#*+_:.])\5{2,})[ \t]*$",
    re.MULTILINE,
)
_ORG = re.compile(
    r"^(\*{1,9})[ \t]+(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED)[ \t]+)?(?:\[#\w\][ \t]+)?"
    r"(\S[^\n]*?)[ \t]*(?::[\w@#%:]+:)?[ \t]*$",
    re.MULTILINE,
)
# Chapter lines: 第一章 总则, 第2節, บทที่ 3, Chapter 4.
_NUMBER = "[\\d〇零一二三四五六七八九十百千]+"
_CHAPTER = re.compile(
    rf"^[ \t\u3000]*((?:第{_NUMBER}(?P<unit>[编編篇部章回講讲节節])|บทที่ *\d+|(?:Chapter|CHAPTER) +[\dIVXLC]+)"
    r"(?!\w)[^\n。.!?]{0,60})$",
    re.MULTILINE,
)
_LEVELS = {**dict.fromkeys("编編篇部", 1), **dict.fromkeys("节節", 3)}


def markdown_headings(text: str) -> list[Heading]:
    """`#` headings and underlined ones, but not those inside fenced code.

    >>> [(h.level, h.title) for h in markdown_headings("# Router\\n\\nReset\\n-----\\n```\\n# no\\n```\\n")]
    [(1, 'Router'), (2, 'Reset')]
    """
    code = _fenced(text)
    begins = [start for start, _ in code]
    found = [Heading(mark.start(), len(mark[1]), mark[2].rstrip().rstrip("#").rstrip()) for mark in _ATX.finditer(text)]
    found += [Heading(mark.start(), 1 if mark[2][0] == "=" else 2, mark[1].strip()) for mark in _SETEXT.finditer(text)]

    def in_code(heading: Heading) -> bool:
        block = bisect_right(begins, heading.start) - 1
        return block >= 0 and heading.start < code[block][1]

    return sorted((heading for heading in found if not in_code(heading)), key=lambda heading: heading.start)


def rst_headings(text: str) -> list[Heading]:
    """Titles of reStructuredText; levels are given to the ways of underlining as they come.

    >>> [(h.level, h.title) for h in rst_headings("=====\\nGuide\\n=====\\n\\nSet up\\n------\\n\\nReset\\n------\\n")]
    [(1, 'Guide'), (2, 'Set up'), (2, 'Reset')]
    """
    found = []
    levels: dict[str, int] = {}
    for mark in _RST.finditer(text):
        title = mark["title"].strip()
        wide = sum(1 + (east_asian_width(each) in "WF") for each in title)
        if len(mark["under"]) >= wide and (not mark["over"] or mark["over"] == mark["under"]):
            style = mark["under"][0] + ("over" if mark["over"] else "")
            found.append(Heading(mark.start(), levels.setdefault(style, len(levels) + 1), title))
    return found


def org_headings(text: str) -> list[Heading]:
    """Headlines of Org mode, without their TODO keywords and tags.

    >>> [(h.level, h.title) for h in org_headings("* TODO [#A] Set up :home:\\n** Reset")]
    [(1, 'Set up'), (2, 'Reset')]
    """
    return [Heading(mark.start(), len(mark[1]), mark[2].strip()) for mark in _ORG.finditer(text)]


def chapter_headings(text: str) -> list[Heading]:
    """Lines such as 第一章 总则, บทที่ 3 or Chapter 4.

    >>> [(h.level, h.title) for h in chapter_headings("第一章 总则\\n内容。\\n第二节 定义\\n见第三章。")]
    [(2, '第一章 总则'), (3, '第二节 定义')]
    """
    return [
        Heading(mark.start(), _LEVELS.get(mark["unit"] or "", 2), " ".join(mark[1].split()))
        for mark in _CHAPTER.finditer(text)
    ]


def heading_paths(headings: Sequence[Heading], places: Sequence[int]) -> Iterator[str]:
    """The headings over each of the places, which rise: outermost first, with one that begins at the place itself.

    >>> list(heading_paths([Heading(0, 1, "A"), Heading(4, 2, "B")], [0, 9]))
    ['A', 'A > B']
    """
    path: list[Heading] = []
    number = 0
    for place in places:
        while number < len(headings) and headings[number].start <= place:
            heading = headings[number]
            path = [*(above for above in path if above.level < heading.level), heading]
            number += 1
        yield " > ".join(heading.title for heading in path)


def _fenced(text: str) -> Sequence[tuple[int, int]]:
    blocks, opened, fence = [], None, ""
    for mark in _FENCE.finditer(text):
        if opened is None:
            opened, fence = mark.start(), mark[1]
        elif mark[1].startswith(fence):
            blocks.append((opened, mark.end()))
            opened = None
    return [*blocks, (opened, len(text))] if opened is not None else blocks
