"""What monitoring remembers, in a JSON file that is whole whenever the process is killed. Knows not what is in it."""

import glob
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

logger = logging.getLogger("finerank")

_SAVING_S = 60.0  # longer than any save takes

_FORMAT = {"format": "finerank-monitoring", "version": 1}


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write beside `path`, then put it in its place at once; of two processes the last wins. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with written.open("w", encoding="utf-8") as file:
        json.dump({**_FORMAT, **state}, file, allow_nan=False, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    written.replace(path)


def load_state(path: Path, restore: Callable[[Mapping[str, Any]], None]) -> None:
    """Hand `restore` what was saved, if anything was. A file it cannot read is logged and renamed to `.bad`."""
    _sweep(path)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s: the monitoring state cannot be read, starting without it: %s", path, error)
        return
    try:
        restore(_opened(text))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        _set_aside(path, error)


def _opened(text: bytes) -> Mapping[str, Any]:
    state = json.loads(text)
    if not isinstance(state, dict) or {name: state.get(name) for name in _FORMAT} != _FORMAT:
        raise ValueError(f"not {_FORMAT['format']} version {_FORMAT['version']}")
    return state


def _sweep(path: Path) -> None:
    """Remove what processes killed while saving left behind."""
    with suppress(OSError):
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
            if time.time() - left.stat().st_mtime > _SAVING_S:
                left.unlink()


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(f"{path.name}.bad")
    logger.warning(
        "%s: no monitoring state that can be taken up (%s: %s); renamed to %s, starting without what it held",
        path,
        type(error).__name__,
        error,
        aside.name,
    )
    try:
        path.replace(aside)
    except OSError as failure:
        logger.warning("%s: cannot be renamed: %s", path, failure)
