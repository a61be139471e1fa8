"""Examples to the tensors a training step takes: the same encoder and the same length as serving has.

Pairs are sorted by length and padded in small groups, as in serving; a group is one forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from finerank.errors import MissingExtra
from finerank.scoring.batch import Batch, plan_batches
from finerank.scoring.encode import PairEncoder
from finerank.training.augment import Augmentation
from finerank.training.examples import Example

try:
    import torch
    from torch import Tensor
    from torch.utils.data import Dataset
except ImportError as error:
    raise MissingExtra("training", "train") from error


class ExampleSet(Dataset[Example]):
    """Examples, augmented and cut to `passages` passages anew in every epoch; the same again after a resume."""

    def __init__(self, examples: Sequence[Example], passages: int, augmentation: Augmentation, seed: int) -> None:
        self.examples = examples
        self._passages = passages
        self._augmentation = augmentation
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng((self._seed, self._epoch, index))
        return self._augmentation(draw_passages(self.examples[index], self._passages, rng), rng)


def draw_passages(example: Example, count: int, rng: np.random.Generator) -> Example:
    """At most `count` passages: one that is relevant, if any is, and a draw of the others, the rest of the relevant
    ones among them."""
    if len(example.passages) <= count:
        return example
    order = rng.permutation(len(example.passages))
    relevant = [index for index in order if example.labels[index] > 0][:1]
    return _select(example, [*relevant, *(index for index in order if index not in relevant)][:count])


def shuffle_passages(example: Example, rng: np.random.Generator) -> Example:
    """The passages in another order: training files put the answer first, where equal scores would leave it."""
    return _select(example, rng.permutation(len(example.passages)).tolist())


def _select(example: Example, order: Sequence[int]) -> Example:
    return replace(
        example,
        passages=tuple(example.passages[index] for index in order),
        labels=tuple(example.labels[index] for index in order),
        teacher=None if example.teacher is None else tuple(example.teacher[index] for index in order),
    )


@dataclass(frozen=True, slots=True)
class ListCollator:
    """Examples to one training batch, a dict of tensors.

    `groups`: model inputs, int64 [pairs, longest] each; `places`: where in a flat [lists x passages] grid each pair of
    the groups belongs; `grades` and `teacher`: float32 [lists, passages]; `given`: bool, where there is a passage;
    `taught`: bool [lists], where there is a teacher. `takes_types`: whether the model takes token types.
    """

    encoder: PairEncoder
    pad_id: int
    max_batch_tokens: int
    takes_types: bool = True

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        pairs = [pair for example in examples for pair in self._encode(example)]
        plan = plan_batches([len(pair) for pair in pairs], self.max_batch_tokens, padded=True)
        given = _grid([[True] * len(example.passages) for example in examples], False)
        return {
            "groups": [self._inputs(Batch.of([pairs[index] for index in group])) for group in plan],
            "places": given.flatten().nonzero().squeeze(1)[torch.tensor([i for group in plan for i in group])],
            "given": given,
            "grades": _grid([example.labels for example in examples], 0.0),
            "teacher": _grid([example.teacher or [0.0] * len(example.passages) for example in examples], 0.0),
            "taught": torch.tensor([example.teacher is not None for example in examples]),
        }

    def _encode(self, example: Example) -> list[Any]:
        return self.encoder.encode(self.encoder.encode_query(example.query), example.passages)

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        ids, types, mask = map(torch.from_numpy, batch.padded(self.pad_id))
        return {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": types} if self.takes_types else {})}


def _grid(rows: Sequence[Sequence[Any]], fill: Any) -> Tensor:  # noqa: ANN401 - numbers or truth values
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
