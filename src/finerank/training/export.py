"""A model to the ONNX layout: a folder with model.onnx, config.json and tokenizer.json, held to its source.

BERT, RoBERTa and XLM-RoBERTa get a graph of our own, in which a cross-encoder's last layer is for the first token
only; other families go through torch's exporter. int8 stores weights in blocks of 64 with a scale each and quantises
activations block by block too (MatMulNBits), so that a pair's logit does not depend on its batch, as it does under
`quantize_dynamic`; where our own families have rows of whole blocks, the graph and the torch backend share one
safetensors file. Needs the extra `export`.
"""

import logging
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from finerank.errors import InvalidSetting, MissingExtra, ParityFailed, UnreadableQuery, UnusablePath
from finerank.evaluation.keyword_traps import load_traps, trap_languages
from finerank.io.atomic import is_empty_folder, new_folder
from finerank.reranker import Reranker
from finerank.scoring.families import checked_config
from finerank.scoring.int8 import BLOCK, SCALE, quantise
from finerank.scoring.model_files import EXIT_FILE, ModelFiles, find_model
from finerank.scoring.tokenizer import load_tokenizer
from finerank.second_stage import second_files

try:
    import onnx
    import onnxscript  # noqa: F401 - torch's exporter needs it
    import torch
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from safetensors.numpy import save_file

    from finerank.scoring.torch_backend import Weights
    from finerank.scoring.transformers_backend import load_model
    from finerank.training.onnx_graph import (
        IR_VERSION,
        OPSET,
        FileWeights,
        GraphWeights,
        InlineWeights,
        RerankerGraph,
    )
except ImportError as error:
    raise MissingExtra("exporting a model", "export") from error

Precision = Literal["fp32", "int8"]

_INT8_BLOCK = 64
_INT8_COMPUTE = 4  # MatMulNBits' accuracy_level for int8 products
_TRAPS_PER_LANGUAGE = 3
_PROTOBUF_LIMIT = 1_500_000_000  # beyond, weights go beside the graph: a protobuf holds 2 GB


@dataclass(frozen=True, slots=True)
class Parity:
    """How an exported model differs from its source on `pairs` real pairs: the largest difference of logits, their
    spread (largest less smallest), and Kendall's tau between the two orders of all pairs."""

    pairs: int
    logit_difference: float
    logit_spread: float
    kendall_tau: float

    def holds(self, precision: Precision) -> bool:
        """Whether the difference, as a share of the spread of logits, and tau are within the precision's limits."""
        share, tau = PARITY_LIMITS[precision]
        return self.logit_difference <= share * self.logit_spread and self.kendall_tau >= tau


PARITY_LIMITS: Mapping[Precision, tuple[float, float]] = {"fp32": (1e-4, 0.999), "int8": (0.05, 0.95)}
"""Largest logit difference as a share of the logits' spread, and the smallest tau."""


def export(model: str, out: Path, precision: Precision = "fp32") -> Parity:
    """Write `model` (safetensors) to the folder `out` as ONNX, and hold it to its source.

    Raises `ParityFailed` if it ranks differently (the folder is removed), `InvalidSetting` if `out` is not empty.
    """
    if precision not in PARITY_LIMITS:
        raise InvalidSetting(f"precision={precision!r}: must be one of {', '.join(PARITY_LIMITS)}")
    if out.exists() and not is_empty_folder(out):
        raise UnusablePath(f"{out}: exists and is not an empty folder; name another")
    files = find_model(model)
    if files.backend == "onnx":
        raise InvalidSetting(f"{model}: is ONNX already; export its safetensors folder instead")
    if files.backend == "native":
        files = replace(files, backend="torch")  # whose logits are the reference, in fp32
    with new_folder(out) as part:
        _write(files, part, precision)
        parity = compare(str(files.folder), part, files.backend)
        if not parity.holds(precision):
            raise ParityFailed(
                f"{model} in {precision}: logits differ by {parity.logit_difference:.2g} of {parity.logit_spread:.2g}, "
                f"Kendall's tau is {parity.kendall_tau:.4f}; the limits are {PARITY_LIMITS[precision]}. Nothing was "
                f"written; {'use fp32' if precision == 'int8' else 'this architecture cannot be exported'}."
            )
    return parity


def compare(source: str, exported: Path, backend: str) -> Parity:
    """Score the keyword traps of every language that the model reads, and a long passage made of each language's texts,
    with both; if it reads none of them, texts of its own vocabulary."""
    kept: list[NDArray[np.float64]] = []
    for model, kind in ((source, backend), (str(exported), "onnx")):
        with Reranker.from_pretrained(model, backend=kind, device="cpu", effort="full") as reranker:  # type: ignore[arg-type]
            requests = [request for request in _real_text() if _reads(reranker, request[0])] or [_own_words(exported)]
            pairs = [(query, text) for query, texts in requests for text in texts]
            kept.append(np.array([pair.logit for pair in reranker.score_pairs(pairs)]))
    one, other = kept
    return Parity(len(one), float(np.abs(one - other).max()), float(np.ptp(one)), _kendall_tau(one, other))


def _reads(reranker: Reranker, query: str) -> bool:
    try:
        reranker.encode(query, [])
    except UnreadableQuery:
        return False
    return True


