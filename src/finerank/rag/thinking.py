"""What a generator says, without what it thinks aloud before: `<think>` blocks of reasoning models, as they come."""

import re

_NAMES = "think|thinking|thought|thoughts|reasoning|seed:think"
_OPEN = re.compile(rf"<({_NAMES})>|(\[THINK\])|(◁think▷)", re.IGNORECASE)
_CLOSE = {"[": r"\[/THINK\]", "◁": "◁/think▷"}
_ORPHAN = re.compile(
    rf"(?:\A|\n)[ \t]*(?:</(?:{_NAMES})>|\[/THINK\]|◁/think▷)|(?:</(?:{_NAMES})>|\[/THINK\]|◁/think▷)[ \t]*(?=\n)",
    re.IGNORECASE,
)
"""The end of a block whose begin the server's chat template wrote: on a line's edge, since a text may speak of tags."""

_PART_OF_TAG = re.compile(r"(?:</?[a-z:]{0,10}|\[/?[a-z]{0,5}|◁/?[a-z]{0,5})\Z", re.IGNORECASE)


class SpokenText:
    """Text that grows. `add` and `end` return what can be shown of it by now and was not before.

    >>> spoken = SpokenText()
    >>> "".join([*map(spoken.add, ["<thi", "nk>[3]? no.</think>\\n", "Hold it [1]."]), spoken.end()])
    'Hold it [1].'
    """

    def __init__(self) -> None:
        self._raw = ""
        self._shown = ""
        self._break = ""

    @property
    def text(self) -> str:
        """All that was said so far."""
        return self._shown

    def add(self, piece: str) -> str:
        self._raw += piece
        return self._show(ended=False)

    def end(self) -> str:
        """The rest, once nothing more will come: what might have become a tag is text."""
        return self._show(ended=True)

    def _show(self, *, ended: bool) -> str:
        before, self._shown = self._shown, _spoken(self._raw, ended=ended)
        if not self._shown.startswith(before):  # what was shown turned out to be thought
            before, self._break = "", "\n\n"
        new = self._shown[len(before) :]
        if new:
            new, self._break = self._break + new, ""
        return new


def _spoken(raw: str, *, ended: bool) -> str:
    parts: list[str] = []
    place = 0
    while opened := _OPEN.search(raw, place):
        parts.append(raw[place : opened.start()])
        place = len(raw)
        closed = _closing(opened).search(raw, opened.end())
        line = "".join(parts).rpartition("\n")[2].strip()
        if line.endswith("`") or (closed is None and ended and line):  # the text speaks of a tag
            parts.append(opened[0])
            place = opened.end()
        elif closed is not None:
            place = closed.end()
    text = "".join(parts) + raw[place:]
    if not ended:
        text = text[: found.start()] if (found := _PART_OF_TAG.search(text)) else text
    orphan = max((mark.end() for mark in _ORPHAN.finditer(text)), default=0)
    return text[orphan:].lstrip()


def _closing(opened: re.Match[str]) -> re.Pattern[str]:
    return re.compile(_CLOSE.get(opened[0][0]) or f"</{re.escape(opened[1])}>", re.IGNORECASE)
