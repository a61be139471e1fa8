"""Voyage's rerank API: https://docs.voyageai.com/reference/reranker-api. `top_k`, and a list called `data`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Texts, read
from finerank.serving.dialects.shapes import (
    DetailError,
    ModelName,
    Query,
    ReturnDocuments,
    TextResult,
    TopN,
    TotalTokens,
    rows,
    to_text,
)
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class VoyageRequest(Body):
    query: Query
    documents: Annotated[Texts, Field(description="the texts to rank")]
    model: ModelName = None
    top_k: TopN = None
    return_documents: ReturnDocuments = False
    truncation: Annotated[bool | None, Field(description="false refuses a text that would be cut")] = True


class VoyageResponse(BaseModel):
    object: Literal["list"]
    data: Annotated[list[TextResult], Field(description="best first")]
    model: str
    usage: TotalTokens


REQUEST: type[BaseModel] = VoyageRequest
RESPONSE: type[BaseModel] = VoyageResponse
ERROR: type[BaseModel] = DetailError
EXAMPLE: Mapping[str, object] = {
    "model": "rerank-2.5",
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_k": 1,
    "return_documents": True,
}
STATUS = {**PROBLEMS, "invalid": 400, "too_large": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(VoyageRequest, body)
    request = RerankRequest(
        query=asked.query,
        documents=tuple(map(Document, asked.documents)),
        model=asked.model,
        truncate=asked.truncation is not False,
        top_n=asked.top_k,
        return_documents=bool(asked.return_documents),
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    usage = {"total_tokens": answer.ranking.usage.tokens}
    return {"object": "list", "data": rows(answer, to_text), "model": answer.ranking.model, "usage": usage}


def render_error(problem: Problem) -> tuple[int, Json]:
    return STATUS[problem.kind], {"detail": problem.message}
