"""The bodies of finerank's own API beside its rerank path, as pydantic models for reading and for OpenAPI."""

from typing import Annotated, Literal

from pydantic import BaseModel, FailFast, Field

from finerank.serving.dialects.body import Body

Texts = Annotated[list[str], FailFast()]


class ExplainRequest(Body):
    query: str
    documents: Texts
    model: str | None = None
    words: Annotated[bool, Field(description="also the words of the best sentence")] = False


class PieceBody(BaseModel):
    text: str
    span: Annotated[tuple[int, int], Field(description="in Unicode code points")]
    drop: Annotated[float, Field(description="what the logit loses without the piece")]
    share: Annotated[float, Field(description="of the positive drops, 0 to 1")]


class ExplanationBody(BaseModel):
    logit: float
    sentences: list[PieceBody]
    words: list[PieceBody]


class ExplainResponse(BaseModel):
    explanations: list[ExplanationBody]


class OverlapRequest(Body):
    query: str
    documents: Texts


class OverlapResponse(BaseModel):
    scores: Annotated[list[float], Field(description="BM25 within these documents")]
    spans: Annotated[list[list[tuple[int, int]]], Field(description="where the query's words are, in code points")]


class AskRequest(Body):
    question: Annotated[str, Field(min_length=1, max_length=10_000)]
    where: Annotated[
        list[str],
        FailFast(),
        Field(default_factory=list, max_length=100, description="conditions on metadata, as lang=zh or page>=3"),
    ]


class TextResponse(BaseModel):
    passages: list[str]


class ModelRequest(Body):
    model: Annotated[str, Field(min_length=1, description="hub id, local folder, or the present name to load it anew")]


class BaselineRequest(Body):
    model: str | None = None
    tag: str | None = None


class ModelBody(BaseModel):
    name: str
    aliases: Annotated[list[str], Field(description="other names it answers to")]
    device: str
    precision: str
    max_length: int
    state: Literal["ready", "loading", "unloaded", "failed"]
    error: str
    default: bool
    languages: Annotated[list[str], Field(description="ISO 639-1 codes, empty where they are not known")]
    calibrated: bool
    threshold: float | None


class Limits(BaseModel):
    max_body_bytes: int
    max_documents: int
    max_request_tokens: int
    max_queue_tokens: int
    max_requests: int
    timeout_s: float


class InfoResponse(BaseModel):
    version: str
    models: list[ModelBody]
    limits: Limits
    auth: bool
    ask: Annotated[bool, Field(description="whether /finerank/v1/ask answers questions from a store")]
    state: str
    uptime_s: float


class Example(BaseModel):
    lang: str
    name: str
    query: str
    passages: list[str]
    answer: Annotated[int, Field(description="index of the passage that answers")]


class ExamplesResponse(BaseModel):
    examples: list[Example]


class HealthResponse(BaseModel):
    status: Literal["ok", "unavailable"]
    live: bool
    ready: bool
    state: str
