"""The length, in tokens, that the files beside a tokenizer say the model is for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKENIZER_CONFIG = "tokenizer_config.json"

LENGTH_FILES: Mapping[str, tuple[str, ...]] = {
    "sentence_bert_config.json": ("max_seq_length",),
    TOKENIZER_CONFIG: ("model_max_length", "max_len"),
}
"""Where sentence-transformers and transformers keep it, in the order in which they prevail, and under which keys."""

SHORTEST = 8
"""The lowest max_length; files that say less are not believed."""

_LONGEST = 10_000_000


def declared_length(folder: Path, tokenizer: Path | None) -> int | None:
    """The length, or None where no file says a sensible one; transformers writes 1e30 for "unknown".

    What `tokenizer`, a tokenizer.json, was last set to cut at counts only if no other file says a length.
    """
    for name, keys in LENGTH_FILES.items():
        values = _read(folder / name)
        for key in keys:
            if length := _sensible(values.get(key)):
                return length
    truncation = _read(tokenizer).get("truncation") if tokenizer else None
    return _sensible(truncation.get("max_length")) if isinstance(truncation, dict) else None


def read_tokenizer_config(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says, if there is one."""
    return _read(folder / TOKENIZER_CONFIG)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none, as a model can do without."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _sensible(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not SHORTEST <= value <= _LONGEST:
        return None
    return int(value) if value == int(value) else None
