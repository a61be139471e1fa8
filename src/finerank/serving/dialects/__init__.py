"""The APIs this server speaks: which dialects there are, on which paths, and which one a request is spoken in."""

from collections.abc import Mapping
from dataclasses import dataclass

from finerank.errors import InvalidInput
from finerank.serving.dialects import (
    cohere,
    cohere_v1,
    infinity,
    jina,
    llamacpp,
    llamacpp_texts,
    native,
    superset,
    tei,
    vllm,
    vllm_score,
    voyage,
    xinference,
)
from finerank.serving.dialects.dialect import Dialect

DIALECTS: Mapping[str, Dialect] = {
    "native": native,
    "superset": superset,
    "cohere": cohere,
    "cohere_v1": cohere_v1,
    "jina": jina,
    "voyage": voyage,
    "tei": tei,
    "infinity": infinity,
    "vllm": vllm,
    "vllm_score": vllm_score,
    "llamacpp": llamacpp,
    "llamacpp_texts": llamacpp_texts,
    "xinference": xinference,
}

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers a path: `dialect`, or the first of `by_field` whose field the body has. `summary` for OpenAPI."""

    dialect: str
    summary: str
    by_field: Fields = ()

    @property
    def dialects(self) -> tuple[str, ...]:
        """Every dialect that may answer, the default first."""
        return tuple(dict.fromkeys((self.dialect, *(name for _, name in self.by_field))))


SHARED: Fields = (("texts", "tei"), ("top_k", "voyage"), ("truncation", "voyage"), ("rank_fields", "cohere_v1"))
"""At a path that many APIs share, the fields that only one of them has."""
VLLM_ONLY: Fields = tuple(
    (field, "vllm")
    for field in ("truncate_prompt_tokens", "truncation_side", "use_activation", "activation", "softmax", "instruction")
)
LLAMACPP = Route("llamacpp", "Rank as llama.cpp's server does", (("texts", "llamacpp_texts"),))

PREFIXES: Mapping[str, Mapping[str, Route]] = {
    "cohere": {
        "/v2/rerank": Route("cohere", "Rank as Cohere v2 does"),
        "/v1/rerank": Route("cohere_v1", "Rank as Cohere v1 does"),
    },
    "jina": {"/v1/rerank": Route("jina", "Rank as Jina does")},
    "voyage": {"/v1/rerank": Route("voyage", "Rank as Voyage does")},
    "tei": {"/rerank": Route("tei", "Rank as text-embeddings-inference does")},
    "infinity": dict.fromkeys(("/rerank", "/v1/rerank"), Route("infinity", "Rank as infinity does")),
    "vllm": {
        **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), Route("vllm", "Rank as vLLM does")),
        **dict.fromkeys(("/score", "/v1/score"), Route("vllm_score", "Score pairs as vLLM does")),
    },
    "llamacpp": dict.fromkeys(("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"), LLAMACPP),
    "xinference": {"/v1/rerank": Route("xinference", "Rank as Xinference does")},
}
"""The paths of each API, forced when its name is put before them: /jina/v1/rerank."""

ROUTES: Mapping[str, Route] = {
    "/api/rerank": Route("native", "Rank, and tell all that is known of the ranking"),
    "/v2/rerank": Route("cohere", "Rank as Cohere v2 does, or vLLM", VLLM_ONLY),
    "/v1/rerank": Route("superset", "Rank as Jina, Voyage, Cohere v1, vLLM and Xinference do", SHARED),
    "/rerank": Route("superset", "Rank as TEI, infinity, vLLM and Jina do", SHARED),
    "/reranking": LLAMACPP,
    "/v1/reranking": LLAMACPP,
    "/score": PREFIXES["vllm"]["/score"],
    "/v1/score": PREFIXES["vllm"]["/score"],
    **{f"/{prefix}{path}": route for prefix, routes in PREFIXES.items() for path, route in routes.items()},
}
"""Every path that ranks, by POST."""


def dialect_for(path: str, body: object = None, forced: str | None = None) -> tuple[str, Dialect]:
    """The dialect of a request, by its path and its body; `forced`, if given, names it.

    Without a body it is the path's own, which writes the errors met before the body is read.
    Raises `InvalidInput` if `forced` is none we know.
    """
    if forced and forced not in DIALECTS:
        raise InvalidInput(f"X-Finerank-Dialect is {forced!r}; it must be one of {', '.join(DIALECTS)}")
    route = LLAMACPP if forced == LLAMACPP.dialect else Route(forced, "") if forced else ROUTES[path]
    given = body if isinstance(body, Mapping) else {}
    name = next((name for field, name in route.by_field if field in given), route.dialect)
    return name, DIALECTS[name]
