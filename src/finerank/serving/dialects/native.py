"""finerank's own API, which returns all that is known of a ranking."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, FailFast, Field, JsonValue

from finerank.messages import message_json
from finerank.ranking import Document, RankedDocument
from finerank.serving.dialects.body import Body, read
from finerank.serving.dialects.shapes import Message, ModelName, Query, TopN
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest

STAGES = ("queue", "encode", "forward", "total")


class NativeDocument(Body):
    text: str
    id: Annotated[str | int | None, Field(description="comes back with the document")] = None
    metadata: Annotated[dict[str, JsonValue], Field(default_factory=dict, description="comes back with the document")]


class NativeRequest(Body):
    query: Query
    documents: Annotated[list[str | NativeDocument], FailFast(), Field(description="texts, or objects with a `text`")]
    top_n: TopN = None
    model: ModelName = None
    tag: Annotated[str | None, Field(description="a name for this kind of request, for ranking health")] = None
    return_documents: Annotated[bool | None, Field(description="send texts and metadata back")] = True
    threshold: Annotated[
        float | None, Field(ge=0, le=1, description="only results with this score or more; the server's if left out")
    ] = None
    long_documents: Annotated[
        Literal["truncate", "chunk"] | None, Field(description="cut a long document, or score it in passages")
    ] = None


class Returned(BaseModel):
    text: str
    metadata: dict[str, JsonValue]


class NativeResult(BaseModel):
    rank: Annotated[int, Field(description="from 1")]
    index: Annotated[int, Field(description="the document's place in the request, from 0")]
    id: str | int | None
    document: Returned | None
    score: Annotated[float, Field(description="sigmoid of the logit, 0 to 1")]
    logit: Annotated[float, Field(description="what the model put out")]
    probability: Annotated[float | None, Field(description="of relevance, where the model is calibrated")]
    truncated: Annotated[bool, Field(description="part of the pair was cut away")]
    best_span: Annotated[
        tuple[int, int] | None, Field(description="the best passage of a long document, in Unicode code points")
    ]


class NativeUsage(BaseModel):
    pairs: int
    tokens: int
    truncated: int
    cached: int
    skipped: Annotated[int, Field(description="documents that effort=fast left out")]


class Timings(BaseModel):
    queue_ms: float
    encode_ms: float
    forward_ms: float
    total_ms: float


class NativeResponse(BaseModel):
    id: str
    model: str
    device: str
    precision: str
    degraded: Annotated[str, Field(description="empty, or why the ranking is not as asked")]
    degraded_code: Annotated[
        dict[str, JsonValue] | None,
        Field(description="the code and values of `degraded`, to say it in another language"),
    ] = None
    results: Annotated[list[NativeResult], Field(description="best first")]
    usage: NativeUsage
    timings: Timings


class NativeErrorFields(BaseModel):
    kind: Literal[
        "invalid",
        "unauthorized",
        "forbidden",
        "not_found",
        "too_large",
        "overloaded",
        "failed",
        "unavailable",
        "timeout",
    ]
    message: Message
    field: Annotated[str | None, Field(description="the field at fault, as documents[3]")]
    retry_after_s: int | None
    code: Annotated[str | None, Field(description="which message it is, to say it in another language")] = None
    values: Annotated[dict[str, JsonValue] | None, Field(description="what is filled into the message")] = None


class NativeError(BaseModel):
    error: NativeErrorFields


REQUEST: type[BaseModel] = NativeRequest
RESPONSE: type[BaseModel] = NativeResponse
ERROR: type[BaseModel] = NativeError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", {"text": "Hold the reset button for ten seconds.", "id": "kb-7"}],
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(NativeRequest, body)
    request = RerankRequest(
        query=asked.query,
        documents=tuple(
            Document(given) if isinstance(given, str) else Document(given.text, given.id, given.metadata)
            for given in asked.documents
        ),
        model=asked.model,
        chunk=None if asked.long_documents is None else asked.long_documents == "chunk",
        tag=asked.tag,
        top_n=asked.top_n,
        return_documents=asked.return_documents is not False,
        threshold=asked.threshold,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> dict[str, object]:
    (answer,) = answers
    ranking, usage = answer.ranking, answer.ranking.usage
    code = message_json(ranking.degraded)
    return {
        "id": request_id,
        "model": ranking.model,
        "device": answer.device,
        "precision": answer.precision,
        "degraded": ranking.degraded,
        **({"degraded_code": code} if code["code"] else {}),
        "results": [row(result, answer.request.return_documents) for result in ranking],
        "usage": {
            "pairs": usage.pairs,
            "tokens": usage.tokens,
            "truncated": usage.truncated,
            "cached": usage.cached,
            "skipped": usage.skipped,
        },
        "timings": {f"{stage}_ms": round(1000 * usage.seconds.get(stage, 0.0), 3) for stage in STAGES},
    }


def render_error(problem: Problem) -> tuple[int, Json]:
    code = message_json(problem.message)
    fields = {
        "kind": problem.kind,
        "message": problem.message,
        "field": problem.field,
        "retry_after_s": problem.retry_after_s,
        **(code if code["code"] else {}),
    }
    return PROBLEMS[problem.kind], {"error": fields}


def row(result: RankedDocument, with_document: bool) -> dict[str, object]:
    document = result.document
    return {
        "rank": result.rank,
        "index": result.index,
        "id": document.id,
        "document": {"text": document.text, "metadata": document.metadata} if with_document else None,
        "score": result.score,
        "logit": result.logit,
        "probability": result.probability,
        "truncated": result.truncated,
        "best_span": result.best_span,
    }
