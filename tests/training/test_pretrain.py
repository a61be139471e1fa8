"""Pretraining from raw text to a folder that training starts from."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from finerank import InvalidSetting, Reranker
from finerank.training.examples import Example
from finerank.training.pretrain import PretrainSettings, pretrain
from finerank.training.train import TrainSettings, train

MakeLists = Callable[..., list[Example]]

TRAINING = TrainSettings(
    max_steps=4, lists_per_step=4, passages=4, learning_rate=1e-3, evaluate_every=2, log_every=1, device="cpu"
)
QUICK = PretrainSettings(passage_characters=120, dev_share=0.2, train=TRAINING)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents that keep to three words each: what goes together can be learned, and what stands beside a gap."""
    words = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("ada", "elo", "iru")]
    folder = tmp_path_factory.mktemp("texts")
    for number in range(120):
        rng = np.random.default_rng(number)
        own = words[3 * (number % 12) : 3 * (number % 12) + 3]
        sentences = [" ".join(rng.choice(own, 4)) + "." for _ in range(10)]
        (folder / f"{number:03}.txt").write_text(" ".join(sentences), encoding="utf-8")
    return folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def test_it_learns_to_fill_gaps_and_to_find_what_belongs_together(tiny_model: Path, texts: Path, tmp_path: Path):
    training = replace(
        TRAINING, max_steps=150, lists_per_step=8, learning_rate=3e-3, evaluate_every=50, log_every=10, dropout=0.0
    )
    record = pretrain(str(tiny_model), texts, tmp_path / "out", settings=replace(QUICK, train=training))
    figures = [entry for entry in record["log"] if "mlm_loss" in entry]
    assert figures[-1]["mlm_loss"] < figures[0]["mlm_loss"] - 1.0
    assert figures[-1]["relevance_loss"] < figures[0]["relevance_loss"]
    assert record["after"]["nDCG@10"] > record["before"]["nDCG@10"] + 0.1
    assert figures[0]["loss"] == pytest.approx(figures[0]["mlm_loss"] + figures[0]["relevance_loss"], rel=1e-3)


def test_training_goes_on_from_its_folder(tiny_model: Path, texts: Path, make_lists: MakeLists, tmp_path: Path):
    record = pretrain(str(tiny_model), texts, tmp_path / "start", settings=QUICK)
    assert record["settings"]["mlm_weight"] == 1.0
    assert record["settings"]["passages"] == 4
    assert "masked words with weight 1.0" in (tmp_path / "start" / "model" / "README.md").read_text(encoding="utf-8")
    assert record["dev"]["examples"] > 10
    assert weights(tmp_path / "start").keys() == load_file(tiny_model / "model.safetensors").keys()
    with Reranker.from_pretrained(tmp_path / "start" / "model") as reranker:
        assert len(reranker.rank("bada", ["bada belo", "dada"])) == 2
    train(str(tmp_path / "start" / "model"), make_lists(8), tmp_path / "out", settings=TRAINING)


class Killed(Exception):
    pass


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 3:
            raise Killed


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(tiny_model: Path, texts: Path, tmp_path: Path):
    pretrain(str(tiny_model), texts, tmp_path / "whole", settings=QUICK)
    with pytest.raises(Killed):
        pretrain(str(tiny_model), texts, tmp_path / "cut", settings=QUICK, callbacks=[Kill()])
    pretrain(str(tiny_model), texts, tmp_path / "cut", settings=QUICK)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (tmp_path / "cut" / "checkpoints" / "checkpoint-4").is_dir()


def test_other_texts_are_another_run(tiny_model: Path, texts: Path, tmp_path: Path):
    with pytest.raises(Killed):
        pretrain(str(tiny_model), texts, tmp_path / "out", settings=QUICK, callbacks=[Kill()])
    fewer = tmp_path / "fewer"
    shutil.copytree(texts, fewer)
    (fewer / "000.txt").unlink()
    with pytest.raises(InvalidSetting, match="begun with another data"):
        pretrain(str(tiny_model), fewer, tmp_path / "out", settings=QUICK)


def test_without_masked_words(tiny_model: Path, texts: Path, tmp_path: Path):
    settings = replace(QUICK, mlm_weight=0.0, dev_share=0.0)
    record = pretrain(str(tiny_model), texts, tmp_path / "out", settings=settings)
    assert record["after"] == {}
    assert not any("mlm_loss" in entry for entry in record["log"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mlm_weight": -1.0}, "mlm_weight=-1.0: must be 0 or more"),
        ({"mlm_weight": "much"}, "mlm_weight='much': must be of type float"),
        ({"passage_characters": 10}, "passage_characters=10: must be 50 or more"),
        ({"dev_share": 1.0}, "dev_share=1.0: must be from 0 to under 1"),
        ({"distill": "kl"}, "pseudo pairs have no teacher"),
        ({"exit_layers": 4}, "exit_layers=4: train the exit when fine-tuning"),
        ({"mlm": 1.0}, "unknown training option 'mlm'"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], message: str):
    with pytest.raises(InvalidSetting, match=message):
        PretrainSettings.of(values)


def test_settings_from_one_table():
    given = PretrainSettings.of({"mlm_weight": 0.5, "learning_rate": 1e-4, "augment": {"typos": 0.1}})
    assert given.mlm_weight == 0.5
    assert given.train.learning_rate == 1e-4
    assert given.train.augment.typos == 0.1
