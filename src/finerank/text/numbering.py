"""Labels of a DOCX file's numbered paragraphs, such as 第三条 or 2.1, which the file keeps as counters only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import TYPE_CHECKING

from finerank.text.office import attribute, child, local, whole

if TYPE_CHECKING:
    from lxml.etree import _Element

_DIGITS = "〇一二三四五六七八九"
_LEVELS = 9
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Level:
    start: int = 1
    format: str = "decimal"
    text: str = ""
    style: str = ""


@dataclass(slots=True)
class Numbering:
    """The lists of a document and how far each has counted."""

    levels: Mapping[str, Mapping[int, _Level]] = field(default_factory=dict)  # by the list's number
    lists: Mapping[str, str] = field(default_factory=dict)  # lists that share their counters
    _counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def label(self, number: str, depth: int) -> str:
        """Count on and give the label; empty for bullets and unknown lists."""
        levels = self.levels.get(number, {})
        level = levels.get(depth)
        if level is None:
            return ""
        counts = self._counts.setdefault(self.lists.get(number, number), {})
        for below in [each for each in counts if each > depth]:
            del counts[below]
        counts[depth] = counts.get(depth, level.start - 1) + 1
        if level.format in ("bullet", "none"):
            return ""
        label = level.text
        for each in range(depth + 1):
            there = levels.get(each, _Level())
            shape = "decimal" if each < depth and "legal" in level.style else there.format
            label = label.replace(f"%{each + 1}", _written(counts.get(each, there.start), shape))
        return label.strip()


def read_numbering(root: "_Element") -> Numbering:
    """The lists of a numbering part."""
    abstract = {
        attribute(each, "abstractNumId"): {
            whole(attribute(level, "ilvl"), 0, _LEVELS): _level(level) for level in each if local(level) == "lvl"
        }
        for each in root
        if local(each) == "abstractNum"
    }
    levels: dict[str, Mapping[int, _Level]] = {}
    lists: dict[str, str] = {}
    for each in root:
        if local(each) != "num":
            continue
        number, base = attribute(each, "numId"), attribute(child(each, "abstractNumId"), "val")
        own = dict(abstract.get(base, {}))
        overridden = False
        for change in each:
            if local(change) == "lvlOverride":
                depth = whole(attribute(change, "ilvl"), 0, _LEVELS)
                there = child(change, "lvl")
                level = _level(there) if there is not None else own.get(depth, _Level())
                start = attribute(child(change, "startOverride"), "val")
                own[depth] = _Level(whole(start, level.start), level.format, level.text, level.style)
                overridden = overridden or bool(start)
        levels[number] = own
        lists[number] = number if overridden else f"abstract {base}"
    return Numbering(levels, lists)


def _level(element: "_Element") -> _Level:
    value = {name: attribute(child(element, name), "val") for name in ("start", "numFmt", "lvlText")}
    legal = "legal" if child(element, "isLgl") is not None else ""
    return _Level(whole(value["start"], 1), value["numFmt"] or "decimal", value["lvlText"], legal)


def _written(number: int, shape: str) -> str:
    if shape in ("lowerLetter", "upperLetter"):
        letters = ascii_lowercase[(number - 1) % 26] * ((number - 1) // 26 % 20 + 1)
        return letters.upper() if shape == "upperLetter" else letters
    if shape in ("lowerRoman", "upperRoman") and 0 < number < 4000:
        return _roman(number).upper() if shape == "upperRoman" else _roman(number)
    if "hinese" in shape or shape.startswith(("japanese", "ideograph", "taiwanese")):
        return _han(number)
    if shape.startswith("decimalEnclosedCircle") and 0 < number <= 20:
        return chr(0x2460 + number - 1)
    return f"{number:02d}" if shape == "decimalZero" else str(number)


def _roman(number: int) -> str:
    written = ""
    for value, letters in _ROMAN:
        written += letters * (number // value)
        number %= value
    return written


def _han(number: int) -> str:
    """A number below 10,000 in Chinese characters, as 二十三 and 一百零五."""
    if not 0 < number < 10_000:
        return str(number)
    written, gap = "", False
    for unit, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            written += ("零" if gap else "") + _DIGITS[digit] + sign
        gap = bool(written) and not digit if unit > 1 else False
    return written.removeprefix("一") if 10 <= number < 20 else written
