"""`/api/rerank` as Dify's Ollama provider calls it: any model name, and a string as `document`.

finerank's own API was at this path, so a result has its fields too.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from finerank.serving.dialects import native
from finerank.serving.dialects.native import NativeRequest, NativeResponse, NativeResult, Returned
from finerank.serving.dialects.shapes import Message, Score
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class OllamaResult(NativeResult):
    document: Annotated[str | Returned, Field(description="a string, or an object if it came with an id or metadata")]  # type: ignore[assignment]
    relevance_score: Score


class OllamaResponse(NativeResponse):
    results: Annotated[list[OllamaResult], Field(description="best first")]  # type: ignore[assignment]


class OllamaError(BaseModel):
    error: Message


REQUEST: type[BaseModel] = NativeRequest
RESPONSE: type[BaseModel] = OllamaResponse
ERROR: type[BaseModel] = OllamaError
EXAMPLE: Mapping[str, object] = {
    "model": "bge-reranker-v2-m3",
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_n": 1,
}
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    return native.parse(body)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    body = native.render(answers, request_id)
    results = [
        {**native.row(result, with_document=True), "relevance_score": result.score} for result in answer.ranking.results
    ]
    for row, result in zip(results, answer.ranking.results, strict=True):
        if result.document.id is None and not result.document.metadata:
            row["document"] = result.document.text
    return {**body, "results": results}


def render_error(problem: Problem) -> tuple[int, Json]:
    return STATUS[problem.kind], {"error": problem.message}
