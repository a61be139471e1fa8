"""BERT, RoBERTa, XLM-RoBERTa and CamemBERT rerankers on an x86-64 CPU, in our own C++ (src/native).

Pairs are packed, and a pair's logit is the same to the last bit in any company and on any number of threads. In int16,
the default, products are exact sums of 16-bit integers, at twice the speed of float32; the logits of
ms-marco-MiniLM-L-12-v2 move by less than 0.004. Needs no extra.
"""

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel, InvalidSetting, OutOfMemory, UnsupportedModel
from finerank.scoring.batch import Batch
from finerank.scoring.device import Device
from finerank.scoring.exits import Exit
from finerank.scoring.families import ACTIVATIONS, FAMILIES, checked_config, is_late
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.native_weights import inner_chunk, packed_head, packed_weights
from finerank.scoring.processor import check_native, instruction_sets, usable_cpus
from finerank.scoring.states import States, TextStates
from finerank.scoring.tensors import Tensors

PRECISIONS = ("int16", "fp32")

if TYPE_CHECKING:
    from finerank.scoring import _native

_NO_PAIRS = np.empty((0, 2), np.int32)


class NativeBackend:
    """A reranker read from safetensors. `instruction_set` is the processor's best unless one is named."""

    padded = False

    def __init__(
        self, files: ModelFiles, device: Device, threads: int | None = None, instruction_set: str | None = None
    ) -> None:
        if device.kind != "cpu" or device.precision not in PRECISIONS:
            raise InvalidSetting(
                f"backend='native' on {device.name} in {device.precision}: it runs on the CPU, in int16 or fp32"
            )
        sets = instruction_sets()
        if not sets:
            check = check_native()
            raise UnsupportedModel(f"backend='native': {check.found}. {check.remedy}".strip())
        from finerank.scoring import _native

        config = checked_config(files.name, files.config)
        tensors = Tensors(files.weights)
        family = FAMILIES[config["model_type"]]
        config["intermediate_size"] = tensors[f"{family.prefix}encoder.layer.0.intermediate.dense.bias"].shape[0]
        self._words = tensors[f"{family.prefix}embeddings.word_embeddings.weight"]
        positions = tensors[f"{family.prefix}embeddings.position_embeddings.weight"].shape[0] - files.first_position
        _check_sizes(files, self._words.shape[0], positions, tensors[f"{family.out}.weight"].shape[0])
        int16 = device.precision == "int16"
        self._threads = threads or usable_cpus()
        self._late = is_late(config)
        try:
            self._arrays = packed_weights(files, config, tensors, int16=int16)
        except MemoryError as error:
            raise OutOfMemory("no memory to pack the weights") from error
        self._open_engine = partial(
            _native.Engine,
            instruction_set=instruction_set or sets[0],
            int16=int16,
            hidden=config["hidden_size"],
            heads=config["num_attention_heads"],
            inner=config["intermediate_size"],
            chunk=inner_chunk(config["intermediate_size"]),
            eps=float(config["layer_norm_eps"]),
            tanh=ACTIVATIONS[config["hidden_act"]] == "tanh",
            late=self._late,
        )
        self._layers = config["num_hidden_layers"]
        self._engine = self._open_engine(dict(self._arrays), first=0, layers=self._layers)
        self._rest: tuple[_native.Engine, TextStates] | None = None
        """The layers after the early exit, if there is one, and the states that it left."""
        self._leaves: TextStates | None = None
        """The same states, of the early exit."""

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        try:
            if self._late:
                return self._compare(*batch.texts())
            return self._run(self._engine, batch, self._words[batch.token_ids], _NO_PAIRS)
        except MemoryError as error:
            raise OutOfMemory(f"no memory for {len(batch.token_ids)} tokens") from error

    def shortened(self, early: Exit) -> Self:
        """The model up to its early exit; the weights are shared. With late interaction the whole model goes on from
        where the exit left a text, so that the two must not run at once."""
        short = copy(self)
        head = dict(packed_head(*early.head.values()))
        short._engine = self._open_engine({**self._arrays, **head}, first=0, layers=early.layers)
        if self._late:
            short._leaves = TextStates()
            rest = self._open_engine(dict(self._arrays), first=early.layers, layers=self._layers)
            self._rest = rest, short._leaves
        return short

    def _compare(self, texts: Batch, pairs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Late interaction: the logits of pairs of texts, which are read first, or on from the early exit."""
        if self._rest:
            engine, left = self._rest
            found = left.find(texts)
            if found is not None:
                return self._run(engine, texts, found, pairs)
        words = self._words[texts.token_ids]
        states = np.empty_like(words) if self._leaves else None
        logits = self._run(self._engine, texts, words, pairs, states)
        if self._leaves and states is not None:
            self._leaves.keep(texts, states)
        return logits

    def _run(
        self,
        engine: "_native.Engine",
        read: Batch,
        words: States,
        pairs: NDArray[np.int32],
        states: States | None = None,
    ) -> NDArray[np.float32]:
        logits = np.empty(len(pairs) if self._late else len(read), np.float32)
        engine.forward(words, read.type_ids, read.lengths, pairs, logits, self._threads, states)
        return logits

    def profile(self) -> dict[str, float]:
        """Seconds spent so far in each stage, as the first thread saw them."""
        return self._engine.profile()

    def close(self) -> None:
        del self._engine, self._rest, self._words, self._arrays


def _check_sizes(files: ModelFiles, words: int, positions: int, labels: int) -> None:
    vocabulary = int(files.config.get("vocab_size", 0))
    if words < vocabulary or positions < files.usable_length:
        raise BrokenModel(
            f"{files.name}: weights for {words} token ids and {positions} positions, and config.json says {vocabulary} "
            f"and {files.usable_length}. They belong to different models; download both again."
        )
    if labels != 1:
        raise UnsupportedModel(f"{files.name}: has {labels} labels; a reranker has one.")
