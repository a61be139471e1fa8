"""A cross-encoder as an ONNX graph in standard operators, with the last layer for the first token only.

Inputs are input_ids, attention_mask and, where the model has them, token_type_ids: int64 [pairs, tokens], padded on
the right. Output: logits [pairs, 1]. Needs the extra `export`.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from finerank.scoring.torch_backend import CrossEncoder, Layer, LayerNorm, Linear

OPSET = 20
"""The first with Gelu; ONNX Runtime has it from 1.17 on."""

IR_VERSION = 10
"""Of the file format; ONNX Runtime reads it from 1.18 on."""

_MASKED = -1e9


class _Graph:
    """Nodes and weights as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        name = f"{op}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return names[0]

    def weight(self, value: torch.Tensor | NDArray[np.generic] | Sequence[int] | float) -> str:
        array = value.float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def linear(self, x: str, weight: torch.Tensor, bias: torch.Tensor) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(weight.T)), self.weight(bias))

    def norm(self, x: str, norm: LayerNorm) -> str:
        weights = self.weight(norm.weight), self.weight(norm.bias)
        return self.add("LayerNormalization", x, *weights, epsilon=norm.eps, axis=-1)

    def heads(self, x: str, heads: int, order: Sequence[int]) -> str:
        """[pairs, tokens, hidden] to [pairs, heads, tokens, size], its last three axes in `order`."""
        return self.add("Transpose", self.add("Reshape", x, self.weight([0, 0, heads, -1])), perm=[0, *order])


def build_graph(model: CrossEncoder) -> onnx.ModelProto:
    """The graph of a BERT, RoBERTa or XLM-RoBERTa cross-encoder with float32 weights."""
    graph = _Graph()
    x = _embed(graph, model)
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = graph.add("Mul", graph.add("Sub", graph.weight(1.0), mask), graph.weight(_MASKED))
    mask = graph.add("Unsqueeze", mask, graph.weight([1, 2]))  # [pairs, 1, 1, tokens]
    for layer in model.layers:
        x = _layer(graph, layer, x, mask, first_token_only=layer is model.layers[-1])
    x = graph.add("Squeeze", x, graph.weight([1]))
    x = graph.add("Tanh", graph.linear(x, model.dense.weight, model.dense.bias))
    logits = graph.linear(x, model.out.weight, model.out.bias)
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if len(model.types) > 1 else [])]
    proto = helper.make_graph(
        graph.nodes,
        "cross-encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["pairs", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["pairs", 1])],
        graph.weights,
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(proto, opset_imports=[opset], ir_version=IR_VERSION, producer_name="finerank")


def _embed(graph: _Graph, model: CrossEncoder) -> str:
    words = graph.add("Gather", graph.weight(model.words), "input_ids")
    length = graph.add("Shape", "input_ids", start=1, end=2)
    positions = graph.add("Slice", graph.weight(model.positions), graph.weight([0]), length, graph.weight([0]))
    if len(model.types) > 1:
        types = graph.add("Gather", graph.weight(model.types), "token_type_ids")
    else:
        types = graph.weight(model.types[0])
    return graph.norm(graph.add("Add", graph.add("Add", words, types), positions), model.norm)


def _layer(graph: _Graph, layer: Layer, x: str, mask: str, *, first_token_only: bool) -> str:
    (wq, wk, wv), (bq, bk, bv) = layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3)
    size = wq.shape[0] // layer.heads
    rows = graph.add("Slice", x, graph.weight([0]), graph.weight([1]), graph.weight([1])) if first_token_only else x
    q = graph.heads(graph.linear(rows, wq / size**0.5, bq / size**0.5), layer.heads, (2, 1, 3))
    k = graph.heads(graph.linear(x, wk, bk), layer.heads, (2, 3, 1))
    v = graph.heads(graph.linear(x, wv, bv), layer.heads, (2, 1, 3))
    weights = graph.add("Softmax", graph.add("Add", graph.add("MatMul", q, k), mask), axis=-1)
    attended = graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    attended = graph.add("Reshape", attended, graph.weight([0, 0, -1]))
    rows = graph.norm(graph.add("Add", _apply(graph, layer.attention_out, attended), rows), layer.attention_norm)
    up = graph.add("Gelu", _apply(graph, layer.up, rows), approximate=layer.gelu)
    return graph.norm(graph.add("Add", _apply(graph, layer.down, up), rows), layer.norm)


def _apply(graph: _Graph, linear: Linear, x: str) -> str:
    return graph.linear(x, linear.weight, linear.bias)
