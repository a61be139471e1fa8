"""The rerank API of Hugging Face's text-embeddings-inference: `texts` in, a bare list out."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Texts, read
from finerank.serving.dialects.shapes import Index, Message, Query, Score, Text, rows, to_text
from finerank.serving.request import PROBLEMS, Answer, Json, Problem, RerankRequest


class TeiRequest(Body):
    query: Query
    texts: Annotated[Texts, Field(description="the texts to rank")]
    truncate: Annotated[bool | None, Field(description="false refuses a text that would be cut")] = None
    truncation_direction: Annotated[
        Literal["Right", "right", "Left", "left"], Field(description="texts are cut on the right only")
    ] = "Right"
    raw_scores: Annotated[bool, Field(description="logits in the place of scores")] = False
    return_text: Annotated[bool, Field(description="send the texts back")] = False


class TeiRank(BaseModel):
    index: Index
    score: Score
    text: Text = None


class TeiResponse(RootModel[list[TeiRank]]):
    """Best first."""


class TeiError(BaseModel):
    error: Message
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]


REQUEST: type[BaseModel] = TeiRequest
RESPONSE: type[BaseModel] = TeiResponse
ERROR: type[BaseModel] = TeiError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "texts": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "return_text": True,
}
STATUS = {**PROBLEMS, "failed": 424}
ERROR_TYPES = {"failed": "Backend", "timeout": "Backend", "overloaded": "Overloaded", "unavailable": "Unhealthy"}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(TeiRequest, body)
    if asked.truncation_direction in ("Left", "left"):
        raise InvalidInput("truncation_direction is Left; texts are cut on the right only, so leave it out")
    request = RerankRequest(
        query=asked.query,
        documents=tuple(map(Document, asked.texts)),
        truncate=asked.truncate is not False,
        return_documents=asked.return_text,
        raw_scores=asked.raw_scores,
    )
    return (request,)


def render(answers: Sequence[Answer], request_id: str) -> Json:
    (answer,) = answers
    return list[object](rows(answer, to_text, score="score", document="text"))


def render_error(problem: Problem) -> tuple[int, Json]:
    if problem.kind == "invalid" and problem.field == "texts" and "is empty" in problem.message:
        return 400, {"error": problem.message, "error_type": "Empty"}
    return STATUS[problem.kind], {"error": problem.message, "error_type": ERROR_TYPES.get(problem.kind, "Validation")}
