"""A reranker as an ONNX graph: a cross-encoder with the last layer for the first token only, or late interaction.

Inputs are input_ids, attention_mask and, where the model has them, token_type_ids: int64 [pairs, tokens], padded on
the right. Output: logits [pairs, 1]. Needs the extra `export`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from finerank.scoring.families import ACTIVATIONS, FAMILIES, MAP_AFTER, is_late
from finerank.scoring.int8 import BLOCK, SCALE, ZERO

OPSET = 20
"""The first with Gelu; ONNX Runtime has it from 1.17 on."""

IR_VERSION = 10
"""Of the file format; ONNX Runtime reads it from 1.18 on."""

_MASKED = -1e9
_INT8_COMPUTE = 4  # MatMulNBits' accuracy_level for int8 products
_STORED = {"F32": TensorProto.FLOAT, "U8": TensorProto.UINT8}


class Graph:
    """Nodes and initializers as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: NDArray[np.generic] | Sequence[int] | float) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        return self.keep(numpy_helper.from_array(np.ascontiguousarray(array), f"constant_{len(self.initializers)}"))

    def keep(self, tensor: onnx.TensorProto) -> str:
        self.initializers[tensor.name] = tensor
        return str(tensor.name)


class GraphWeights(Protocol):
    """Where a graph's weights come from, by their names in the safetensors file."""

    def shape(self, name: str) -> tuple[int, ...]: ...
    def vector(self, graph: Graph, name: str) -> str:
        """A weight as it is."""
        ...

    def rows(self, graph: Graph, name: str, ids: str) -> str:
        """Rows of a table: [pairs, tokens, columns] by ids [pairs, tokens]."""
        ...

    def product(self, graph: Graph, name: str, x: str) -> str:
        """x times the transposed weight: [..., inputs] to [..., outputs]."""
        ...


