"""What answers at /v2/rerank, which Cohere v2 and vLLM share: as `superset`, of Cohere's version 2."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from finerank.serving.dialects.superset import (
    SupersetError,
    SupersetRequest,
    SupersetResponse,
    parse,
    render_error,
    write,
)
from finerank.serving.request import Answer, Json

__all__ = ["ERROR", "EXAMPLE", "REQUEST", "RESPONSE", "parse", "render", "render_error"]

REQUEST: type[BaseModel] = SupersetRequest
RESPONSE: type[BaseModel] = SupersetResponse
ERROR: type[BaseModel] = SupersetError
EXAMPLE: Mapping[str, object] = {
    "model": "rerank-v3.5",
    "query": "How do I reset the router?",
    "documents": ["Keep the router dry.", "Hold the reset button for ten seconds."],
    "top_n": 1,
}


def render(answers: Sequence[Answer], request_id: str) -> Json:
    return write(answers, request_id, "2")
