"""An early exit trained beside the model's own head: see `finerank.scoring.exits`."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from finerank.errors import InvalidSetting, MissingExtra
from finerank.scoring.exits import find_exit
from finerank.scoring.families import FAMILIES, is_late
from finerank.scoring.model_files import EXIT_FILE, ModelFiles

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch import Tensor

    from finerank.scoring.late import compare
except ImportError as error:
    raise MissingExtra("training", "train") from error


def check_exit(files: ModelFiles, layers: int) -> None:
    """Raise `InvalidSetting` if the model cannot have an exit after so many layers."""
    model_type, there = files.config.get("model_type"), files.config.get("num_hidden_layers", 0)
    if model_type not in FAMILIES:
        raise InvalidSetting(f"exit_layers={layers}: for {', '.join(FAMILIES)} models, not {model_type}")
    if layers >= there:
        raise InvalidSetting(f"exit_layers={layers}: the model has {there} layers")


class ExitHead(torch.nn.Module):
    """Scores a pair after `layers` layers as the model's own head does after the last."""

    def __init__(self, layers: int, dense: torch.nn.Module, out: torch.nn.Module, late: bool = False) -> None:
        super().__init__()
        self.layers = layers
        self.late = late
        self.dense = dense
        self.out = out

    @classmethod
    def begin(cls, model: Any, layers: int, files: ModelFiles) -> Self:  # noqa: ANN401 - transformers'
        """The exit that the model has if it is a head after as many layers, else a copy of the last layer's."""
        family = FAMILIES[model.config.model_type]
        dense, out = (copy.deepcopy(model.get_submodule(name)) for name in (family.dense, family.out))
        head = cls(layers, dense, out, is_late(files.config))
        there = find_exit(files)
        if there is not None and there.shared == layers == there.layers:
            head.load_state_dict({name: tensor for name, tensor in load_file(there.path).items() if name != "layers"})
        return head

    def forward(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits [pairs, 1] from the states [pairs, tokens, hidden] after the exit's layer, and the model's inputs."""
        if self.late:
            return compare(self.dense, self.out, hidden, inputs["attention_mask"], inputs["token_type_ids"])
        logits: Tensor = self.out(torch.tanh(self.dense(hidden[:, 0])))
        return logits

    def save(self, folder: Path) -> None:
        """Write it beside the model in `folder`."""
        tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file({**tensors, "layers": torch.tensor([float(self.layers)])}, folder / EXIT_FILE)
