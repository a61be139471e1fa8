"""The OpenAPI document: every path, from the pydantic models that read and describe its bodies."""

from collections.abc import Iterable, Mapping
from functools import cache

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from finerank import __version__
from finerank.serving import bodies
from finerank.serving.dialects import DIALECTS, NATIVE_PREFIX, ROUTES, Route
from finerank.serving.dialects.models import GET_ROUTES, MODEL_ROUTES
from finerank.serving.dialects.native import NativeError
from finerank.serving.request import PROBLEMS, Problem

Json = dict[str, object]

ERRORS: Mapping[str, str] = {
    "invalid": "a field is wrong",
    "unauthorized": "no key, or a wrong one",
    "forbidden": "not allowed here",
    "not_found": "no such model",
    "too_large": "larger than a request may be",
    "overloaded": "the queue is full; Retry-After says when to come again",
    "failed": "scoring failed",
    "unavailable": "no model is ready, or the server shuts down",
    "timeout": "its time was up",
}
"""Kinds of problem in words."""

OWN: Mapping[tuple[str, str], tuple[str, type[BaseModel] | None, type[BaseModel] | None, Json | None]] = {
    ("post", "/finerank/v1/explain"): (
        "What each document's score hangs on",
        bodies.ExplainRequest,
        bodies.ExplainResponse,
        {"query": "How do I reset it?", "documents": ["Keep it dry. Hold the reset button."], "words": True},
    ),
    ("post", "/finerank/v1/overlap"): (
        "Word overlap (BM25), for comparison",
        bodies.OverlapRequest,
        bodies.OverlapResponse,
        {"query": "reset button", "documents": ["Keep it dry.", "Hold the reset button."]},
    ),
    ("post", "/finerank/v1/model"): (
        "Load a model in the place of the first; needs an admin key",
        bodies.ModelRequest,
        bodies.ModelBody,
        {"model": "BAAI/bge-reranker-v2-m3"},
    ),
    ("post", "/finerank/v1/health/ranking/baseline"): (
        "Keep the present scores as what drift is measured against",
        bodies.BaselineRequest,
        None,
        {},
    ),
    ("get", "/finerank/v1/info"): ("The models, the limits, the state", None, bodies.InfoResponse, None),
    ("get", "/finerank/v1/examples"): ("Keyword traps to try", None, bodies.ExamplesResponse, None),
    ("get", "/finerank/v1/stats"): ("The last hour of the server's figures", None, None, None),
    ("get", "/finerank/v1/health/ranking"): ("Ranking health over the window", None, None, None),
    ("get", "/health"): ("Is it live, and ready", None, bodies.HealthResponse, None),
    ("get", "/health/live"): ("Is the process alive", None, bodies.HealthResponse, None),
    ("get", "/health/ready"): ("May requests be sent", None, bodies.HealthResponse, None),
}
"""finerank's own paths: summary, request, response, example."""

_MODEL_NAME: Json = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


@cache
def openapi() -> Json:
    """The document, as JSON."""
    models = {model for model in _models() if model is not None}
    refs, schema = models_json_schema(
        [(model, "validation") for model in sorted(models, key=_name)], ref_template="#/components/schemas/{model}"
    )
    names = {model: dict(refs[model, "validation"]) for model in models}
    paths: dict[str, dict[str, object]] = {}
    for path, route in ROUTES.items():
        paths[path] = {"post": _ranking_operation(path, route, names)}
    for path, (_, summary) in GET_ROUTES.items():
        paths.setdefault(path, {})["get"] = _operation("get", path, summary, "Models", {"200": _object("the answer")})
    for path, (_, summary) in MODEL_ROUTES.items():
        operation = _operation("get", path, summary, "Models", {"200": _object("the answer")})
        paths.setdefault(path, {})["get"] = {**operation, "parameters": [_MODEL_NAME]}
    for (method, path), (summary, request, response, example) in OWN.items():
        answer = _json(names[response], "the answer") if response else _object("the answer")
        errors = {str(PROBLEMS[kind]): _json(names[NativeError], text) for kind, text in ERRORS.items()}
        if path.startswith("/health"):
            errors = {"503": answer}
        operation = _operation(method, path, summary, "finerank", {"200": answer, **errors})
        if request is not None:
            operation["requestBody"] = _body([names[request]], {"example": example})
        if path == "/finerank/v1/health/ranking":
            operation["parameters"] = [_query("model"), _query("tag")]
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "finerank",
            "version": __version__,
            "description": "Reranking, in the dialects of the servers and services that clients are written for.",
        },
        "paths": paths,
        "components": {
            "schemas": schema["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _models() -> Iterable[type[BaseModel] | None]:
    for dialect in DIALECTS.values():
        yield from (dialect.REQUEST, dialect.RESPONSE, dialect.ERROR)
    for _, request, response, _ in OWN.values():
        yield from (request, response)
    yield NativeError


def _name(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"


def _ranking_operation(path: str, route: Route, names: Mapping[type[BaseModel], Json]) -> Json:
    spoken = {name: DIALECTS[name] for name in route.dialects}
    refs = [names[dialect.RESPONSE] for dialect in spoken.values()]
    errors = [names[dialect.ERROR] for dialect in spoken.values()]
    responses = {"200": _json(_any_of(refs), "the ranking")}
    statuses = {dialect.render_error(Problem(kind, ""))[0]: kind for dialect in spoken.values() for kind in PROBLEMS}
    for status, kind in sorted(statuses.items()):
        responses[str(status)] = _json(_any_of(errors), ERRORS[kind])
    tag = "finerank" if path.startswith(NATIVE_PREFIX) else route.dialect
    operation = _operation("post", path, route.summary, tag, responses)
    examples = {name: {"value": dialect.EXAMPLE} for name, dialect in spoken.items()}
    requests = {str(names[dialect.REQUEST]): names[dialect.REQUEST] for dialect in spoken.values()}
    operation["requestBody"] = _body(list(requests.values()), {"examples": examples})
    if "{name}" in path:
        operation["parameters"] = [_MODEL_NAME]
    return operation


def _operation(method: str, path: str, summary: str, tag: str, responses: Mapping[str, object]) -> Json:
    name = f"{method}{path}".replace("/", "_").replace(".", "_")
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": dict(responses)}


def _json(schema: Json, description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(description: str) -> Json:
    return _json({"type": "object"}, description)


def _body(refs: list[Json], example: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": _any_of(refs), **example}}}


def _any_of(refs: Iterable[Json]) -> Json:
    unique = list({str(ref): ref for ref in refs}.values())
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def _query(name: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
