"""A body against its model: what does not fit is an `InvalidInput` that names the field. Knows no API."""

import json
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from finerank.errors import InvalidInput
from finerank.messages import Message
from finerank.ranking import Document

Model = TypeVar("Model", bound=BaseModel)

Texts = Annotated[list[str], FailFast(), Field(min_length=1)]

_MUST_BE = {
    "string_type": "a string",
    "string_unicode": "a string of whole Unicode characters",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "finite_number": "a finite number",
}


class Body(BaseModel):
    """Fields that are not known are ignored, as every API of this folder does."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class TextObject(BaseModel):
    """A candidate as an object; its other fields come back with it."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]

    text: str


class Part(Body):
    type: Annotated[str, Field(description="text; images, audio and video are refused")] = "text"
    text: str | None = None


class Parts(Body):
    """A text in parts, as vLLM takes documents and OpenAI messages."""

    content: Annotated[str | list[Part], Field(description="a text, or its parts; they are joined with line breaks")]


TextInput = Annotated[str | TextObject | Parts, Field(union_mode="left_to_right")]
"""A text, or an object with a `text`, or with one in parts."""
Candidates = Annotated[list[TextInput], FailFast(), Field(min_length=1)]
Objects = Annotated[list[str | dict[str, JsonValue]], FailFast(), Field(min_length=1)]
"""Candidates whose objects may hold anything: `rank_fields` names what to rank by."""


def read(model: type[Model], body: object, place: str = "") -> Model:
    """The body as its model; else `InvalidInput`, its message beginning with the field, in `place` if given."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidInput(_explain(error.errors(include_url=False), place)) from None


def to_documents(candidates: Sequence[str | TextObject | Parts]) -> tuple[Document, ...]:
    """A document each; those given as objects with a `text` carry them as metadata."""
    return tuple(
        Document(candidate.text, metadata={"text": candidate.text, **candidate.__pydantic_extra__})
        if isinstance(candidate, TextObject)
        else Document(to_string(candidate, f"documents[{index}]"))
        for index, candidate in enumerate(candidates)
    )


MAX_RANK_FIELDS = 100
"""Each is looked up in each document."""


def objects_to_documents(
    candidates: Sequence[str | dict[str, JsonValue]], rank_fields: Sequence[str] | None = None, field: str = "documents"
) -> tuple[Document, ...]:
    """A document each, from its `text` (or `content`), or from `rank_fields`, joined with line breaks.

    Objects come back as metadata. Raises `InvalidInput` for one without any of these fields.
    """
    rank_fields = list(dict.fromkeys(rank_fields or ()))  # repeated, they would multiply the text
    if len(rank_fields) > MAX_RANK_FIELDS:
        raise InvalidInput(f"rank_fields: {len(rank_fields)} fields; name {MAX_RANK_FIELDS} at most")
    return tuple(
        Document(candidate) if isinstance(candidate, str) else _from_object(candidate, rank_fields, f"{field}[{index}]")
        for index, candidate in enumerate(candidates)
    )


def _from_object(given: dict[str, JsonValue], rank_fields: Sequence[str] | None, place: str) -> Document:
    if rank_fields:
        values = [given[name] for name in rank_fields if given.get(name) is not None]
        if not values:
            raise InvalidInput(f"{place}: no field {' or '.join(rank_fields)}; name its fields in rank_fields")
        texts = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values)
        return Document("\n".join(texts), metadata=given)
    text = given.get("text")
    if text is None and "content" in given:
        return Document(to_string(read(Parts, given, place), place))
    if text is None:
        raise InvalidInput(f"{place}.text is missing; only text is ranked, and rank_fields may name other fields")
    if not isinstance(text, str):
        raise InvalidInput(f"{place}.text is {kind(text)}; it must be a string")
    return Document(text, metadata=given)


def to_string(given: str | TextObject | Parts, field: str) -> str:
    """The text of one string or object. Raises `InvalidInput` for parts that are not text."""
    if isinstance(given, str):
        return given
    if isinstance(given, TextObject):
        return given.text
    if isinstance(given.content, str):
        return given.content
    texts = [part.text for part in given.content if part.type == "text" and part.text is not None]
    if not texts or len(texts) != len(given.content):
        raise InvalidInput(f"{field}.content: must be parts of type text; images, audio and video cannot be ranked")
    return texts[0] if len(texts) == 1 else "\n".join(texts)


def kind(value: object) -> str:
    """A JSON value in a few words; texts are not repeated."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            return str(value)
        case str():
            return "a string"
        case dict():
            return "an object"
    return "a list"


def _explain(errors: list[ErrorDetails], place: str) -> Message:
    """The first fault. Of the alternatives of a union, those that went furthest say what was meant."""
    field = _path(errors[0]["loc"][:2])
    same = [error for error in errors if _path(error["loc"]).startswith(field)]
    depth = max(len(error["loc"]) for error in same)
    same = [error for error in same if len(error["loc"]) == depth]
    first = same[0]
    field = ".".join(part for part in (place, _path(first["loc"])) if part) or "the body"
    if first["type"] == "missing":
        hint = "; only text is ranked" if field.endswith("].text") else ""
        return Message("{field} is missing" + hint, "body.missing", field=field)
    if any(error["type"] == "too_short" for error in same):
        return Message("{field} is empty; give at least one", "body.empty", field=field)
    if first["type"] not in _MUST_BE:
        return Message("{field}: {why}", "body.other", field=field, why=first["msg"])
    wanted = dict.fromkeys(
        _MUST_BE[error["type"]].format(**error.get("ctx", {})) for error in same if error["type"] in _MUST_BE
    )
    return Message(
        "{field} is {kind}; it must be {wanted}",
        "body.kind",
        field=field,
        kind=kind(first["input"]),
        wanted=" or ".join(wanted),
    )


def _path(location: tuple[int | str, ...]) -> str:
    """documents[3].text for ('documents', 3, 'TextObject', 'text'): a name after a field or an index tags a union."""
    path, tag = str(location[0]) if location else "", True
    for part in location[1:]:
        if isinstance(part, int):
            path, tag = f"{path}[{part}]", True
        elif not tag:
            return f"{path}.{part}"
        else:
            tag = False
    return path
