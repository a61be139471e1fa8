"""Text to the terms that word overlap counts."""

import re

_UNSPACED_SCRIPTS = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff"
"""Thai, kana, Chinese characters; and Hangul, whose words carry endings that would keep them from matching."""

_WORD = re.compile(rf"[^\W{_UNSPACED_SCRIPTS}]+")
_UNSPACED = re.compile(f"[{_UNSPACED_SCRIPTS}]+")


def terms(text: str) -> list[str]:
    """Words in lower case, and pairs of neighbouring characters in scripts written without spaces.

    >>> terms("Reset 路由器")
    ['reset', '路由', '由器']
    """
    text = text.lower()
    words = _WORD.findall(text)
    for run in _UNSPACED.findall(text):
        words += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
    return words