def _own_words(folder: Path) -> tuple[str, list[str]]:
    """A query and passages of many lengths, of words from the vocabulary of the model in `folder`."""
    words = sorted(word for word in load_tokenizer(folder / "tokenizer.json").get_vocab() if word.isalpha())
    return " ".join(words[:4]), [" ".join(words[place::7]) for place in range(7)] + [" ".join(words)]


def _real_text() -> list[tuple[str, list[str]]]:
    requests = []
    for language in trap_languages():
        first, *others = load_traps(language)[:_TRAPS_PER_LANGUAGE]
        long = " ".join(passage for trap in (first, *others) for passage in trap.passages)
        requests += [
            (first.query, [*first.passages, long]),
            *((trap.query, trap.passages) for trap in others),
        ]
    return requests


def _kendall_tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Kendall's tau-b, the one that allows for ties; logits within 1e-4 of one another are tied."""
    rows, columns = np.triu_indices(len(one), 1)
    first, second = (np.sign(np.round(x[rows] - x[columns], 4)) for x in (one, other))
    untied = np.sqrt(np.count_nonzero(first) * np.count_nonzero(second))
    return float(first @ second / untied) if untied else 1.0


def _write(files: ModelFiles, out: Path, precision: Precision) -> None:
    written = _write_model(files, out, precision, "model")
    second = second_files(files)
    if second is not None:
        _write_model(second, out, precision, "second", written)
    for kept in (files.folder / "config.json", files.folder / EXIT_FILE):
        if kept.is_file():
            shutil.copy(kept, out)
    tokenizer = load_tokenizer(files.tokenizer)
    if files.declared_length:
        tokenizer.enable_truncation(files.declared_length)  # kept there, as one of the two files that a model needs
    (out / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")


def _write_model(
    files: ModelFiles, out: Path, precision: Precision, stem: str, first: FileWeights | None = None
) -> FileWeights | None:
    """The graph, and its 8-bit weights, which are returned, beside it; those that `first` has are not written again."""
    name = f"{stem}_int8.onnx" if precision == "int8" else f"{stem}.onnx"
    weights = read_weights(files) if files.backend == "torch" else {}
    stored = None
    if precision == "int8" and weights and all(_in_blocks(weight) for weight in _large(weights).values()):
        stored = _int8_file(weights, out / f"{stem}_int8.safetensors", first)
        graph = _own_graph(files, stored)
    else:
        graph = _own_graph(files, InlineWeights(weights)) if weights else _traced_graph(files)
        graph = _to_int8(graph) if precision == "int8" else graph
    external = sum(weight.ByteSize() for weight in graph.graph.initializer) > _PROTOBUF_LIMIT
    onnx.save(graph, out / name, save_as_external_data=external, location=f"{name}.data")
    return stored


def read_weights(files: ModelFiles) -> dict[str, NDArray[np.float32]]:
    """Every weight of a safetensors model, widened to float32."""
    weights = Weights(files.weights, torch.device("cpu"), torch.float32)
    return {name: weights(name).numpy() for name in weights.names()}


def _large(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The words, and what every layer multiplies by."""
    return {
        name: weight
        for name, weight in weights.items()
        if "word_embeddings" in name or (".layer." in name and weight.ndim == 2)
    }


def _in_blocks(weight: NDArray[np.float32]) -> bool:
    return int(weight.shape[1]) % BLOCK == 0


def _int8_file(weights: Mapping[str, NDArray[np.float32]], path: Path, first: FileWeights | None) -> FileWeights:
    """The weights written with the large matrices in 8 bits; the word embeddings of `first` are shared."""
    tensors: dict[str, NDArray[np.generic]] = {**weights}
    for name, weight in _large(weights).items():
        if first and "word_embeddings" in name and first.shape(name) == weight.shape:
            del tensors[name]
            continue
        tensors[name], tensors[name + SCALE] = quantise(weight)
    save_file(tensors, path, metadata={"format": "pt"})
    return FileWeights(path, first)


def _own_graph(files: ModelFiles, weights: GraphWeights) -> Any:  # noqa: ANN401 - onnx is untyped
    return RerankerGraph(checked_config(files.name, files.config), files.first_position, weights).build()


class _LogitsOnly(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, takes: Sequence[str]) -> None:
        super().__init__()
        self._model = model
        self._takes = takes

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self._model(**dict(zip(self._takes, inputs, strict=True))).logits  # type: ignore[no-any-return]


def _traced_graph(files: ModelFiles) -> Any:  # noqa: ANN401 - onnx is untyped
    model = load_model(files, torch.float32).eval()
    takes = ["input_ids", "attention_mask"]
    example = [torch.full((2, 16), max(files.pad_id + 1, 5)), torch.ones((2, 16), dtype=torch.long)]
    if "token_type_ids" in signature(model.forward).parameters and files.config.get("type_vocab_size", 0) > 1:
        takes.append("token_type_ids")
        example.append(torch.zeros((2, 16), dtype=torch.long))
    shape = {0: torch.export.Dim("pairs"), 1: torch.export.Dim("tokens")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _LogitsOnly(model, takes),
            tuple(example),
            input_names=takes,
            output_names=["logits"],
            dynamic_shapes=((shape,) * len(takes),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto  # type: ignore[union-attr]
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    return proto


def _to_int8(graph: Any) -> Any:  # noqa: ANN401 - onnx is untyped
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(
        graph, bits=8, block_size=_INT8_BLOCK, is_symmetric=True, accuracy_level=_INT8_COMPUTE
    )
    quantizer.process()
    return quantizer.model.model
