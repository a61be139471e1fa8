"""The rerank API of llama.cpp's server: Jina's fields, and logits for scores, as a cross-encoder gives them there."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Texts, read
from finerank.serving.dialects.shapes import Message, ModelName, Query, Result, Tokens, rows, tokens
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest

LeastTopN = Annotated[int | None, Field(ge=0, description="how many results; all if left out")]


class LlamaCppRequest(Body):
    model: ModelName = None
    query: Query
    documents: Annotated[Texts, Field(description="the texts to rank; as `texts`, the answer has TEI's shape")]
    top_n: LeastTopN = None


class LlamaCppResponse(BaseModel):
    model: str
    object: Literal["list"]
    usage: Tokens
    results: Annotated[list[Result], Field(description="best first; scores are logits")]


class LlamaCppErrorFields(BaseModel):
    code: Annotated[int, Field(description="the status")]
    message: Message
    type: str


class LlamaCppError(BaseModel):
    error: LlamaCppErrorFields


REQUEST: type[BaseModel] = LlamaCppRequest
RESPONSE: type[BaseModel] = LlamaCppResponse
ERROR: type[BaseModel] = LlamaCppError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_n": 1,
}
STATUS = {**PROBLEMS, "invalid": 400}
ERROR_TYPES = {
    "invalid": "invalid_request_error",
    "too_large": "invalid_request_error",
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "overloaded": "unavailable_error",
    "unavailable": "unavailable_error",
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(LlamaCppRequest, body)
    request = RerankRequest(
        query=asked.query,
        documents=tuple(map(Document, asked.documents)),
        model=asked.model,
        top_n=asked.top_n,
        raw_scores=True,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {"model": answer.ranking.model, "object": "list", "usage": tokens(answer), "results": rows(answer)}


def render_error(problem: Problem) -> tuple[int, Json]:
    code = STATUS[problem.kind]
    name = ERROR_TYPES.get(problem.kind, "server_error")
    return code, {"error": {"code": code, "message": problem.message, "type": name}}
