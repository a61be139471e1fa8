"""Which encoding bytes are in: marks, UTF-8 with a few bad bytes, UTF-16 and UTF-32 without marks, legacy encodings."""

import codecs
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from finerank.errors import InvalidSetting, UnreadableFile

SAMPLE_BYTES = 1 << 16
"""Bytes that are looked at where UTF-8 does not fit: detectors gain nothing from more."""

SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-8": "utf-8-sig",
}
"""A codec that reads everything the named one does, and what real files hold besides."""

_COMMON_NAMES = {
    **{wide: name for name, wide in SUPERSETS.items() if name not in ("gb2312", "gbk")},
    **{f"cp{page}": f"windows-{page}" for page in (874, *range(1250, 1259))},
    "euc_jis_2004": "euc_jp",
    "iso2022_jp_2": "iso2022_jp",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
_MULTIBYTE = ("gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949")
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "cp1258")
_OTHERS = ("iso2022_jp_2", "cp1251", "koi8-r", "koi8-u", "cp1253", "cp1255", "cp1256", "cp874")
_FEW_BYTES = 4
_CUT_UTF8 = re.compile(rb"[\xe0-\xf4][\x80-\xbf]{1,2}")
"""The beginning of a character whose end is lost: of legacy text there would be more."""

_ENOUGH_LATIN = 8
"""Accented letters from which on Windows-1250 and its like can be told from Windows-1252."""

_BINARY = (
    *(b"%PDF-", b"PK\3\4", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"\x7fELF", b"\xd0\xcf\x11\xe0", b"BZh", b"\xfd7zXZ"),
    *(b"7z\xbc\xaf", b"Rar!\x1a", b"RIFF", b"OggS", b"ID3", b"SQLite format 3", b"MZ\x90", b"\xca\xfe\xba\xbe"),
)
_ESCAPED = re.compile(rb"\x1b\$[@B(]")  # ISO-2022-JP, which is plain ASCII but for its escapes
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x19\x1c-\x1f]")  # no text has these, but for ^Z at the end of a DOS file
_DECLARED = re.compile(rb"""<(?:meta\b[^<>]*\bcharset|\?xml\b[^<>]*\bencoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_DECLARED_WITHIN = 2048
_HIGH = re.compile(rb"[\x80-\xff]+")
_CORE = re.compile(rb"[\x80-\xff](?:[^\r\n]*[\x80-\xff])?[@-~]?")
_LETTERS = "A-Za-zÀ-ÖØ-öø-þŒœŠšŽžŸ"
_LATIN_LETTER = re.compile(f"(?<=[{_LETTERS}])[À-ÖØ-öø-þŒœŠšŽžŸß]|[À-ÖØ-öø-þŒœŠšŽžŸß](?=[{_LETTERS}])|\\b[ÀÉàé]\\b")
_LATIN_SIGN = re.compile(
    rf"[’\u00a0·°©®™…–—-]|(?<![{_LETTERS}])[€£§«»‘“”„•¡¿±×½¼¾µ]|[€«»‘“”„•±²³×½¼¾ªº](?![{_LETTERS}])"
)


@dataclass(slots=True)
class Survey:
    """What the bytes of a file say about its encoding. Feed it whole lines, in order, and ask `verdict`."""

    name: str
    head: bytes = b""
    valid: int = 0
    bad: int = 0
    first_bad: tuple[int, int] = (0, 0)
    sample: bytearray = field(default_factory=bytearray)
    zeros: bool = False
    escaped: bool = False
    _offset: int = 0
    _line: int = 1

    def feed(self, block: bytes) -> None:
        if len(self.head) < SAMPLE_BYTES:
            self.head += block[: SAMPLE_BYTES - len(self.head)]
        self.zeros |= b"\0" in block
        self.escaped |= b"\x1b$" in block and bool(_ESCAPED.search(block))
        try:
            self.valid += len(block) - len(block.decode())
        except UnicodeDecodeError:
            self._feed_lines(block.splitlines(keepends=True))
        self._line += block.count(b"\n")
        self._offset += len(block)

    def _feed_lines(self, lines: Iterable[bytes]) -> None:
        offset = self._offset
        for number, line in enumerate(lines, start=self._line):
            text, places = repair(line, "utf-8")
            self.valid += max(0, len(line) - len(text))
            if places and not self.bad:
                self.first_bad = offset + places[0], number
            self.bad += len(places)
            if places and len(self.sample) < SAMPLE_BYTES:
                self.sample += line[:SAMPLE_BYTES]
            offset += len(line)

    @property
    def nearly_utf8(self) -> bool:
        """Whether what is not UTF-8 is the exception: legacy text hardly ever makes a valid sequence."""
        return self.bad * 2 <= self.valid

    def verdict(self) -> tuple[str, str]:
        """The codec, and why it is a guess; empty where it is none. Raises `UnreadableFile` for what is no text."""
        if marked := marked_encoding(self.head):
            return marked, ""
        if self.head.startswith(_BINARY):
            raise UnreadableFile(f"{self.name}: is binary, not text")
        if _CONTROL.search(self.head) and (wide := wide_encoding(self.head)):
            return wide, "has no byte order mark"
        controls = len(_CONTROL.findall(self.head))
        if self.zeros or controls > max(3, len(self.head) // 10):
            raise UnreadableFile(f"{self.name}: is binary, whatever its name says")
        if self.escaped and not self.bad and not self.valid:
            return "iso2022_jp_2", "holds escape sequences"
        if self.nearly_utf8:
            return "utf-8", ""
        sample = bytes(self.sample)
        if declared := declared_encoding(self.head, sample):
            return declared, ""
        if len(_CONTROL.findall(sample)) * 50 > len(sample):
            raise UnreadableFile(f"{self.name}: is binary, whatever its name says")
        offset, line = self.first_bad
        legacy = legacy_encoding(sample)
        return (legacy, f"not UTF-8 (byte {offset}, line {line})") if legacy else ("utf-8", "")


def check_encoding(name: str) -> str:
    """The codec that reads an encoding of this name. Raises `InvalidSetting` if there is none."""
    try:
        codec = codecs.lookup(name)
        "".encode(codec.name).decode(codec.name)  # not one of Python's codecs from bytes to bytes
    except (LookupError, TypeError, UnicodeError) as error:
        raise InvalidSetting(f"encoding={name!r}: no such encoding; try utf-8, gb18030, big5 or shift_jis") from error
    return SUPERSETS.get(codec.name, codec.name)


def common_name(codec: str) -> str:
    """What people call the encoding that a codec reads."""
    return _COMMON_NAMES.get(codec, codec)


def marked_encoding(head: bytes) -> str:
    """The encoding that a byte order mark at the beginning names, or none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "")


