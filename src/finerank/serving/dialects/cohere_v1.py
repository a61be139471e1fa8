"""Cohere's rerank API, version 1: objects as documents, fields to rank by, documents sent back on request."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from finerank.serving.dialects.body import Body, Objects, objects_to_documents, read
from finerank.serving.dialects.cohere import CohereError, CohereMeta, meta, render_error
from finerank.serving.dialects.shapes import MaxChunks, ModelName, ObjectResult, Query, ReturnDocuments, TopN, rows
from finerank.serving.request import Answer, Json, RerankRequest

__all__ = ["ERROR", "EXAMPLE", "REQUEST", "RESPONSE", "parse", "render", "render_error"]


class CohereV1Request(Body):
    model: ModelName = None
    query: Query
    documents: Annotated[Objects, Field(description="texts, or objects with a `text` or the fields of `rank_fields`")]
    top_n: TopN = None
    rank_fields: Annotated[list[str] | None, Field(description="fields to rank by, in this order")] = None
    return_documents: ReturnDocuments = None
    max_chunks_per_doc: MaxChunks = None


class CohereV1Response(BaseModel):
    id: str
    results: Annotated[list[ObjectResult], Field(description="best first")]
    meta: CohereMeta


REQUEST: type[BaseModel] = CohereV1Request
RESPONSE: type[BaseModel] = CohereV1Response
ERROR: type[BaseModel] = CohereError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": [
        {"title": "Care", "text": "Keep the router dry."},
        {"title": "Reset", "text": "Hold the button for ten seconds."},
    ],
    "rank_fields": ["title", "text"],
    "return_documents": True,
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(CohereV1Request, body)
    request = RerankRequest(
        query=asked.query,
        documents=objects_to_documents(asked.documents, asked.rank_fields or ["text"]),
        model=asked.model,
        chunk=None if asked.max_chunks_per_doc is None else asked.max_chunks_per_doc > 1,
        top_n=asked.top_n,
        return_documents=bool(asked.return_documents),
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {"id": request_id, "results": rows(answer), "meta": meta(answer, "1")}
