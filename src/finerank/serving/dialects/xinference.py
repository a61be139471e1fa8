"""Xinference's rerank API: Cohere's answer with a document in every result, and options as JSON in `kwargs`."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from finerank.errors import InvalidInput
from finerank.serving.dialects.body import Body, Candidates, TextInput, read, to_documents, to_string
from finerank.serving.dialects.shapes import (
    DetailError,
    Instruction,
    MaxChunks,
    ModelName,
    Object,
    Result,
    ReturnDocuments,
    rows,
)
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class XinferenceRequest(Body):
    model: ModelName = None
    query: Annotated[TextInput, Field(description="what is searched for")]
    documents: Annotated[Candidates, Field(description="texts, or objects with a `text`")]
    top_n: Annotated[int | None, Field(ge=0, description="how many results; all if left out")] = None
    return_documents: ReturnDocuments = False
    max_chunks_per_doc: MaxChunks = None
    instruction: Instruction = None
    kwargs: Annotated[str | None, Field(description="further options as a JSON object; `instruction` is read")] = None


class XinferenceResult(Result):
    document: Object


class XinferenceTokens(BaseModel):
    input_tokens: int
    output_tokens: int


class XinferenceMeta(BaseModel):
    api_version: None
    billed_units: None
    tokens: XinferenceTokens
    warnings: None


class XinferenceResponse(BaseModel):
    id: str
    results: Annotated[list[XinferenceResult], Field(description="best first")]
    meta: XinferenceMeta


REQUEST: type[BaseModel] = XinferenceRequest
RESPONSE: type[BaseModel] = XinferenceResponse
ERROR: type[BaseModel] = DetailError
EXAMPLE: Mapping[str, object] = {
    "model": "bge-reranker-v2-m3",
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "return_documents": True,
}
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(XinferenceRequest, body)
    request = RerankRequest(
        query=to_string(asked.query, "query"),
        documents=to_documents(asked.documents),
        model=asked.model,
        instruction=asked.instruction or _instruction(asked.kwargs),
        chunk=None if asked.max_chunks_per_doc is None else asked.max_chunks_per_doc > 1,
        top_n=asked.top_n,
        return_documents=bool(asked.return_documents),
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    tokens = {"input_tokens": answer.ranking.usage.tokens, "output_tokens": 0}
    return {
        "id": request_id,
        "results": [{"document": None, **row} for row in rows(answer)],
        "meta": {"api_version": None, "billed_units": None, "tokens": tokens, "warnings": None},
    }


def render_error(problem: Problem) -> tuple[int, Json]:
    return STATUS[problem.kind], {"detail": problem.message}


class _Options(Body):
    instruction: str | None = None


def _instruction(kwargs: str | None) -> str | None:
    if not kwargs:
        return None
    try:
        return read(_Options, json.loads(kwargs)).instruction
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"kwargs: not a JSON object: {error}") from None
