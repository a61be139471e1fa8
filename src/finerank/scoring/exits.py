"""A model's early exit: a scoring head of its own after the first layers, in exit.safetensors beside the weights.

It is the head of the model's last layer in form (`finerank.scoring.families`), in float32. Training makes it
(`exit_layers`); `effort="fast"` sorts out with it what cannot reach the top.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel
from finerank.scoring.model_files import EXIT_FILE, ModelFiles
from finerank.scoring.tensors import Tensors


@dataclass(frozen=True, slots=True, eq=False)
class Exit:
    """The head after `layers` layers: dense.weight [hidden, hidden], dense.bias [hidden], out.weight [1, hidden] and
    out.bias [1], in this order."""

    layers: int
    head: Mapping[str, NDArray[np.float32]]


def find_exit(files: ModelFiles) -> Exit | None:
    """The exit of a model, None if it has none. Raises `BrokenModel` if it does not fit the model's config."""
    path, config = files.folder / EXIT_FILE, files.config
    if not path.is_file():
        return None
    tensors = Tensors([path])
    hidden = config["hidden_size"]
    shapes = {"dense.weight": (hidden, hidden), "dense.bias": (hidden,), "out.weight": (1, hidden), "out.bias": (1,)}
    head = {name: tensors[name][:] for name in shapes}
    layers = int(tensors["layers"][:][0])
    if any(head[name].shape != shape for name, shape in shapes.items()):
        raise BrokenModel(f"{path}: belongs to a model of another size; download the model's folder again, whole.")
    if not all(np.isfinite(array).all() for array in head.values()):
        raise BrokenModel(f"{path}: holds NaN or infinity; download it again.")
    if not 0 < layers < config["num_hidden_layers"]:
        raise BrokenModel(f"{path}: an exit after layer {layers} of {config['num_hidden_layers']}; download it again.")
    return Exit(layers, head)
