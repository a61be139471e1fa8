"""A body against its model: what does not fit is an `InvalidInput` that names the field. Knows no API."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from finerank.errors import InvalidInput
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


Candidates = Annotated[list[str | TextObject], FailFast(), Field(min_length=1)]


def read(model: type[Model], body: object) -> Model:
    """The body as its model; else `InvalidInput`, its message beginning with the field."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidInput(_explain(error.errors(include_url=False))) from None


def to_documents(candidates: Sequence[str | TextObject]) -> tuple[Document, ...]:
    """A document each; those given as objects carry them as metadata."""
    return tuple(
        Document(candidate)
        if isinstance(candidate, str)
        else Document(candidate.text, metadata={"text": candidate.text, **candidate.__pydantic_extra__})
        for candidate in candidates
    )


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


def _explain(errors: list[ErrorDetails]) -> str:
    """The first fault. Of the alternatives of a union, those that went furthest say what was meant."""
    field = _path(errors[0]["loc"][:2])
    same = [error for error in errors if _path(error["loc"]).startswith(field)]
    depth = max(len(error["loc"]) for error in same)
    same = [error for error in same if len(error["loc"]) == depth]
    first = same[0]
    field = _path(first["loc"]) or "the body"
    if first["type"] == "missing":
        return f"{field} is missing" + ("; only text is ranked" if field.endswith("].text") else "")
    if any(error["type"] == "too_short" for error in same):
        return f"{field} is empty; give at least one"
    if first["type"] not in _MUST_BE:
        return f"{field}: {first['msg']}"
    wanted = dict.fromkeys(
        _MUST_BE[error["type"]].format(**error.get("ctx", {})) for error in same if error["type"] in _MUST_BE
    )
    return f"{field} is {kind(first['input'])}; it must be {' or '.join(wanted)}"


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
