"""What clients of other servers ask of the model before they rank: pure functions from `ModelInfo` to JSON."""

from collections.abc import Callable, Mapping, Sequence

from finerank.serving.request import Json, ModelInfo

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def tei_info(models: Sequence[ModelInfo]) -> Json:
    """`GET /info` of TEI, on the first model. Dify reads model_type, max_input_length and max_client_batch_size."""
    model = models[0]
    return {
        "model_id": model.name,
        "model_sha": None,
        "model_dtype": DTYPES.get(model.precision, model.precision),
        "served_model_name": model.name,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": model.max_requests,
        "max_input_length": model.max_length,
        "max_batch_tokens": model.max_batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": model.max_documents,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": model.version,
        "sha": None,
        "docker_label": None,
    }


def model_list(models: Sequence[ModelInfo]) -> Json:
    """`GET /v1/models` as OpenAI lists them, with the fields that vLLM and Xinference add."""
    return {"object": "list", "data": _entries(models)}


def infinity_list(models: Sequence[ModelInfo]) -> Json:
    """`GET /models`. Infinity's client takes no other owner than infinity."""
    return {"object": "list", "data": [entry | {"owned_by": "infinity"} for entry in _entries(models)]}


def model_entry(models: Sequence[ModelInfo], name: str) -> Json:
    """`GET /v1/models/{name}`: one entry of the list; the first, which answers to any name, if there is none such.

    Xinference's client reads model_type there before it ranks.
    """
    return next((entry for entry in _entries(models) if entry["id"] == name), _entry(models[0]))


def xinference_auth(needs_key: bool) -> Json:
    """`GET /v1/cluster/auth`, which needs no key itself. Xinference's client sends its key only where this says so."""
    return {"auth": needs_key}


def _entries(models: Sequence[ModelInfo]) -> list[dict[str, object]]:
    """An entry for each name of each model, as vLLM lists them."""
    return [_entry(model, name) for model in models for name in (model.name, *model.aliases)]


def _entry(model: ModelInfo, name: str | None = None) -> dict[str, object]:
    return {
        "id": name or model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "finerank",
        "root": model.name,
        "parent": None,
        "max_model_len": model.max_length,
        "model_name": name or model.name,
        "model_type": "rerank",
        "model_ability": ["rerank"],
        "max_tokens": model.max_length,
        "backend": "finerank",
        "capabilities": ["rerank"],
        "device": model.device,
        "dtype": DTYPES.get(model.precision, model.precision),
        "stats": {"batch_size": model.max_documents},
    }


GET_ROUTES: Mapping[str, tuple[Callable[[Sequence[ModelInfo]], Json], str]] = {
    "/info": (tei_info, "The model, as text-embeddings-inference tells of it"),
    "/tei/info": (tei_info, "The model, as text-embeddings-inference tells of it"),
    "/v1/models": (model_list, "The models, as OpenAI, vLLM and Xinference list them"),
    "/vllm/v1/models": (model_list, "The models, as vLLM lists them"),
    "/xinference/v1/models": (model_list, "The models, as Xinference lists them"),
    "/nvidia/v1/models": (model_list, "The models, as NVIDIA's NeMo Retriever lists them"),
    "/llamacpp/v1/models": (model_list, "The models, as llama.cpp lists them"),
    "/models": (infinity_list, "The models, as infinity lists them"),
    "/infinity/models": (infinity_list, "The models, as infinity lists them"),
}
"""Paths, the function that answers each, and a summary for the OpenAPI document."""

MODEL_ROUTES: Mapping[str, tuple[Callable[[Sequence[ModelInfo], str], Json], str]] = {
    "/v1/models/{name}": (model_entry, "A model, as OpenAI and Xinference tell of it"),
    "/xinference/v1/models/{name}": (model_entry, "A model, as Xinference tells of it"),
}
"""Likewise, of one model; its name may hold slashes."""

AUTH_ROUTES = ("/v1/cluster/auth", "/xinference/v1/cluster/auth")
"""Where `xinference_auth` answers."""