def declared_encoding(head: bytes, sample: bytes) -> str:
    """The encoding that HTML or XML names in its head, if the sample is in it; or none."""
    found = _DECLARED.search(head[:_DECLARED_WITHIN])
    try:
        codec = check_encoding(found[1].decode()) if found else ""
    except InvalidSetting:
        return ""
    return codec if codec and not repair(sample, codec)[1] else ""


def repair(content: bytes, codec: str) -> tuple[str, list[int]]:
    """The text, U+FFFD in it for what the codec does not read, and the offsets of that."""
    view, done = memoryview(content), 0
    parts: list[str] = []
    places: list[int] = []
    while True:
        try:
            parts.append(str(view[done:], codec))
            return "".join(parts), places
        except UnicodeDecodeError as error:
            parts += [str(view[done : done + error.start], codec), "\ufffd"]
            places.append(done + error.start)
            done += max(error.end, error.start + 1)


def wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, whichever makes text of the bytes; or none."""
    found = {name: _plausibility(head, name) for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")}
    best = max(found, key=lambda name: found[name])
    return best if found[best] > _PLAUSIBLE else ""


_PLAUSIBLE = 0.9
_SCRIPTS = ((0x20, 0x52F), (0x590, 0x6FF), (0x900, 0xE7F), (0x1E00, 0x218F), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
            (0xAC00, 0xD7A3), (0xFF00, 0xFFEF), (0x1F300, 0x1FAFF))  # fmt: skip
"""Where the characters of today's text lie; bytes in the wrong order fall anywhere."""

_ORDINARY = re.compile("[\t\n\r -~\u3000-\u303f\uff00-\uffef]")
"""What hardly any text is without: a space, a line break, a letter of ASCII, punctuation."""


def _plausibility(head: bytes, codec: str) -> float:
    """The part of the characters that text has; ASCII's count double, for their bytes in the wrong order are rare."""
    width = 4 if "32" in codec else 2
    if len(head) % width and len(head) < SAMPLE_BYTES:
        return 0.0
    try:
        text = head[: len(head) // width * width].decode(codec, errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - width:  # not half a surrogate pair where the head ends
            return 0.0
        text = head[: error.start].decode(codec)
    odd = sum(
        unicodedata.category(character) in ("Cc", "Cn", "Co") and character not in "\t\n\r\f\x1a" for character in text
    )
    if len(text) < 2 or odd or not _ORDINARY.search(text):
        return 0.0
    good = sum(
        character in "\t\n\r" or any(low <= ord(character) <= high for low, high in _SCRIPTS) for character in text
    )
    return good / len(text) + sum(map(str.isascii, text)) / len(text)


def legacy_encoding(sample: bytes) -> str:
    """The likeliest encoding of lines that are not UTF-8, or none.

    chardet takes a lone accent among ASCII for half a Chinese character, so Western text is looked for first.
    """
    if _is_western(sample):
        return _western(sample)
    high = b"".join(_HIGH.findall(sample))
    if len(high) < _FEW_BYTES and (_CUT_UTF8.fullmatch(high) or max(high) > 0xFD):
        return ""
    lines = [core for line in sample.splitlines() if (core := b"".join(_CORE.findall(line)))]
    found = _detect(b"\n".join(lines), (*_MULTIBYTE, *_OTHERS, *_LATIN))
    if found not in _MULTIBYTE:
        for codec in _MULTIBYTE:  # a bad byte or two must not rule out the right one
            fitting = [line for line in lines if not repair(line, codec)[1]]
            if len(lines) > len(fitting) >= 0.9 * len(lines) and _detect(b"\n".join(fitting), _MULTIBYTE) == codec:
                return codec
    return found


def _detect(content: bytes, codecs_: tuple[str, ...]) -> str:
    import chardet

    found = chardet.detect(content, max_bytes=SAMPLE_BYTES, include_encodings=codecs_, compat_names=False)
    return str(found["encoding"] or "") if found["encoding"] in codecs_ else ""


def _is_western(sample: bytes) -> bool:
    """Whether it reads as Windows-1252: single accented letters in words, typographic signs around them."""
    text, places = repair(sample, "cp1252")
    runs = _HIGH.findall(sample)
    if places or sum(len(run) > 2 for run in runs) * 4 > len(runs):
        return False
    high = sum(map(len, runs))
    good = len(_LATIN_LETTER.findall(text)) + sum(not each.isascii() for each in _LATIN_SIGN.findall(text))
    return good >= 0.9 * high


def _western(sample: bytes) -> str:
    found = _detect(sample, _LATIN)
    enough = sum(map(len, _HIGH.findall(sample))) >= _ENOUGH_LATIN
    return found if found and enough and not repair(sample, found)[1] else "cp1252"
