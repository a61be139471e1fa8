"""Exceptions to problems that a dialect can tell its caller, and to reasons that the log may hold."""

import re

from finerank.errors import (
    DeadlineExceeded,
    FinerankError,
    Forbidden,
    InvalidInput,
    InvalidSetting,
    ModelError,
    NotFound,
    Overloaded,
    RequestRefused,
    RequestTooLarge,
    Unauthorized,
    Unavailable,
)
from finerank.messages import Message, change_text, message_of
from finerank.serving.request import Problem


class InvalidBody(InvalidInput):
    """A body that cannot be read as JSON."""


_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (InvalidInput, "invalid"),
    (InvalidSetting, "invalid"),
    (ModelError, "invalid"),  # of a model that the caller named: see `ServedModel.ready` for the server's own
    (RequestTooLarge, "too_large"),
    (Unauthorized, "unauthorized"),
    (Forbidden, "forbidden"),
    (NotFound, "not_found"),
    (Overloaded, "overloaded"),
    (Unavailable, "unavailable"),
    (DeadlineExceeded, "timeout"),
)
MAX_MESSAGE = 1000
"""Characters of an error's message; a longer one repeats a long value."""

_TELLING = ("unauthorized", "forbidden", "too_large", "overloaded", "unavailable", "timeout")
"""Kinds whose messages hold settings, numbers and names of hosts, but nothing of a body."""

_FIELD = re.compile(r"^[a-z_]+[a-z0-9_]*(\[\d+\])?(\.[a-z_]+)?(?=:| is )")


def problem_of(error: Exception) -> Problem:
    """The problem an exception is to the caller. What finerank did not raise itself is a failure of scoring."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "failed")
    message = message_of(error)
    if not isinstance(error, FinerankError):
        message = Message("scoring failed: {why}", "scoring.failed", why=f"{type(error).__name__}: {error}")
    message = change_text(message, _shortened)
    field = _FIELD.match(message) if kind in ("invalid", "too_large") else None
    retry_after_s = error.retry_after_s if isinstance(error, RequestRefused) else None
    return Problem(kind, message, field[0] if field else None, retry_after_s)


def _shortened(text: str) -> str:
    """A long message repeats a value that the caller sent."""
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 200]} [...] {text[-200:]}"


def reason_of(error: Exception, problem: Problem) -> str:
    """The problem as the log has it: its message where that cannot repeat a text of the request, else kind and field.

    >>> reason_of(InvalidInput("query is empty: '...'"), Problem("invalid", "", "query"))
    'invalid: query'
    """
    if problem.kind in _TELLING:
        return problem.message
    if isinstance(error, InvalidBody):
        return f"{problem.kind}: not JSON"
    if problem.kind == "failed":
        return f"failed: {type(error).__name__}"
    return f"{problem.kind}: {problem.field}" if problem.field else problem.kind