class InlineWeights:
    """Float32 weights inside the graph's own file."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def vector(self, graph: Graph, name: str) -> str:
        return graph.keep(numpy_helper.from_array(self._tensors[name], name))

    def rows(self, graph: Graph, name: str, ids: str) -> str:
        return graph.add("Gather", self.vector(graph, name), ids)

    def product(self, graph: Graph, name: str, x: str) -> str:
        weight = numpy_helper.from_array(np.ascontiguousarray(self._tensors[name].T), name)
        return graph.add("MatMul", x, graph.keep(weight))


class FileWeights:
    """Weights of `finerank.scoring.int8` in a safetensors file beside the graph, referred to where they lie."""

    def __init__(self, path: Path, first: "FileWeights | None" = None) -> None:
        """What the file lacks is `first`'s."""
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
        header.pop("__metadata__", None)
        inherited = first._stored if first else {}
        self._stored: dict[str, tuple[str, int, dict[str, Any]]] = {
            **inherited,
            **{name: (path.name, 8 + size, entry) for name, entry in header.items()},
        }

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._stored[name][2]["shape"])

    def vector(self, graph: Graph, name: str) -> str:
        file, start, entry = self._stored[name]
        first, last = entry["data_offsets"]
        tensor = TensorProto(name=name, data_type=_STORED[entry["dtype"]], dims=entry["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": file, "offset": start + first, "length": last - first}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        return graph.keep(tensor)

    def rows(self, graph: Graph, name: str, ids: str) -> str:
        if name + SCALE not in self._stored:
            return graph.add("Gather", self.vector(graph, name), ids)
        stored = graph.add("Cast", graph.add("Gather", self.vector(graph, name), ids), to=TensorProto.FLOAT)
        steps = graph.add("Sub", stored, graph.constant(float(ZERO)))
        blocks = graph.add("Reshape", steps, graph.constant([0, 0, -1, BLOCK]))
        scale = graph.add("Gather", self.vector(graph, name + SCALE), ids)
        values = graph.add("Mul", blocks, graph.add("Unsqueeze", scale, graph.constant([3])))
        return graph.add("Reshape", values, graph.constant([0, 0, -1]))

    def product(self, graph: Graph, name: str, x: str) -> str:
        if name + SCALE not in self._stored:
            return graph.add("MatMul", x, graph.add("Transpose", self.vector(graph, name), perm=[1, 0]))
        outputs, inputs = self.shape(name)
        stored, scale = self.vector(graph, name), self.vector(graph, name + SCALE)
        graph.initializers[stored].dims[:] = [outputs, inputs // BLOCK, BLOCK]
        return graph.add(
            "MatMulNBits",
            x,
            stored,
            scale,
            domain="com.microsoft",
            K=inputs,
            N=outputs,
            bits=8,
            block_size=BLOCK,
            accuracy_level=_INT8_COMPUTE,
        )


class RerankerGraph:
    """Builds the graph of a BERT, RoBERTa or XLM-RoBERTa reranker from its config and weights."""

    def __init__(self, config: Mapping[str, Any], first_position: int, weights: GraphWeights) -> None:
        self._config, self._first_position, self._weights = config, first_position, weights
        self._family = FAMILIES[config["model_type"]]
        self._late = is_late(config)
        self._graph = Graph()
        self._typed = weights.shape(f"{self._family.prefix}embeddings.token_type_embeddings.weight")[0] > 1

    def build(self) -> onnx.ModelProto:
        graph, layers = self._graph, int(self._config["num_hidden_layers"])
        there = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
        types = graph.add("Cast", "token_type_ids", to=TensorProto.FLOAT) if self._late else ""
        query = graph.add("Mul", there, graph.add("Sub", graph.constant(1.0), types)) if self._late else ""
        x = self._embed(query)
        seen = graph.add("Unsqueeze", there, graph.constant([1, 2]))  # [pairs, 1, 1, tokens]
        if self._late:  # and each text only by itself
            same = graph.add("Equal", *(graph.add("Unsqueeze", types, graph.constant([1, axis])) for axis in (3, 2)))
            seen = graph.add("Mul", seen, graph.add("Cast", same, to=TensorProto.FLOAT))
        mask = self._mask(seen)
        for index in range(layers):
            first_token_only = index == layers - 1 and not self._late
            if index and index == self._config.get(MAP_AFTER):
                x = self._linear(f"{self._family.prefix}encoder.map", x)
            x = self._layer(f"{self._family.prefix}encoder.layer.{index}", x, mask, first_token_only)
        if self._late:
            logits = self._compare(x, query, graph.add("Mul", there, types))
        else:
            x = graph.add("Squeeze", x, graph.constant([1]))
            logits = self._linear(self._family.out, graph.add("Tanh", self._linear(self._family.dense, x)))
        graph.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        return self._model()

    def _mask(self, seen: str) -> str:
        """0 where `seen` is 1, and far below where it is 0."""
        hidden = self._graph.add("Sub", self._graph.constant(1.0), seen)
        return self._graph.add("Mul", hidden, self._graph.constant(_MASKED))

    def _compare(self, x: str, query: str, passage: str) -> str:
        """Late interaction's head: see `finerank.scoring.families`. `query` and `passage` are 1 at their tokens."""
        graph, name = self._graph, self._family.out
        last = graph.constant([-1])
        weights = graph.add("Squeeze", self._weights.product(graph, f"{name}.weight", x), last)
        weights = graph.add("Softmax", graph.add("Add", weights, self._mask(query)), axis=-1)
        vectors = self._linear(self._family.dense, x)
        products = graph.add("MatMul", vectors, graph.add("Transpose", vectors, perm=[0, 2, 1]))
        of_passage = graph.add("Unsqueeze", self._mask(passage), graph.constant([1]))
        best = graph.add("ReduceMax", graph.add("Add", products, of_passage), last, keepdims=0)
        mean = graph.add("ReduceSum", graph.add("Mul", weights, best), last, keepdims=1)
        return graph.add("Add", mean, self._weights.vector(graph, f"{name}.bias"))

    def _model(self) -> onnx.ModelProto:
        inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if self._typed else [])]
        proto = helper.make_graph(
            self._graph.nodes,
            "cross-encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["pairs", "tokens"]) for name in inputs],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["pairs", 1])],
            list(self._graph.initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="finerank")

    def _embed(self, query: str) -> str:
        """The embeddings; where `query` says which tokens are the query's, a passage's positions begin anew."""
        graph, weights, prefix = self._graph, self._weights, f"{self._family.prefix}embeddings"
        x = weights.rows(graph, f"{prefix}.word_embeddings.weight", "input_ids")
        length = graph.add("Shape", "input_ids", start=1, end=2)
        last = graph.add("Add", length, graph.constant([self._first_position]))
        table = weights.vector(graph, f"{prefix}.position_embeddings.weight")
        positions = graph.add("Slice", table, graph.constant([self._first_position]), last, graph.constant([0]))
        if query:
            places = graph.add("Range", graph.constant(0), graph.add("Squeeze", length), graph.constant(1))
            begins = graph.add("ReduceSum", graph.add("Cast", query, to=TensorProto.INT64), graph.constant([1]))
            places = graph.add("Sub", places, graph.add("Mul", begins, "token_type_ids"))
            positions = graph.add("Gather", positions, places)
        types = weights.vector(graph, f"{prefix}.token_type_embeddings.weight")
        x = graph.add("Add", x, graph.add("Gather", types, "token_type_ids") if self._typed else types)
        return self._norm(f"{prefix}.LayerNorm", graph.add("Add", x, positions))

    def _layer(self, name: str, x: str, mask: str, first_token_only: bool) -> str:
        graph, heads = self._graph, int(self._config["num_attention_heads"])
        size = int(self._config["hidden_size"]) // heads
        ends = (graph.constant([0]), graph.constant([1]), graph.constant([1])) if first_token_only else ()
        rows = graph.add("Slice", x, *ends) if first_token_only else x
        attention = f"{name}.attention"
        q = self._heads(self._linear(f"{attention}.self.query", rows), (2, 1, 3))
        k = self._heads(self._linear(f"{attention}.self.key", x), (2, 3, 1))
        v = self._heads(self._linear(f"{attention}.self.value", x), (2, 1, 3))
        q = graph.add("Mul", q, graph.constant(size**-0.5))
        chances = graph.add("Softmax", graph.add("Add", graph.add("MatMul", q, k), mask), axis=-1)
        attended = graph.add("Transpose", graph.add("MatMul", chances, v), perm=[0, 2, 1, 3])
        attended = graph.add("Reshape", attended, graph.constant([0, 0, -1]))
        attended = self._linear(f"{attention}.output.dense", attended)
        rows = self._norm(f"{attention}.output.LayerNorm", graph.add("Add", attended, rows))
        gelu = ACTIVATIONS[self._config["hidden_act"]]
        up = graph.add("Gelu", self._linear(f"{name}.intermediate.dense", rows), approximate=gelu)
        return self._norm(f"{name}.output.LayerNorm", graph.add("Add", self._linear(f"{name}.output.dense", up), rows))

    def _linear(self, name: str, x: str) -> str:
        product = self._weights.product(self._graph, f"{name}.weight", x)
        return self._graph.add("Add", product, self._weights.vector(self._graph, f"{name}.bias"))

    def _norm(self, name: str, x: str) -> str:
        names = (f"{name}.weight", f"{name}.bias")
        weights = (self._weights.vector(self._graph, name) for name in names)
        eps = float(self._config["layer_norm_eps"])
        return self._graph.add("LayerNormalization", x, *weights, epsilon=eps, axis=-1)

    def _heads(self, x: str, order: Sequence[int]) -> str:
        """[pairs, tokens, hidden] to [pairs, heads, tokens, size], its last three axes in `order`."""
        heads = self._graph.constant([0, 0, int(self._config["num_attention_heads"]), -1])
        return self._graph.add("Transpose", self._graph.add("Reshape", x, heads), perm=[0, *order])
