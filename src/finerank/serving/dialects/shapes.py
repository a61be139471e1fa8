"""Shapes of answers and errors that several APIs share."""

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AliasChoices, BaseModel, Field, JsonValue

from finerank.ranking import Document
from finerank.serving.request import PROBLEMS, Answer, Problem

Index = Annotated[int, Field(description="the document's place in the request, from 0")]
Score = Annotated[float, Field(description="0 to 1; the logit if raw scores were asked for")]
Text = Annotated[str | None, Field(description="the text, if asked for")]
Object = Annotated[dict[str, JsonValue] | None, Field(description="the document as an object, if asked for")]
Message = Annotated[str, Field(description="the value at fault and the fix")]

ModelName = Annotated[str | None, Field(description="which model; the server's own if left out")]
Query = Annotated[str, Field(description="what is searched for")]
TopN = Annotated[int | None, Field(ge=1, description="how many results; all if left out")]
AnyTopN = Annotated[int | None, Field(description="how many results; 0 or less is all")]
ReturnDocuments = Annotated[bool | None, Field(description="send the documents back")]
Instruction = Annotated[str | None, Field(description="what the query is for, if the model reads instructions")]
UseActivation = Annotated[
    bool | None,
    Field(
        validation_alias=AliasChoices("use_activation", "activation", "softmax"),
        description="vLLM: false gives logits in the place of scores; activation and softmax are its older names",
    ),
]
MaxChunks = Annotated[int | None, Field(ge=1, description="1 cuts a long document; more scores it in passages")]

NAMES = {
    "invalid": "BadRequestError",
    "unauthorized": "AuthenticationError",
    "forbidden": "PermissionDeniedError",
    "not_found": "NotFoundError",
    "too_large": "BadRequestError",
    "overloaded": "RateLimitError",
}
"""OpenAI's names of errors; what is not here is an InternalServerError."""


class Result(BaseModel):
    index: Index
    relevance_score: Score


class ObjectResult(Result):
    document: Object = None


class TextResult(Result):
    document: Text = None


class TotalTokens(BaseModel):
    total_tokens: int


class Tokens(TotalTokens):
    prompt_tokens: int


class DetailError(BaseModel):
    detail: Message


class ErrorFields(BaseModel):
    message: Message
    type: str
    param: Annotated[str | None, Field(description="the field at fault")]
    code: Annotated[int, Field(description="the status")]


class NestedError(BaseModel):
    error: ErrorFields


def to_text(document: Document) -> str:
    return document.text


def to_object(document: Document) -> dict[str, object]:
    """The object the caller gave, or its string as one."""
    return dict(document.metadata) if document.metadata else {"text": document.text}


def as_given(document: Document) -> object:
    """The object or the string the caller gave."""
    return dict(document.metadata) if document.metadata else document.text


def rows(
    answer: Answer,
    write: Callable[[Document], object] = to_object,
    *,
    score: str = "relevance_score",
    document: str = "document",
) -> list[dict[str, object]]:
    """A row a result, best first: index, score and, if asked for, the document as `write` puts it."""
    results = answer.ranking.results
    if answer.request.raw_scores:
        given: list[dict[str, object]] = [{"index": result.index, score: result.logit} for result in results]
    else:
        given = [{"index": result.index, score: result.score} for result in results]
    if answer.request.return_documents:
        for row, result in zip(given, results, strict=True):
            row[document] = write(result.document)
    return given


def tokens(*answers: Answer) -> dict[str, object]:
    count = sum(answer.ranking.usage.tokens for answer in answers)
    return {"prompt_tokens": count, "total_tokens": count}


def nested_error(problem: Problem, status: Mapping[str, int] = PROBLEMS) -> tuple[int, dict[str, object]]:
    code = status[problem.kind]
    name = NAMES.get(problem.kind, "InternalServerError")
    return code, {"error": {"message": problem.message, "type": name, "param": problem.field, "code": code}}
