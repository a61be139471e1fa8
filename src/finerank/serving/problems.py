"""Exceptions to problems that a dialect can tell its caller."""

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
from finerank.serving.request import Problem

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
_FIELD = re.compile(r"^[a-z_]+[a-z0-9_]*(\[\d+\])?(\.[a-z_]+)?(?=:| is )")


def problem_of(error: Exception) -> Problem:
    """The problem an exception is to the caller. What finerank did not raise itself is a failure of scoring."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "failed")
    message = str(error) if isinstance(error, FinerankError) else f"scoring failed: {type(error).__name__}: {error}"
    field = _FIELD.match(message) if kind in ("invalid", "too_large") else None
    retry_after_s = error.retry_after_s if isinstance(error, RequestRefused) else None
    return Problem(kind, message, field[0] if field else None, retry_after_s)
