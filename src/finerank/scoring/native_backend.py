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
from finerank.scoring.families import ACTIVATIONS, FAMILIES, MAP_AFTER, checked_config, is_late
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.native_weights import Arrays, inner_chunk, packed_exit, packed_weights
from finerank.scoring.processor import check_native, instruction_sets, usable_cpus
from finerank.scoring.states import States, TextStates
from finerank.scoring.tensors import Tensors

PRECISIONS = ("int16", "fp32")

if TYPE_CHECKING:
    from finerank.scoring import _native

_NO_PAIRS, _NO_LOGITS = np.empty((0, 2), np.int32), np.empty(0, np.float32)


class NativeBackend:
    """A reranker read from safetensors. `instruction_set` is the processor's best unless one is named. With late
    interaction `passage_cache_mb` megabytes of what was read last are kept, and as much again of an early exit."""

    padded = False

    def __init__(
        self,
        files: ModelFiles,
        device: Device,
        threads: int | None = None,
        instruction_set: str | None = None,
        passage_cache_mb: int = 0,
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
        self._pack_exit = partial(packed_exit, config, int16=int16)
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
        self._map_after = int(config.get(MAP_AFTER) or 0)
        self._lower: tuple[_native.Engine, States, States] | None = None
        """Of a grafted encoder the layers below the map, and the map: its transposed weight, its bias."""
        if self._map_after:
            weight, bias = (tensors[f"{family.prefix}encoder.map.{part}"][:] for part in ("weight", "bias"))
            below = self._open_engine(dict(self._arrays), first=0, layers=self._map_after, late=True)
            self._lower = below, np.ascontiguousarray(weight.T), bias
        self._open(self._arrays, self._layers, self._layers)
        self._kept = TextStates(passage_cache_mb)
        self._early: tuple[_native.Engine, TextStates] | None = None
        """The layers that the early exit does not share, if there is one, and the states that it goes on from."""

    def _open(self, arrays: Arrays, kept: int, layers: int) -> None:
        """With late interaction the states after `kept` layers are what is kept of a text."""
        first = self._map_after
        self._engine = self._open_engine(dict(arrays), first=first, layers=kept if self._late else layers)
        self._head = self._open_engine(dict(arrays), first=kept, layers=layers) if self._late else self._engine

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        try:
            if self._late:
                return self._compare(*batch.texts())
            logits = np.empty(len(batch), np.float32)
            self._run(self._engine, batch, self._begin(batch), logits)
            return logits
        except MemoryError as error:
            raise OutOfMemory(f"no memory for {len(batch.token_ids)} tokens") from error

    def _begin(self, batch: Batch) -> States:
        """What the engine starts from: the words, or in a grafted encoder the states past the map."""
        words = self._words[batch.token_ids]
        if self._lower is None:
            return words
        below, weight, bias = self._lower
        states = self._room(batch)
        self._run(below, batch, words, states=states)
        mapped: States = states @ weight + bias
        return mapped

    def shortened(self, early: Exit) -> Self:
        """The model up to its early exit; the weights are shared. With late interaction the whole model goes on from
        the states of the layers that are both's."""
        short = copy(self)
        short._open({**self._arrays, **self._pack_exit(early)}, early.shared, early.layers)
        if self._late:
            short._kept, short._early = TextStates(self._kept.megabytes), None
            self._early = self._open_engine(dict(self._arrays), first=early.shared, layers=self._layers), short._kept
        return short

    def _compare(self, texts: Batch, pairs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Late interaction: the logits of pairs of texts, of which those that are not kept are read first."""
        states = self._room(texts)
        missing = self._kept.fill(texts, states)
        if missing.any():
            unread, tokens = texts.only(missing)
            states[tokens] = read = self._read(unread)
            self._kept.keep(unread, read)
        logits = np.empty(len(pairs), np.float32)
        self._run(self._head, texts, states, logits, pairs)
        return logits

    def _read(self, texts: Batch) -> States:
        """The states [tokens, hidden] that the last layer leaves."""
        engine, begin = self._beginning(texts)
        states = self._room(texts)
        self._run(engine, texts, begin, states=states)
        return states

    def _beginning(self, texts: Batch) -> "tuple[_native.Engine, States]":
        """What reads these texts, and from what: the states that the early exit kept if it read all, or their words."""
        if self._early:
            rest, left = self._early
            states = self._room(texts)
            if not left.fill(texts, states).any():
                return rest, states
        return self._engine, self._words[texts.token_ids]

    def _room(self, texts: Batch) -> States:
        return np.empty((len(texts.token_ids), self._words.shape[1]), np.float32)

    def _run(
        self,
        engine: "_native.Engine",
        read: Batch,
        words: States,
        logits: NDArray[np.float32] = _NO_LOGITS,
        pairs: NDArray[np.int32] = _NO_PAIRS,
        states: States | None = None,
    ) -> None:
        engine.forward(words, read.type_ids, read.lengths, pairs, logits, self._threads, states)

    def profile(self) -> dict[str, float]:
        """Seconds spent so far in each stage, as the first thread saw them."""
        engines = {self._engine, self._head, *([self._lower[0]] if self._lower else [])}
        profiles = [engine.profile() for engine in engines]
        return {stage: sum(profile[stage] for profile in profiles) for stage in profiles[0]}

    def close(self) -> None:
        del self._engine, self._head, self._lower, self._early, self._kept, self._words, self._arrays


def _check_sizes(files: ModelFiles, words: int, positions: int, labels: int) -> None:
    vocabulary = int(files.config.get("vocab_size", 0))
    if words < vocabulary or positions < files.usable_length:
        raise BrokenModel(
            f"{files.name}: weights for {words} token ids and {positions} positions, and config.json says {vocabulary} "
            f"and {files.usable_length}. They belong to different models; download both again."
        )
    if labels != 1:
        raise UnsupportedModel(f"{files.name}: has {labels} labels; a reranker has one.")
