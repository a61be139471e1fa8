"""A model's own second stage: a cross-encoder in the same folder that rereads the best passages.

config.json describes it under `finerank_second_stage`: its `config` (that of a cross-encoder, see
`finerank.scoring.families`), how many `candidates` it rereads, and the numbers that add the two logits (`SecondStage`).
Its weights lie beside the model's, with the same ending: second.safetensors, second_int8.onnx and so on.
What these lack, such as the word embeddings, is the first model's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from finerank.errors import BrokenModel
from finerank.job import SecondStage
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.scorer import PairScorer

KEY = "finerank_second_stage"
NUMBERS = ("scale", "weight", "bias", "unread")


def second_files(files: ModelFiles) -> ModelFiles | None:
    """The files of a model's second stage, None if it has none. Raises `BrokenModel` if they are not whole."""
    stage = files.config.get(KEY)
    if stage is None:
        return None
    if not isinstance(stage, Mapping) or not isinstance(stage.get("config"), Mapping):
        raise BrokenModel(f"{files.folder / 'config.json'}: {KEY} has no config; download the model again, whole.")
    first, *others = files.weights
    second = first.with_name(first.name.replace("model", "second", 1))
    if not second.is_file():
        raise BrokenModel(f"{second}: is missing, and config.json says there is a second stage; download it again.")
    beside = second.with_suffix(".safetensors")
    weights = (first, *others, second)  # what comes later counts
    if files.backend == "onnx":
        weights = (second, *others, *([beside] if beside.is_file() else []))
    return replace(files, name=f"{files.name} (second stage)", config=dict(stage["config"]), weights=weights)


def second_stage(files: ModelFiles, scorer: PairScorer) -> SecondStage:
    """The second stage that config.json describes, scored by `scorer`. Raises `BrokenModel`."""
    stage: Mapping[str, Any] = files.config[KEY]
    numbers = {name: stage[name] for name in NUMBERS if isinstance(stage.get(name), int | float)}
    candidates = stage.get("candidates")
    if not isinstance(candidates, int) or candidates < 1 or len(numbers) < len(NUMBERS):
        raise BrokenModel(
            f"{files.folder / 'config.json'}: {KEY} needs candidates (1 or more) and {', '.join(NUMBERS)}; download "
            "the model again, whole."
        )
    return SecondStage(scorer, candidates, **numbers)
