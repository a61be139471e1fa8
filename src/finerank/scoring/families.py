"""The model families whose forward pass is our own, and where each keeps its weights."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """`prefix` of the encoder's weights; names of the head's two layers, dense -> tanh -> out, on the first token."""

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
