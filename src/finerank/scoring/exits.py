"""A model's early exit: a scoring head after its first layers, in exit.safetensors beside the weights.

It is the head of the model's last layer in form (`finerank.scoring.families`), in float32, and may have layers of its
own before it, which go on from the first ones where the model's next would. Training makes one (`exit_layers`);
`effort="fast"` sorts out with it what cannot reach the top.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finerank.errors import BrokenModel
from finerank.scoring.model_files import EXIT_FILE, ModelFiles
from finerank.scoring.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Exit:
    """What follows the first `shared` layers, in the file at `path`: `own` layers, layer.0 and so on, and the head:
    dense.weight [hidden, hidden], dense.bias [hidden], out.weight [1, hidden] and out.bias [1]."""

    path: Path
    shared: int
    own: int

    @property
    def layers(self) -> int:
        """All that a pair goes through."""
        return self.shared + self.own


def find_exit(files: ModelFiles) -> Exit | None:
    """The exit of a model, None if it has none. Raises `BrokenModel` if it does not fit the model's config."""
    path, config = files.folder / EXIT_FILE, files.config
    if not path.is_file():
        return None
    tensors, hidden = Tensors([path]), config["hidden_size"]
    shapes = {"dense.weight": (hidden, hidden), "dense.bias": (hidden,), "out.weight": (1, hidden), "out.bias": (1,)}
    if any(tensors[name].shape != shape for name, shape in {**shapes, "layers": (1,)}.items()):
        raise BrokenModel(f"{path}: belongs to a model of another size; download the model's folder again, whole.")
    if not all(np.isfinite(tensors[name][:]).all() for name in tensors.names()):
        raise BrokenModel(f"{path}: holds NaN or infinity; download it again.")
    shared = int(tensors["layers"][:][0])
    own = len({name.split(".")[1] for name in tensors.names() if name.startswith("layer.")})
    if not 0 < shared <= shared + own < config["num_hidden_layers"]:
        raise BrokenModel(
            f"{path}: an exit after layer {shared + own} of {config['num_hidden_layers']}; download it again."
        )
    return Exit(path, shared, own)
