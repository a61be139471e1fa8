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
    mixedbread,
    native,
    nvidia,
    ollama,
    superset,
    superset_v2,
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
    "nvidia": nvidia,
    "mixedbread": mixedbread,
    "ollama": ollama,
    "superset_v2": superset_v2,
}

NATIVE_PREFIX = "/finerank/v1"
"""Where finerank's own API is."""
OLD_PREFIX = "/api"
"""Where it was, and still is for one release."""

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers a path: `dialect`, or the first of `by_field` whose field the body has, null aside.

    A field tells dialects apart that cannot share an answer, so it must be one that every request of its API has:
    clients leave optional fields out. `summary` is for OpenAPI.
    """

    dialect: str
    summary: str
    by_field: Fields = ()

    @property
    def dialects(self) -> tuple[str, ...]:
        """Every dialect that may answer, the default first."""
        return tuple(dict.fromkeys((self.dialect, *(name for _, name in self.by_field))))


CANDIDATES: Fields = (("texts", "tei"), ("passages", "nvidia"), ("input", "mixedbread"))
"""What the candidates are called by the APIs that do not call them `documents`."""
LLAMACPP = Route("llamacpp", "Rank as llama.cpp's server does", (("texts", "llamacpp_texts"),))
RERANKING = Route(
    "llamacpp", "Rank as llama.cpp's server or Mixedbread does", (("texts", "llamacpp_texts"), ("input", "mixedbread"))
)
NVIDIA = Route("nvidia", "Rank as NVIDIA's NeMo Retriever does")
NVIDIA_PATHS = ("/v1/ranking", "/v1/retrieval/{name}/reranking")
OLLAMA = Route(
    "native",
    "Rank as Dify's Ollama provider expects; finerank's own API at its old path",
    (
        *((field, "native") for field in ("return_documents", "tag", "threshold", "long_documents")),
        ("model", "ollama"),
    ),
)
"""finerank's own fields, then the one that Ollama's clients always send."""

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
    "nvidia": dict.fromkeys(NVIDIA_PATHS, NVIDIA),
    "mixedbread": {"/v1/reranking": Route("mixedbread", "Rank as Mixedbread does")},
    "ollama": {"/api/rerank": Route("ollama", "Rank as Dify's Ollama provider expects")},
}
"""The paths of each API, forced when its name is put before them: /jina/v1/rerank."""

ROUTES: Mapping[str, Route] = {
    f"{NATIVE_PREFIX}/rerank": Route("native", "Rank, and tell all that is known of the ranking"),
    f"{OLD_PREFIX}/rerank": OLLAMA,
    "/v2/rerank": Route("superset_v2", "Rank as Cohere v2 and vLLM do", CANDIDATES),
    "/v1/rerank": Route("superset", "Rank as Jina, Voyage, Cohere v1, vLLM and Xinference do", CANDIDATES),
    "/rerank": Route("superset", "Rank as TEI, infinity, vLLM and Jina do", CANDIDATES),
    "/reranking": RERANKING,
    "/v1/reranking": RERANKING,
    **dict.fromkeys(NVIDIA_PATHS, NVIDIA),
    "/score": PREFIXES["vllm"]["/score"],
    "/v1/score": PREFIXES["vllm"]["/score"],
    **{f"/{prefix}{path}": route for prefix, routes in PREFIXES.items() for path, route in routes.items()},
}
"""Every path that ranks, by POST. {name} is a model's, and may hold slashes."""


def dialect_for(path: str, body: object = None, forced: str | None = None) -> tuple[str, Dialect]:
    """The dialect of a request, by its path and its body; `forced`, if given, names it.

    Without a body it is the path's own, which writes the errors met before the body is read.
    Raises `InvalidInput` if `forced` is none we know.
    """
    if forced and forced not in DIALECTS:
        raise InvalidInput(f"X-Finerank-Dialect is {forced!r}; it must be one of {', '.join(DIALECTS)}")
    route = LLAMACPP if forced == LLAMACPP.dialect else Route(forced, "") if forced else ROUTES[path]
    given = body if isinstance(body, Mapping) else {}
    name = next((name for field, name in route.by_field if given.get(field) is not None), route.dialect)
    return name, DIALECTS[name]
