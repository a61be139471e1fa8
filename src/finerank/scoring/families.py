"""The model families whose forward pass is our own, where each keeps its weights, and what its config must say.

A family's encoder has one of two heads, both of two layers, `dense` and `out`. A cross-encoder reads query and passage
in one sequence and scores its first token: out(tanh(dense(x))). A late-interaction model (Khattab and Zaharia 2020,
"ColBERT") reads each as a sequence of its own and compares their tokens: with z = dense(x), the score is the mean over
the query's tokens i of max z_i . z_j over the passage's tokens j, weighted by softmax(out(x_i)), plus out's bias.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finerank.errors import BrokenModel, UnsupportedModel


@dataclass(frozen=True, slots=True)
class Family:
    """`prefix` of the encoder's weights; names of the head's two layers."""

    prefix: str
    dense: str
    out: str


_ROBERTA = Family("roberta.", "classifier.dense", "classifier.out_proj")

FAMILIES: Mapping[str, Family] = {
    "bert": Family("bert.", "bert.pooler.dense", "classifier"),
    "camembert": _ROBERTA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""By `model_type` in config.json."""

CROSS, LATE = "ForSequenceClassification", "ForLateInteraction"
"""How the architecture in config.json ends."""

MAP_AFTER = "finerank_map_after"
"""The key of config.json for an encoder grafted from two: a linear map, `encoder.map`, follows this many layers."""

POSITIONS_AFTER_PADDING = frozenset(
    {
        *("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet"),
        *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    }
)
"""Model types, run here or by transformers, whose position ids start at pad_id + 1: max_position_embeddings 514
means 512 usable tokens, 8194 means 8192."""

ACTIVATIONS: Mapping[str, str] = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""`hidden_act` in config.json to the approximation of GELU it means (erf is exact: none)."""

_CONFIG_DEFAULTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}
_CONFIG_NEEDED = ("hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings")


def is_late(config: Mapping[str, Any]) -> bool:
    """Whether the model reads query and passage apart and compares their tokens."""
    return str((config.get("architectures") or [""])[0]).endswith(LATE)


def checked_config(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The config with Hugging Face's defaults filled in; raises `BrokenModel` if it is not whole, and
    `UnsupportedModel` on what we do not compute."""
    config: dict[str, Any] = {**_CONFIG_DEFAULTS, **given}
    for key in _CONFIG_NEEDED:
        if not isinstance(config.get(key), int):
            raise BrokenModel(f"{name}: config.json has no {key}; download it again.")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise BrokenModel(f"{name}: config.json divides {config['hidden_size']} among its heads unevenly.")
    if config["hidden_act"] not in ACTIVATIONS:
        raise UnsupportedModel(f"{name}: hidden_act {config['hidden_act']!r}; use backend='transformers'.")
    if config["position_embedding_type"] != "absolute":
        raise UnsupportedModel(f"{name}: relative position embeddings; use backend='transformers'.")
    return config
