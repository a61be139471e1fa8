"""What answers where Jina, infinity, vLLM, Xinference and Cohere v1 share a path: the fields of all of them.

Only `document` conflicts; it is an object here. A client that needs a string forces its own dialect.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from finerank.errors import InvalidInput
from finerank.serving.dialects.body import Body, Candidates, TextObject, read, to_documents
from finerank.serving.dialects.cohere import BilledUnits, Version, meta
from finerank.serving.dialects.shapes import (
    ErrorFields,
    Instruction,
    MaxChunks,
    Message,
    ModelName,
    ObjectResult,
    ReturnDocuments,
    Tokens,
    UseActivation,
    nested_error,
    rows,
    tokens,
)
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class SupersetRequest(Body):
    model: ModelName = None
    query: Annotated[str | TextObject, Field(description="what is searched for")]
    documents: Annotated[Candidates, Field(description="texts, or objects with a `text`")]
    top_n: Annotated[int | None, Field(ge=0, description="how many results; 0 is all")] = None
    return_documents: ReturnDocuments = True
    instruction: Instruction = None
    raw_scores: Annotated[bool, Field(description="infinity: logits in the place of scores")] = False
    use_activation: UseActivation = None
    truncate_prompt_tokens: Annotated[
        int | None, Field(ge=-1, description="vLLM: cut each pair to so many tokens; -1 is the model's length")
    ] = None
    max_tokens_per_doc: Annotated[
        int | None, Field(ge=0, description="Cohere, vLLM: cut each document to so many tokens")
    ] = None
    max_chunks_per_doc: MaxChunks = None


class SupersetMeta(BaseModel):
    api_version: Version
    billed_units: BilledUnits


class SupersetResponse(BaseModel):
    id: str
    object: Annotated[Literal["rerank"], Field(description="infinity's client insists on it")]
    model: str
    results: Annotated[list[ObjectResult], Field(description="best first")]
    usage: Tokens
    meta: SupersetMeta


class SupersetError(BaseModel):
    message: Message
    detail: Message
    error: ErrorFields


REQUEST: type[BaseModel] = SupersetRequest
RESPONSE: type[BaseModel] = SupersetResponse
ERROR: type[BaseModel] = SupersetError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", {"text": "Hold the reset button for ten seconds."}],
    "top_n": 1,
}
# 400 and not 422: infinity's client takes a 422 apart as FastAPI's list, and falls over a string.
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(SupersetRequest, body)
    if asked.truncate_prompt_tokens == 0:
        raise InvalidInput("truncate_prompt_tokens is 0, which leaves nothing to score; -1 is the model's length")
    longest = asked.truncate_prompt_tokens
    request = RerankRequest(
        query=asked.query if isinstance(asked.query, str) else asked.query.text,
        documents=to_documents(asked.documents),
        model=asked.model,
        instruction=asked.instruction,
        max_passage_tokens=asked.max_tokens_per_doc or None,
        max_length=None if longest == -1 else longest,
        chunk=None if asked.max_chunks_per_doc is None else asked.max_chunks_per_doc > 1,
        top_n=asked.top_n or None,
        return_documents=asked.return_documents is not False,
        raw_scores=asked.raw_scores or asked.use_activation is False,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {
        "id": request_id,
        "object": "rerank",
        "model": answer.ranking.model,
        "results": rows(answer),
        "usage": tokens(answer),
        "meta": meta(answer, "1"),
    }


def render_error(problem: Problem) -> tuple[int, Json]:
    status, nested = nested_error(problem, STATUS)
    return status, {"message": problem.message, "detail": problem.message, "error": nested["error"]}
