"""Jina's rerank API: https://api.jina.ai/redoc. Texts only, no images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from finerank.errors import InvalidInput
from finerank.serving.dialects.body import Body, Candidates, TextInput, read, to_documents, to_string
from finerank.serving.dialects.shapes import (
    DetailError,
    ModelName,
    ObjectResult,
    ReturnDocuments,
    TopN,
    TotalTokens,
    rows,
)
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class JinaRequest(Body):
    model: ModelName = None
    query: Annotated[TextInput, Field(description="what is searched for")]
    documents: Annotated[Candidates, Field(description="texts, or objects with a `text`")]
    top_n: TopN = None
    return_documents: ReturnDocuments = True
    return_embeddings: Annotated[bool | None, Field(description="refused if true: there are none")] = None


class JinaResponse(BaseModel):
    model: str
    object: Literal["list"]
    usage: TotalTokens
    results: Annotated[list[ObjectResult], Field(description="best first")]


REQUEST: type[BaseModel] = JinaRequest
RESPONSE: type[BaseModel] = JinaResponse
ERROR: type[BaseModel] = DetailError
EXAMPLE: Mapping[str, object] = {
    "model": "jina-reranker-v2-base-multilingual",
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", {"text": "Hold the reset button for ten seconds."}],
    "top_n": 1,
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(JinaRequest, body)
    if asked.return_embeddings:
        raise InvalidInput("return_embeddings is true, but a cross-encoder has none; leave it out")
    request = RerankRequest(
        query=to_string(asked.query, "query"),
        documents=to_documents(asked.documents),
        model=asked.model,
        top_n=asked.top_n,
        return_documents=asked.return_documents is not False,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {
        "model": answer.ranking.model,
        "object": "list",
        "usage": {"total_tokens": answer.ranking.usage.tokens},
        "results": rows(answer),
    }


def render_error(problem: Problem) -> tuple[int, Json]:
    return PROBLEMS[problem.kind], {"detail": problem.message}
