"""Pretraining on raw text: relevance on pseudo pairs and masked words, in one forward pass; a run's folder out.

pretrain("xlm-roberta-base", Path("texts"), Path("runs/start"), settings=PretrainSettings(mlm_weight=1.0))
train("runs/start/model", examples, Path("runs/mine"))
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from finerank.errors import InvalidSetting, MissingExtra
from finerank.scoring.tokenizer import load_tokenizer
from finerank.training.options import TrainSettings, check_names, check_types, names, option
from finerank.training.pseudo import Passage, PseudoLists, cut_passages, read_documents
from finerank.training.run import Plan, Start, execute
from finerank.training.train import make_scorer

try:
    import torch
    from transformers import TrainerCallback

    from finerank.training.masking import MaskingCollator, MaskingScorer, Words, find_head
except ImportError as error:
    raise MissingExtra("pretraining", "train") from error


DEV_LISTS = 500
"""Lists ranked at an evaluation, at most: 2% of a large corpus would take longer than the steps between two."""


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """What to make of raw text, and how to train on it."""

    mlm_weight: float = option(1.0, "of the masked words' loss beside that of relevance; 0 leaves them out")
    passage_characters: int = option(500, "the longest passage that texts are cut into")
    dev_share: float = option(0.02, "the part of the documents that is held out, to watch nDCG@10 on")
    train: TrainSettings = field(default_factory=TrainSettings, metadata={"help": "a table of training options"})

    def __post_init__(self) -> None:
        check_types(self)
        if self.mlm_weight < 0:
            raise InvalidSetting(f"mlm_weight={self.mlm_weight}: must be 0 or more")
        if self.passage_characters < 50:
            raise InvalidSetting(f"passage_characters={self.passage_characters}: must be 50 or more")
        if not 0 <= self.dev_share < 1:
            raise InvalidSetting(f"dev_share={self.dev_share}: must be from 0 to under 1")
        if self.train.distill:
            raise InvalidSetting(f"distill={self.train.distill!r}: pseudo pairs have no teacher; leave it out")
        if self.train.exit_layers:
            raise InvalidSetting(
                f"exit_layers={self.train.exit_layers}: train the exit when fine-tuning, with `finerank train`"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a table of TOML or JSON that holds the training options beside our own. Raises `InvalidSetting`."""
        own = set(names(cls)) - {"train"}
        check_names(values, sorted([*own, *names(TrainSettings)]))
        training = TrainSettings.of({name: value for name, value in values.items() if name not in own})
        return cls(**{name: value for name, value in values.items() if name in own}, train=training)

    def described(self) -> dict[str, Any]:
        """As one table, which `of` reads."""
        own = asdict(self)
        return {**own.pop("train"), **own}


def pretrain(
    model: str,
    texts: Path,
    out: Path,
    *,
    settings: PretrainSettings | None = None,
    callbacks: Iterable[TrainerCallback] = (),
) -> dict[str, Any]:
    """Pretrain `model` on the folder or file `texts` (see `read_documents`) into the folder `out`.

    A run that was cut off goes on, and one that collapses stops, as `train` has it. Returns what run.json says.
    """
    settings = settings or PretrainSettings()
    how = settings.train
    start = Start.find(model, how.max_length)
    passages = cut_passages(read_documents(texts), settings.passage_characters)
    held_out, rest = _hold_out(passages, settings.dev_share, how.seed)
    lists = PseudoLists(rest, how.passages, how.seed, how.augment)
    dev = list(islice(PseudoLists(held_out, how.passages, how.seed), DEV_LISTS)) if held_out else []
    words = Words.of(load_tokenizer(start.files.tokenizer), model) if settings.mlm_weight else None

    def scorer(cross_encoder: torch.nn.Module) -> torch.nn.Module:
        ranking = make_scorer(cross_encoder, 1.0, how, start)
        return MaskingScorer(ranking, find_head(start.files), settings.mlm_weight) if words else ranking

    plan = Plan(
        start=start,
        data=lists,
        examples=len(lists),
        sha256=_fingerprint(rest),
        dev=dev,
        settings=how,
        described=settings.described(),
        scorer=scorer,
        collator=(lambda collator: MaskingCollator(collator, words, how.seed)) if words else None,
        callbacks=[*callbacks],
    )
    return execute(plan, out)


def _hold_out(passages: Sequence[Passage], share: float, seed: int) -> tuple[list[Passage], list[Passage]]:
    """The passages of a draw of the documents, and those of the others."""
    documents = sorted({passage.document for passage in passages})
    order = np.random.default_rng(seed).permutation(documents)
    held_out = {int(document) for document in order[: round(share * len(documents))]}
    chosen = [passage for passage in passages if passage.document in held_out]
    return chosen, [passage for passage in passages if passage.document not in held_out]


def _fingerprint(passages: Iterable[Passage]) -> str:
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage.document}\0{passage.title}\0{passage.text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
