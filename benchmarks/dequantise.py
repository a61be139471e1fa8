"""An int8 ONNX file of a BERT cross-encoder back to float32 weights under Hugging Face's names.

`quantize_dynamic` stores W as int8 with a scale s and a zero point z: W = s * (q - z). Its rounding stays in the
weights, so that float32 systems that load the result and int8 systems that load the original run the same model.
"""

import re
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Tensors = dict[str, NDArray[np.float32]]

_SUFFIX = "_quantized"


def float32_weights(path: Path) -> Tensors:
    """Every weight of the graph in `path`, linear layers as [out, in]."""
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    plain = {name: array for name, array in stored.items() if name.endswith((".weight", ".bias"))}
    embeddings = {
        name.removesuffix(_SUFFIX): _float32(stored, name)
        for name in stored
        if re.fullmatch(rf".*_embeddings\.weight{_SUFFIX}", name)
    }
    linear = {
        f"{_module(node.name)}.weight": np.ascontiguousarray(_float32(stored, node.input[1]).T)
        for node in graph.node
        if node.op_type == "MatMulInteger"
    }
    return plain | embeddings | linear


def _float32(stored: dict[str, NDArray], name: str) -> NDArray[np.float32]:
    base = name.removesuffix(_SUFFIX)
    offset = stored[name].astype(np.float32) - stored[f"{base}_zero_point"].astype(np.float32)
    return offset * stored[f"{base}_scale"].astype(np.float32)


def _module(node: str) -> str:
    """The module a matrix product belongs to: /bert/pooler/dense/Gemm_MatMul_quant is bert.pooler.dense."""
    return node.strip("/").rpartition("/")[0].replace("/", ".")
