"""Which script a text is mostly written in. Tells no languages apart."""

import re
from collections.abc import Mapping

_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "kana": re.compile("[\u3040-\u30ff]"),
    "han": re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"),
    "hangul": re.compile("[\u1100-\u11ff\uac00-\ud7af]"),
    "thai": re.compile("[\u0e00-\u0e7f]"),
    "cyrillic": re.compile("[\u0400-\u052f]"),
    "arabic": re.compile("[\u0600-\u06ff]"),
    "devanagari": re.compile("[\u0900-\u097f]"),
    "greek": re.compile("[\u0370-\u03ff]"),
    "hebrew": re.compile("[\u0590-\u05ff]"),
    "latin": re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
}
_LETTERS_PER_SIGN = 3.0
"""Letters of an alphabet that say about as much as one Chinese character or kana."""


def script(text: str) -> str:
    """The script that says most of the text, "other" if none of them does. Japanese is "kana" if it has some.

    >>> script("如何重置 router?"), script("ルーターを再起動"), script("Reset the router 路由器")
    ('han', 'kana', 'latin')
    """
    counts = {name: float(len(pattern.findall(text))) for name, pattern in _SCRIPTS.items()}
    if counts["kana"]:
        counts["kana"] += counts.pop("han")
    for name in ("kana", "han"):
        counts[name] = counts.get(name, 0.0) * _LETTERS_PER_SIGN
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else "other"
