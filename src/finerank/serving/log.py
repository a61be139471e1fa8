"""Log records as lines of JSON or text. What is logged is chosen where it happens."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

from finerank.io.jsonl import is_unicode

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_SPECIAL = re.compile(r"[^ -~]")
_WORD = re.compile(r"[\w.:/@+\[\]-]+")


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, event, and the record's `extra` fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


class TextFormatter(logging.Formatter):
    """The same for people: time, level, event, then name=value; a value that is no plain word is quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        event = _SPECIAL.sub(_escaped, record.getMessage())
        words = [_time(record), record.levelname.lower(), event]
        words += [f"{name}={_word(value)}" for name, value in _extra(record).items()]
        if record.exc_info:
            words.append(f"traceback={_json(self.formatException(record.exc_info))}")
        return " ".join(words)


def open_log(style: Literal["json", "text"]) -> None:
    """Send finerank's and the web server's log to standard error."""
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    for name, level in (("finerank", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [output]
        logger.setLevel(level)
        logger.propagate = False


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


def _word(value: object) -> str:
    return value if isinstance(value, str) and _WORD.fullmatch(value) and value.isprintable() else _json(value)


def _json(value: object) -> str:
    return _SPECIAL.sub(_escaped, json.dumps(value, ensure_ascii=not is_unicode(sys.stderr), default=str))


def _escaped(match: re.Match[str]) -> str:
    """The character, if it prints. What ends a line, moves the cursor or turns the reading direction is escaped, and
    JSON escapes only the first 32 of these."""
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]
