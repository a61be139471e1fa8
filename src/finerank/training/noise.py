"""Text as people mistype it, and as a scanner misreads it.

Knows nothing about queries and passages. The same generator state gives the same text.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

Change = Callable[[str, np.random.Generator], str]
"""A text to a changed one."""

_NOISE = 0.03
"""Share of the places where noise can be that it strikes; at least one is struck."""

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_TYPED = re.compile(r"[^\W\d_]")  # letters; a mistyped number is another number

# What printed characters are read as: one direction a pair, both where both happen.
_MISREAD_BOTH_WAYS = (
    *(
        "0O",
        "1l",
        "1I",
        "lI",
        "5S",
        "8B",
        "2Z",
        "6b",
        "己已",
        "已巳",
        "未末",
        "土士",
        "日曰",
        "人入",
        "大太",
        "千干",
        "鸟乌",
    ),
    *(
        "戊戌",
        "白自",
        "目日",
        "天夭",
        "王玉",
        "午牛",
        "刀力",
        "贝见",
        "设没",
        "间问",
        "ソン",
        "シツ",
        "ロ口",
        "カ力",
        "ニ二",
    ),
)
_MISREAD = (*_MISREAD_BOTH_WAYS, *(pair[::-1] for pair in _MISREAD_BOTH_WAYS))
_MISREAD_RUNS = (("rn", "m"), ("m", "rn"), ("cl", "d"), ("vv", "w"), ("ii", "u"))
_CONFUSIONS: dict[str, tuple[str, ...]] = {
    seen: tuple(read for other, read in (*_MISREAD, *_MISREAD_RUNS) if other == seen)
    for seen, _ in (*_MISREAD, *_MISREAD_RUNS)
}
_CONFUSED = re.compile("|".join(map(re.escape, sorted(_CONFUSIONS, key=len, reverse=True))))

_LINE_ENDS = re.compile(
    r" |(?P<in_word>(?<=[a-z]{4})(?=[a-z]{4}))|(?<=[\u3040-\u30ff\u3400-\u9fff])(?=[\u3040-\u30ff\u3400-\u9fff])"
)
"""Where a line may end: at a space, within a long word, between Chinese or Japanese characters."""

_FULL_WIDTH = 0xFEE0  # from "!" to "！": U+0021 to U+FF01
_WIDTH = re.compile(r"[!-~\uff01-\uff5e]")


def mistype(text: str, rng: np.random.Generator) -> str:
    """Letters swapped with the next, dropped, doubled, or struck on a neighbouring key; those of scripts that are not
    on a Latin keyboard are only swapped, dropped or doubled. Digits stay."""
    places = [match.start() for match in _TYPED.finditer(text)]
    letters = list(text)
    for place in _draw(places, rng):
        slips = _SLIPS if _neighbours(text[place]) else _SLIPS[:-1]
        slips[rng.integers(len(slips))](letters, place, rng)
    return "".join(letters)


def misread(text: str, rng: np.random.Generator) -> str:
    """One to three kinds of a scanner's errors: look-alike characters, broken lines, full and half width mixed up."""
    for kind in rng.permutation(len(_SCANS))[: rng.integers(1, len(_SCANS) + 1)]:
        text = _SCANS[kind](text, rng)
    return text


def _draw(places: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The places that noise strikes, in order."""
    if not places:
        return []
    count = max(1, round(_NOISE * len(places)))
    return sorted(places[at] for at in rng.choice(len(places), count, replace=False))


# A slip changes one entry of a list with an entry for each character of the text, so that places stay what they were.


def _swap(letters: list[str], place: int, rng: np.random.Generator) -> None:
    other = place + 1 if place + 1 < len(letters) else max(0, place - 1)
    letters[place], letters[other] = letters[other], letters[place]


def _drop(letters: list[str], place: int, rng: np.random.Generator) -> None:
    letters[place] = ""


def _double(letters: list[str], place: int, rng: np.random.Generator) -> None:
    letters[place] *= 2


def _miss_the_key(letters: list[str], place: int, rng: np.random.Generator) -> None:
    near = _neighbours(letters[place])
    if near:
        letters[place] = near[rng.integers(len(near))]


_SLIPS = (_swap, _drop, _double, _miss_the_key)


def _neighbours(letter: str) -> str:
    """The keys around a letter's on a QWERTY keyboard, in its case."""
    for number, row in enumerate(_KEYBOARD):
        at = row.find(letter.lower()) if letter else -1
        if at >= 0:
            rows = _KEYBOARD[max(0, number - 1) : number + 2]
            near = "".join(other[max(0, at - 1) : at + 2] for other in rows).replace(row[at], "")
            return near.upper() if letter.isupper() else near
    return ""


def _confuse(text: str, rng: np.random.Generator) -> str:
    def look_alike(seen: re.Match[str]) -> str:
        reads = _CONFUSIONS[seen[0]]
        return reads[rng.integers(len(reads))]

    return _strike(_CONFUSED, look_alike, text, rng)


def _break_lines(text: str, rng: np.random.Generator) -> str:
    return _strike(_LINE_ENDS, lambda place: "\n" if place["in_word"] is None else "-\n", text, rng)


def _change_width(text: str, rng: np.random.Generator) -> str:
    def other_width(seen: re.Match[str]) -> str:
        return chr(ord(seen[0]) + (_FULL_WIDTH if seen[0] <= "~" else -_FULL_WIDTH))

    return _strike(_WIDTH, other_width, text, rng)


_SCANS: tuple[Change, ...] = (_confuse, _break_lines, _change_width)


def _strike(
    pattern: re.Pattern[str], change: Callable[[re.Match[str]], str], text: str, rng: np.random.Generator
) -> str:
    """The text with some of the pattern's matches changed."""
    matches = list(pattern.finditer(text))
    pieces, done = [], 0
    for match in (matches[at] for at in _draw(range(len(matches)), rng)):
        pieces += [text[done : match.start()], change(match)]
        done = match.end()
    return "".join([*pieces, text[done:]])
