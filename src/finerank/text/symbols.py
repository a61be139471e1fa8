"""Characters of the fonts Symbol and Wingdings, which have places in them instead of code points."""

_SYMBOL = {
    **dict(zip(range(0x41, 0x5B), "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", strict=True)),
    **dict(zip(range(0x61, 0x7B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True)),
    **{0xA3: "≤", 0xB3: "≥", 0xB1: "±", 0xB0: "°", 0xB4: "×", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡", 0xBB: "≈", 0xA5: "∞"},
    **{0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xAB: "↔", 0xB7: "•", 0xD6: "√", 0xE5: "∑", 0xF2: "∫", 0xCE: "∈"},
    **{0xB6: "∂", 0xD1: "∇", 0xC7: "∩", 0xC8: "∪", 0xCC: "⊂", 0xC5: "⊕", 0xD7: "⋅", 0xA2: "′", 0xBC: "…", 0x2D: "−"},
}
_WINGDINGS = {
    **{0xFC: "✓", 0xFB: "✗", 0xFE: "☑", 0xFD: "☒", 0xA8: "☐", 0x6F: "☐", 0x71: "☐", 0xA7: "•", 0x6C: "●", 0x6E: "■"},
    **{0xE0: "→", 0xE8: "→", 0xDF: "←", 0x4A: "☺", 0x28: "☎", 0x2A: "✉", 0x9F: "•", 0x76: "❖", 0xD8: "➢"},
    **{0x8C + n: chr(0x2776 + n) for n in range(10)},
    **{0x81 + n: chr(0x2460 + n) for n in range(10)},
}
_PRIVATE = 0xF000


def symbol(code: str, font: str) -> str:
    """The character that a symbol shows; empty of one that is not known.

    >>> symbol("F061", "Symbol"), symbol("2265", "Arial")
    ('α', '≥')
    """
    try:
        place = int(code, 16)
    except ValueError:
        return ""
    low = place - _PRIVATE if _PRIVATE <= place < _PRIVATE + 0x100 else place
    table = _SYMBOL if font.lower().startswith("symbol") else _WINGDINGS if font.lower().startswith("wingdings") else {}
    if low in table:
        return table[low]
    if low < 0x100 and low != place:
        return chr(low) if 0x20 < low < 0x7F and not table else ""
    return chr(place) if place < 0xE000 and not 0xD800 <= place < 0xE000 and place >= 0x20 else ""
