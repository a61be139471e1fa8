"""vLLM's rerank API: https://docs.vllm.ai, "Re-rank API". Texts only; every result carries its document."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Parts, read, to_string
from finerank.serving.dialects.shapes import (
    AnyTopN,
    Index,
    Instruction,
    ModelName,
    NestedError,
    Score,
    Tokens,
    UseActivation,
    nested_error,
    rows,
    tokens,
)
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest

Input = str | Parts
Inputs = Input | Annotated[list[Input], Field(min_length=1)]


class VllmOptions(Body):
    """What vLLM's rerank and score APIs both take."""

    model: ModelName = None
    truncate_prompt_tokens: Annotated[
        int | None,
        Field(ge=-1, description="cut each pair to so many tokens, at most as many as the model reads, which is -1"),
    ] = None
    truncation_side: Annotated[
        Literal["right", "left"] | None, Field(description="texts are cut on the right only")
    ] = None
    max_tokens_per_doc: Annotated[
        int | None, Field(ge=0, description="cut each document to so many tokens; 0 does not")
    ] = None
    max_tokens_per_query: Annotated[
        int | None, Field(ge=0, le=0, description="a query is cut at three quarters of the model's length only")
    ] = None
    use_activation: UseActivation = None
    instruction: Instruction = None


class VllmRequest(VllmOptions):
    query: Annotated[Input, Field(description="what is searched for")]
    documents: Annotated[Inputs, Field(description="the texts to rank")]
    top_n: AnyTopN = 0


class VllmDocument(BaseModel):
    text: str


class VllmResult(BaseModel):
    index: Index
    document: VllmDocument
    relevance_score: Score


class VllmResponse(BaseModel):
    id: str
    model: str
    usage: Tokens
    results: Annotated[list[VllmResult], Field(description="best first")]


REQUEST: type[BaseModel] = VllmRequest
RESPONSE: type[BaseModel] = VllmResponse
ERROR: type[BaseModel] = NestedError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "truncate_prompt_tokens": -1,
}
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(VllmRequest, body)
    documents = to_texts(asked.documents, "documents")
    top_n = asked.top_n if asked.top_n is not None and asked.top_n > 0 else None
    return (to_request(asked, to_string(asked.query, "query"), documents, top_n),)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return {"id": request_id, "model": answer.ranking.model, "usage": tokens(answer), "results": rows(answer)}


def render_error(problem: Problem) -> tuple[int, Json]:
    return nested_error(problem, STATUS)


def to_request(asked: VllmOptions, query: str, texts: Sequence[str], top_n: int | None) -> RerankRequest:
    return RerankRequest(
        query=query,
        documents=tuple(map(Document, texts)),
        model=asked.model,
        instruction=asked.instruction,
        max_passage_tokens=asked.max_tokens_per_doc or None,
        max_length=to_max_length(asked),
        top_n=top_n,
        return_documents=True,
        raw_scores=asked.use_activation is False,
    )


def to_max_length(asked: VllmOptions) -> int | None:
    """The tokens of a pair, None for the model's length. Raises `InvalidInput` for what cannot be followed."""
    if asked.truncation_side == "left":
        raise InvalidInput("truncation_side is left; texts are cut on the right only, so leave it out")
    if asked.truncate_prompt_tokens == 0:
        raise InvalidInput("truncate_prompt_tokens is 0, which leaves nothing to score; -1 is the model's length")
    return None if asked.truncate_prompt_tokens == -1 else asked.truncate_prompt_tokens


def to_texts(given: Inputs, field: str) -> list[str]:
    """A list of texts, of which a single one may stand alone."""
    if not isinstance(given, list):
        return [to_string(given, field)]
    return [to_string(each, f"{field}[{index}]") for index, each in enumerate(given)]
