"""The ranking API of NVIDIA's NeMo Retriever: objects with a `text` in, logits out."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, FailFast, Field

from finerank.serving.dialects.body import Body, TextObject, read, to_documents
from finerank.serving.dialects.shapes import DetailError, Index, ModelName, Tokens, TopN, tokens
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class NvidiaRequest(Body):
    model: ModelName = None
    query: Annotated[TextObject | str, Field(description="what is searched for, as an object with a `text`")]
    passages: Annotated[
        list[TextObject | str], FailFast(), Field(min_length=1, description="the texts to rank, as such objects")
    ]
    truncate: Annotated[
        Literal["NONE", "END"] | None, Field(description="NONE refuses a passage that would be cut; END cuts it")
    ] = None
    top_k: TopN = None


class NvidiaRanking(BaseModel):
    index: Index
    logit: Annotated[float, Field(description="the model's raw score")]


class NvidiaResponse(BaseModel):
    rankings: Annotated[list[NvidiaRanking], Field(description="best first")]
    usage: Tokens


REQUEST: type[BaseModel] = NvidiaRequest
RESPONSE: type[BaseModel] = NvidiaResponse
ERROR: type[BaseModel] = DetailError
EXAMPLE: Mapping[str, object] = {
    "model": "nvidia/llama-nemotron-rerank-1b-v2",
    "query": {"text": "How do I reset the router?"},
    "passages": [{"text": "Keep the router dry."}, {"text": "Hold the reset button for ten seconds."}],
    "truncate": "END",
}
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(NvidiaRequest, body)
    request = RerankRequest(
        query=asked.query if isinstance(asked.query, str) else asked.query.text,
        documents=to_documents(asked.passages),
        model=asked.model,
        truncate=asked.truncate != "NONE",
        top_n=asked.top_k,
        raw_scores=True,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    rankings = [{"index": result.index, "logit": result.logit} for result in answer.ranking.results]
    return {"rankings": rankings, "usage": tokens(answer)}


def render_error(problem: Problem) -> tuple[int, Json]:
    return STATUS[problem.kind], {"detail": problem.message}
