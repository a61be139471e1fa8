"""Mixedbread's reranking API: https://www.mixedbread.com/api-reference/endpoints/reranking."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from finerank.errors import InvalidInput
from finerank.serving.dialects.body import Body, Objects, objects_to_documents, read
from finerank.serving.dialects.shapes import (
    DetailError,
    Index,
    ModelName,
    Query,
    Score,
    Tokens,
    TopN,
    as_given,
    rows,
    tokens,
)
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class MixedbreadRequest(Body):
    model: ModelName = None
    query: Query
    input: Annotated[Objects, Field(description="texts, or objects with a `text` or the fields of `rank_fields`")]
    rank_fields: Annotated[list[str] | None, Field(description="fields to rank by, in this order")] = None
    top_k: TopN = None
    return_input: Annotated[bool | None, Field(description="send the documents back")] = None
    rewrite_query: Annotated[bool | None, Field(description="refused if true: queries are ranked as they are")] = None


class MixedbreadResult(BaseModel):
    index: Index
    score: Score
    input: JsonValue = None
    object: Literal["rank_result"]


class MixedbreadResponse(BaseModel):
    usage: Tokens
    model: str
    data: Annotated[list[MixedbreadResult], Field(description="best first")]
    object: Literal["list"]
    top_k: int
    return_input: bool


REQUEST: type[BaseModel] = MixedbreadRequest
RESPONSE: type[BaseModel] = MixedbreadResponse
ERROR: type[BaseModel] = DetailError
EXAMPLE: Mapping[str, object] = {
    "model": "mixedbread-ai/mxbai-rerank-large-v2",
    "query": "How do I reset the router?",
    "input": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_k": 1,
    "return_input": True,
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(MixedbreadRequest, body)
    if asked.rewrite_query:
        raise InvalidInput("rewrite_query is true, but queries are ranked as they are; leave it out")
    request = RerankRequest(
        query=asked.query,
        documents=objects_to_documents(asked.input, asked.rank_fields, "input"),
        model=asked.model,
        top_n=asked.top_k,
        return_documents=asked.return_input is True,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {
        "usage": tokens(answer),
        "model": answer.ranking.model,
        "data": [{**row, "object": "rank_result"} for row in rows(answer, as_given, score="score", document="input")],
        "object": "list",
        "top_k": answer.request.top_n or len(answer.request.documents),
        "return_input": answer.request.return_documents,
    }


def render_error(problem: Problem) -> tuple[int, Json]:
    return PROBLEMS[problem.kind], {"detail": problem.message}
