"""Cohere's rerank API, version 2: https://docs.cohere.com/reference/rerank."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Texts, read
from finerank.serving.dialects.shapes import Message, ModelName, Query, Result, TopN, rows
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest

DOCUMENTS_PER_UNIT = 100
TOKENS_PER_DOCUMENT = 4096


class CohereRequest(Body):
    model: ModelName = None
    query: Query
    documents: Annotated[Texts, Field(description="the texts to rank")]
    top_n: TopN = None
    max_tokens_per_doc: Annotated[
        int | None, Field(ge=1, description=f"cut each text to so many tokens; {TOKENS_PER_DOCUMENT} if left out")
    ] = None


class Version(BaseModel):
    version: str


class BilledUnits(BaseModel):
    search_units: Annotated[int, Field(description="one for each 100 documents begun; nothing is billed here")]


class CohereMeta(BaseModel):
    api_version: Version
    billed_units: BilledUnits


class CohereResponse(BaseModel):
    id: str
    results: Annotated[list[Result], Field(description="best first")]
    meta: CohereMeta


class CohereError(BaseModel):
    message: Message


REQUEST: type[BaseModel] = CohereRequest
RESPONSE: type[BaseModel] = CohereResponse
ERROR: type[BaseModel] = CohereError
EXAMPLE: Mapping[str, object] = {
    "model": "rerank-v3.5",
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_n": 1,
}
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(CohereRequest, body)
    request = RerankRequest(
        query=asked.query,
        documents=tuple(map(Document, asked.documents)),
        model=asked.model,
        max_passage_tokens=asked.max_tokens_per_doc or TOKENS_PER_DOCUMENT,
        top_n=asked.top_n,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {"id": request_id, "results": rows(answer), "meta": meta(answer, "2")}


def render_error(problem: Problem) -> tuple[int, Json]:
    return STATUS[problem.kind], {"message": problem.message}


def meta(answer: Answer, version: str) -> dict[str, object]:
    units = -(-len(answer.request.documents) // DOCUMENTS_PER_UNIT)
    return {"api_version": {"version": version}, "billed_units": {"search_units": units}}
