"""The rerank API of michaelfeil/infinity: strings in, strings out, and FastAPI's own shape of validation error."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Texts, read
from finerank.serving.dialects.shapes import (
    DetailError,
    ModelName,
    NestedError,
    Query,
    ReturnDocuments,
    TextResult,
    Tokens,
    TopN,
    nested_error,
    rows,
    to_text,
    tokens,
)
from finerank.serving.request import Answer, Json, Problem, RerankRequest


class InfinityRequest(Body):
    query: Query
    documents: Annotated[Texts, Field(description="the texts to rank")]
    return_documents: ReturnDocuments = False
    raw_scores: Annotated[bool, Field(description="logits in the place of scores")] = False
    model: ModelName = None
    top_n: TopN = None


class InfinityResponse(BaseModel):
    object: Literal["rerank"]
    results: Annotated[list[TextResult], Field(description="best first")]
    model: str
    usage: Tokens
    id: str
    created: Annotated[int, Field(description="Unix seconds")]


class Fault(BaseModel):
    type: str
    loc: Annotated[list[str | int], Field(description="where it is, as body, documents, 3")]
    msg: str


class ValidationFaults(BaseModel):
    detail: list[Fault]


class InfinityError(RootModel[NestedError | DetailError | ValidationFaults]):
    """What does not fit is 422 with FastAPI's list, a wrong key 401 with a detail, all else has OpenAI's shape."""


REQUEST: type[BaseModel] = InfinityRequest
RESPONSE: type[BaseModel] = InfinityResponse
ERROR: type[BaseModel] = InfinityError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_n": 1,
    "return_documents": True,
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(InfinityRequest, body)
    request = RerankRequest(
        query=asked.query,
        documents=tuple(map(Document, asked.documents)),
        model=asked.model,
        top_n=asked.top_n,
        return_documents=bool(asked.return_documents),
        raw_scores=asked.raw_scores,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {
        "object": "rerank",
        "results": rows(answer, to_text),
        "model": answer.ranking.model,
        "usage": tokens(answer),
        "id": request_id,
        "created": int(time.time()),
    }


def render_error(problem: Problem) -> tuple[int, Json]:
    if problem.kind == "invalid":
        place = ["body", *(int(part) if part.isdecimal() else part for part in re.findall(r"\w+", problem.field or ""))]
        return 422, {"detail": [{"type": "value_error", "loc": place, "msg": problem.message}]}
    if problem.kind == "unauthorized":
        return 401, {"detail": problem.message}
    return nested_error(problem)
