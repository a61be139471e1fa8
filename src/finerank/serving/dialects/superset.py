"""What answers where Cohere, Jina, Voyage, infinity, vLLM, Xinference and others share a path: the fields of all.

A client finds the list its parser reads, `results` or `data`, whatever options it sent. Only `document` conflicts: in
`results` it is an object, in `data` a string. A client that needs a string in `results` forces its own dialect.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from finerank.serving.dialects.body import Objects, TextInput, objects_to_documents, read, to_string
from finerank.serving.dialects.cohere import BilledUnits, Version, meta
from finerank.serving.dialects.shapes import (
    ErrorFields,
    MaxChunks,
    Message,
    ObjectResult,
    ReturnDocuments,
    TextResult,
    Tokens,
    TopN,
    nested_error,
    rows,
    to_text,
    tokens,
)
from finerank.serving.dialects.vllm import VllmOptions, to_max_length
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


def _as_list(given: object) -> object:
    """vLLM takes a single document without a list around it."""
    return [given] if isinstance(given, str | dict) else given


class SupersetRequest(VllmOptions):
    query: Annotated[TextInput, Field(description="what is searched for")]
    documents: Annotated[
        Objects,
        BeforeValidator(_as_list),
        Field(description="texts, or objects with a `text`, with `content`, or with the fields of rank_fields"),
    ]
    top_n: Annotated[int | None, Field(ge=0, description="how many results; 0 is all")] = None
    top_k: Annotated[TopN, Field(description="Voyage's name for top_n, which wins over it")] = None
    return_documents: ReturnDocuments = None
    truncation: Annotated[bool | None, Field(description="Voyage: false refuses a text that would be cut")] = None
    rank_fields: Annotated[list[str] | None, Field(description="Cohere v1: the fields of objects to rank by")] = None
    raw_scores: Annotated[bool | None, Field(description="infinity: logits instead of scores")] = None
    max_chunks_per_doc: MaxChunks = None


class InputTokens(BaseModel):
    input_tokens: int
    output_tokens: int


class SupersetMeta(BaseModel):
    api_version: Version
    billed_units: BilledUnits
    tokens: InputTokens


class SupersetResponse(BaseModel):
    id: str
    object: Annotated[Literal["rerank"], Field(description="infinity's client insists on it")]
    model: str
    results: Annotated[list[ObjectResult], Field(description="best first; documents unless return_documents is false")]
    data: Annotated[
        list[TextResult], Field(description="the same as Voyage writes it; documents if return_documents is true")
    ]
    usage: Tokens
    meta: SupersetMeta


class SupersetError(BaseModel):
    message: Message
    detail: Message
    error: ErrorFields


REQUEST: type[BaseModel] = SupersetRequest
RESPONSE: type[BaseModel] = SupersetResponse
ERROR: type[BaseModel] = SupersetError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", {"text": "Hold the reset button for ten seconds."}],
    "top_n": 1,
}
# 400 and not 422: infinity's client takes a 422 apart as FastAPI's list, and falls over a string.
STATUS = {**PROBLEMS, "invalid": 400}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(SupersetRequest, body)
    request = RerankRequest(
        query=to_string(asked.query, "query"),
        documents=objects_to_documents(asked.documents, asked.rank_fields),
        model=asked.model,
        instruction=asked.instruction,
        max_passage_tokens=asked.max_tokens_per_doc or None,
        max_length=to_max_length(asked),
        truncate=asked.truncation is not False,
        chunk=None if asked.max_chunks_per_doc is None else asked.max_chunks_per_doc > 1,
        top_n=(asked.top_k if asked.top_n is None else asked.top_n) or None,
        return_documents=asked.return_documents is not False,
        return_texts=asked.return_documents is True,
        raw_scores=asked.raw_scores is True or asked.use_activation is False,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    return write(answers, request_id, "1")


def render_error(problem: Problem) -> tuple[int, Json]:
    status, nested = nested_error(problem, STATUS)
    return status, {"message": problem.message, "detail": problem.message, "error": nested["error"]}


def write(answers: Sequence[Answer], request_id: str, version: str) -> dict[str, object]:
    """The answer, with the version of Cohere's API whose path it is."""
    (answer,) = answers
    count = tokens(answer)
    results = rows(answer)
    data = [{name: value for name, value in row.items() if name != "document"} for row in results]
    if answer.request.return_texts:
        for row, result in zip(data, answer.ranking.results, strict=True):
            row["document"] = to_text(result.document)
    return {
        "id": request_id,
        "object": "rerank",
        "model": answer.ranking.model,
        "results": results,
        "data": data,
        "usage": count,
        "meta": {
            **meta(answer, version),
            "tokens": {"input_tokens": count["total_tokens"], "output_tokens": 0},
        },
    }
