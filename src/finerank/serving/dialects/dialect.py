"""What a dialect is: one API's field names, defaults, units and error shapes. Limits and sorting are elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel

from finerank.serving.request import Answer, Json, Problem, RerankRequest


class Dialect(Protocol):
    """A module of this folder.

    `REQUEST`, `RESPONSE` and `ERROR` describe the bodies for the OpenAPI document, `EXAMPLE` is a request.
    """

    REQUEST: type[BaseModel]
    RESPONSE: type[BaseModel]
    ERROR: type[BaseModel]
    EXAMPLE: Mapping[str, object]

    def parse(self, body: object) -> tuple[RerankRequest, ...]:
        """The body, decoded from JSON, as requests: one, but for APIs that score unrelated pairs.

        Raises `InvalidInput`, its message beginning with the field.
        """
        ...

    def render(self, answers: Sequence[Answer], request_id: str) -> Json:
        """The body of a successful answer to what `parse` returned."""
        ...

    def render_error(self, problem: Problem) -> tuple[int, Json]:
        """Status and body of a failure."""
        ...
