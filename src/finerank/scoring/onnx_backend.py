"""Cross-encoders on ONNX Runtime, on the CPU: a model.onnx with input_ids, attention_mask and perhaps token_type_ids.

Graphs quantised at run time (DynamicQuantizeLinear, what `quantize_dynamic` writes) take one activation scale from
the whole batch, so that a pair's logit would move with its company: by up to 0.6 for ms-marco-MiniLM-L-12-v2. Those
run one pair at a time, which is bit-exact, needs no padding, and costs 1.2x the time of a batched run.
"""

import ctypes
from functools import cache
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel, MissingExtra, OutOfMemory, ScoreError, UnsupportedModel
from finerank.scoring.batch import Batch
from finerank.scoring.device import Device
from finerank.scoring.forks import after_fork
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.processor import usable_cpus

try:
    import onnxruntime as ort
except ImportError as error:
    raise MissingExtra("an ONNX model", "onnx") from error

_INPUTS = ("input_ids", "token_type_ids", "attention_mask")  # the order of Batch.padded


class OnnxBackend:
    """An ONNX graph with one logit a pair. Needs the extra `onnx`."""

    padded = True

    def __init__(self, files: ModelFiles, device: Device, threads: int | None = None) -> None:
        path = files.weights[0]
        self._path = path.absolute()
        self._threads = threads or usable_cpus()  # its own default knows no quota of a container
        self._session: ort.InferenceSession | None = self._open()
        _register()
        _backends.add(self)
        self._inputs = {item.name: item.type for item in self._session.get_inputs()}
        self._check(str(path), self._session.get_outputs()[0].shape)
        _check_shapes(str(path), self._session)
        self._pad_id = files.pad_id
        single = any(item.shape[0] == 1 for item in self._session.get_inputs())
        self._one_by_one = single or files.uses_operator("DynamicQuantizeLinear")

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        ids, types, mask = batch.padded(self._pad_id)
        if not self._one_by_one:
            return self._run(ids, types, mask)
        rows = (self._run(ids[i : i + 1, :n], types[i : i + 1, :n], mask[i : i + 1, :n]) for i, n in _rows(batch))
        return np.concatenate(list(rows))

    def close(self) -> None:
        self._session = None

    def leave_session(self) -> None:
        """In a child: leave the session, which waits forever for its threads when it ends, as it is; the next forward
        opens another."""
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._session = None

    def _open(self) -> "ort.InferenceSession":
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self._threads
        try:
            return ort.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BrokenModel(
                f"{self._path}: ONNX Runtime cannot load it: {error}. Download or export it again."
            ) from error

    def _run(self, *arrays: NDArray[np.int64]) -> NDArray[np.float32]:
        feed = {
            name: array.astype(np.int32) if self._inputs[name] == "tensor(int32)" else array
            for name, array in zip(_INPUTS, arrays, strict=True)
            if name in self._inputs
        }
        session = self._session = self._session or self._open()
        try:
            (logits,) = session.run([session.get_outputs()[0].name], feed)
        except Exception as error:
            if "allocate" in str(error) or "bad_alloc" in str(error):
                raise OutOfMemory(f"ONNX Runtime ran out of memory on {arrays[0].shape} tokens") from error
            pairs, tokens = arrays[0].shape
            first_line = str(error).strip().partition("\n")[0]
            raise ScoreError(
                f"{self._path}: ONNX Runtime fails on {pairs} pairs of {tokens} tokens: {first_line}. "
                "Check that config.json and the tokenizer are the model's own, or export it again."
            ) from error
        return np.asarray(logits, np.float32).reshape(len(arrays[0]))

    def _check(self, path: str, shape: list[int | str]) -> None:
        unknown = self._inputs.keys() - set(_INPUTS)
        if unknown or "input_ids" not in self._inputs:
            raise UnsupportedModel(
                f"{path}: takes the inputs {sorted(self._inputs)}; a cross-encoder takes {', '.join(_INPUTS)}."
            )
        if len(shape) > 2 or (len(shape) == 2 and isinstance(shape[1], int) and shape[1] != 1):
            raise UnsupportedModel(f"{path}: gives {shape}; a reranker gives one logit a pair: [pairs] or [pairs, 1].")


_backends: "WeakSet[OnnxBackend]" = WeakSet()


@cache
def _register() -> None:
    after_fork(_leave_sessions)


def _leave_sessions() -> None:
    for backend in list(_backends):
        backend.leave_session()


def _check_shapes(path: str, session: ort.InferenceSession) -> None:
    """Raise `UnsupportedModel` unless every input is [pairs, tokens], both of any size; a single pair will do."""
    for item in session.get_inputs():
        shape = item.shape
        if len(shape) != 2 or isinstance(shape[1], int) or (isinstance(shape[0], int) and shape[0] != 1):
            raise UnsupportedModel(
                f"{path}: its input {item.name} has the fixed shape {shape}, and pairs differ in number and length. "
                "Export it with dynamic axes for both; from safetensors, `finerank export MODEL OUT` does."
            )


def _rows(batch: Batch) -> list[tuple[int, int]]:
    return [(index, int(length)) for index, length in enumerate(batch.lengths)]
