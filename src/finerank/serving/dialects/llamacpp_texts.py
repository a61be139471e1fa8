"""The rerank API of llama.cpp's server when the candidates are called `texts`: TEI's bare list, and logits."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from finerank.ranking import Document
from finerank.serving.dialects.body import Body, Texts, read
from finerank.serving.dialects.llamacpp import LeastTopN, LlamaCppError, render_error
from finerank.serving.dialects.shapes import ModelName, Query
from finerank.serving.dialects.tei import TeiResponse, render
from finerank.serving.request import RerankRequest

__all__ = ["ERROR", "EXAMPLE", "REQUEST", "RESPONSE", "parse", "render", "render_error"]


class LlamaCppTextsRequest(Body):
    model: ModelName = None
    query: Query
    texts: Annotated[Texts, Field(description="the texts to rank")]
    top_n: LeastTopN = None
    return_text: Annotated[bool, Field(description="send the texts back")] = False


REQUEST: type[BaseModel] = LlamaCppTextsRequest
RESPONSE: type[BaseModel] = TeiResponse
ERROR: type[BaseModel] = LlamaCppError
EXAMPLE: Mapping[str, object] = {
    "query": "How do I reset the router?",
    "texts": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_n": 1,
}


def parse(body: object) -> tuple[RerankRequest, ...]:
    asked = read(LlamaCppTextsRequest, body)
    request = RerankRequest(
        query=asked.query,
        documents=tuple(map(Document, asked.texts)),
        model=asked.model,
        top_n=asked.top_n,
        return_documents=asked.return_text,
        raw_scores=True,
    )
    return (request,)
