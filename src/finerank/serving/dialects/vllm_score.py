"""vLLM's score API: pairs that need not share a query, scores in the order given."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from finerank.errors import InvalidInput
from finerank.serving.dialects.body import read
from finerank.serving.dialects.shapes import NestedError, Tokens, tokens
from finerank.serving.dialects.vllm import Inputs, VllmOptions, render_error, to_request, to_texts
from finerank.serving.request import Answer, Json, RerankRequest

__all__ = ["ERROR", "EXAMPLE", "REQUEST", "RESPONSE", "parse", "render", "render_error"]

SIDES = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))
"""The names that vLLM has had for the two sides."""


class ScoreRequest(VllmOptions):
    text_1: Annotated[Inputs | None, Field(description="a query, or one for each of text_2; also queries, data_1")] = (
        None
    )
    text_2: Annotated[Inputs | None, Field(description="the texts to score; also documents, items, data_2")] = None
    queries: Inputs | None = None
    documents: Inputs | None = None
    items: Inputs | None = None
    data_1: Inputs | None = None
    data_2: Inputs | None = None


class ScoreResult(BaseModel):
    index: int
    object: Literal["score"]
    score: Annotated[float, Field(description="0 to 1, or the logit")]


class ScoreResponse(BaseModel):
    id: str
    object: Literal["list"]
    created: Annotated[int, Field(description="Unix seconds")]
    model: str
    data: Annotated[list[ScoreResult], Field(description="in the order given")]
    usage: Tokens


REQUEST: type[BaseModel] = ScoreRequest
RESPONSE: type[BaseModel] = ScoreResponse
ERROR: type[BaseModel] = NestedError
EXAMPLE: Mapping[str, object] = {
    "text_1": "How do I reset the router?",
    "text_2": ["Keep the router dry.", "Hold the reset button for ten seconds."],
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(ScoreRequest, body)
    left, right = _sides(asked)
    queries, texts = (to_texts(getattr(asked, side), side) for side in (left, right))
    if len(queries) == 1:
        return (to_request(asked, queries[0], texts, None),)
    if len(queries) != len(texts):
        raise InvalidInput(
            f"{left}: {len(queries)} texts against {len(texts)} of {right}; give one of {left}, or as many of each"
        )
    return tuple(to_request(asked, query, [text], None) for query, text in zip(queries, texts, strict=True))


def render(answers: Sequence[Answer], request_id: str) -> Json:
    return {
        "id": request_id,
        "object": "list",
        "created": int(time.time()),
        "model": answers[0].ranking.model,
        "data": [{"index": index, "object": "score", "score": score} for index, score in _by_index(answers)],
        "usage": tokens(*answers),
    }


def _sides(asked: ScoreRequest) -> tuple[str, str]:
    for left, right in SIDES:
        if getattr(asked, left) is not None and getattr(asked, right) is not None:
            return left, right
    raise InvalidInput("text_1: it or text_2 is missing; give both, or queries and documents")


def _by_index(answers: Sequence[Answer]) -> list[tuple[int, float]]:
    """Index among all texts of the request, and score, in the order given."""
    scores = []
    before = 0
    for answer in answers:
        raw = answer.request.raw_scores
        by_index = sorted(answer.ranking.results, key=lambda result: result.index)
        scores += [(before + result.index, result.logit if raw else result.score) for result in by_index]
        before += len(answer.request.documents)
    return scores
