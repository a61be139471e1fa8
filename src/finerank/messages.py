"""Sentences for people, each with a code and its values for whoever says it in another language."""

import math
from collections.abc import Callable, Mapping
from typing import Self

Value = str | int | float


class Message(str):
    """A sentence in English with its `code` and `values`. It is a string like any other: print it, log it, raise it.

    >>> message = Message("{count} are more than the {limit} allowed", "documents.count", count=3, limit=2)
    >>> print(message, "|", message.code, message.values["count"])
    3 are more than the 2 allowed | documents.count 3
    """

    __slots__ = ("code", "values")
    code: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, code: str, /, **values: object) -> Self:
        return cls.restore(template.format(**values), code, {name: _value(each) for name, each in values.items()})

    @classmethod
    def restore(cls, text: str, code: str, values: Mapping[str, Value]) -> Self:
        """A message of which the text is known: one that was stored, or sent."""
        message = super().__new__(cls, text)
        message.code, message.values = code, values
        return message

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).restore, (str(self), self.code, dict(self.values))


def message_of(error: BaseException) -> str:
    """An exception's message, with its code if it has one: `str` of an exception loses it."""
    given = error.args[0] if error.args else ""
    return given if isinstance(given, Message) else str(error)


def message_json(sentence: str) -> dict[str, object]:
    """The code and the values of a sentence; an empty code for one that has none."""
    if not isinstance(sentence, Message):
        return {"code": "", "values": {}}
    values = {
        name: {"message": str(value), **message_json(value)} if isinstance(value, Message) else value
        for name, value in sentence.values.items()
    }
    return {"code": sentence.code, "values": values}


def change_text(sentence: str, change: Callable[[str], str]) -> str:
    """A sentence with `change` made to its text, and to its values that are text."""
    if not isinstance(sentence, Message):
        return change(sentence)
    values = {
        name: change_text(value, change) if isinstance(value, str) else value for name, value in sentence.values.items()
    }
    return type(sentence).restore(change(str(sentence)), sentence.code, values)


def _value(value: object) -> Value:
    """As JSON has it; an exception by its message."""
    if isinstance(value, BaseException):
        return message_of(value)
    if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
