"""Training runs from end to end, on a model of two layers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, BertModel, TrainerCallback

from finerank import InvalidInput, InvalidSetting, Reranker
from finerank.errors import BrokenModel, DeviceUnavailable, ParityFailed, TrainingCollapsed
from finerank.training.augment import Augmentation
from finerank.training.examples import Example, write_examples
from finerank.training.export import PARITY_LIMITS
from finerank.training.run import last_checkpoint
from finerank.training.train import TrainSettings, train

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard")

MakeLists = Callable[..., list[Example]]
MakeModel = Callable[..., Path]

QUICK = TrainSettings(
    max_steps=2,
    lists_per_step=4,
    learning_rate=1e-3,
    evaluate_every=2,
    log_every=1,
    device="cpu",
    precision="fp32",
    keep_best=False,
)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def logits(model: Path, examples: list[Example], **options: Any) -> np.ndarray:
    pairs = [(example.query, passage) for example in examples for passage in example.passages]
    with Reranker.from_pretrained(model, **options) as reranker:
        return np.array([pair.logit for pair in reranker.score_pairs(pairs)])


class Probe(TrainerCallback):
    """Keeps the logits that the trainer itself gives to examples, with its last weights."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples
        self.logits = np.array([])

    def on_train_end(self, args, state, control, model=None, train_dataloader=None, **_):
        model.eval()
        with torch.no_grad():
            _, scores = model(**train_dataloader.collate_fn(self.examples))
        self.logits = scores.flatten().numpy()


class ExitProbe(Probe):
    """Keeps the logits of the early exit."""

    def on_train_end(self, args, state, control, model=None, train_dataloader=None, **_):
        model.eval()
        batch, groups = train_dataloader.collate_fn(self.examples), []
        hook = model.early_exit.register_forward_hook(lambda module, given, made: groups.append(made.squeeze(1)))
        with torch.no_grad():
            model(**batch)
        hook.remove()
        flat = torch.cat(groups)
        self.logits = torch.zeros(len(flat)).index_copy(0, batch["places"], flat).numpy()


class Killed(Exception):
    pass


class Kill(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Killed


@pytest.fixture(scope="module")
def long_lists(make_lists: MakeLists) -> list[Example]:
    """Lists whose passages are cut."""
    return [replace(example, language="en") for example in make_lists(12, seed=3, words=50)]


@pytest.fixture(scope="module")
def finished(tiny_model: Path, long_lists: list[Example], tmp_path_factory: pytest.TempPathFactory):
    """A run with everything in its folder, what it returned, and a probe."""
    out, probe = tmp_path_factory.mktemp("run") / "out", Probe(long_lists)
    settings = replace(QUICK, max_length=32, export="fp32")
    record = train(str(tiny_model), long_lists, out, dev=long_lists[:4], settings=settings, callbacks=[probe])
    return out, record, probe


def test_serving_gives_the_logits_that_training_gave(finished, long_lists: list[Example]):
    out, _, probe = finished
    np.testing.assert_allclose(logits(out / "model", long_lists, backend="torch"), probe.logits, atol=1e-4)


def test_serving_reads_as_much_as_training_did(finished, tiny_model: Path):
    out, record, _ = finished
    for model in (out / "model", out / "onnx"):
        with Reranker.from_pretrained(model) as reranker:
            assert reranker.max_length == record["max_length"] == 32
    with Reranker.from_pretrained(tiny_model) as reranker:
        assert reranker.max_length == 64
    assert json.loads((out / "model" / "tokenizer_config.json").read_text())["model_max_length"] == 32


def test_the_export_ranks_alike(finished, long_lists: list[Example]):
    out, _, probe = finished
    np.testing.assert_allclose(logits(out / "onnx", long_lists), probe.logits, atol=1e-4)


def test_the_run_folder_tells_everything(finished, tiny_model: Path):
    out, record, _ = finished
    assert json.loads((out / "run.json").read_text(encoding="utf-8")) == json.loads(json.dumps(record))
    assert record["finished"]
    assert record["model"] == str(tiny_model)
    assert record["settings"]["max_length"] == 32
    assert record["data"]["examples"] == 12
    assert len(record["data"]["sha256"]) == 64
    assert record["dev"]["examples"] == 4
    assert record["languages"] == ["en"]
    assert record["steps"] == 2
    assert set(record["before"]) == set(record["after"]) == {"nDCG@10", "RR@10"}
    assert [entry["step"] for entry in record["log"] if "loss" in entry] == [1, 2]
    assert all(entry["spread"] > 0 for entry in record["log"] if "loss" in entry)
    assert any("eval_nDCG@10" in entry for entry in record["log"])
    assert "12 lists" in (out / "model" / "README.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "logs", "model", "onnx", "run.json"]


def test_tensorboard_reads_the_curves(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "logs"))
    events.Reload()
    assert {"train/loss", "train/spread", "eval/nDCG@10"} <= set(events.Tags()["scalars"])


def test_a_finished_run_is_not_trained_again(finished, tiny_model: Path, long_lists: list[Example]):
    out, _, _ = finished
    with pytest.raises(InvalidSetting, match="holds a finished run"):
        train(str(tiny_model), long_lists, out, dev=long_lists[:4], settings=QUICK)


def test_a_run_whose_export_fails_is_exported_without_training_anew(
    tiny_model: Path, make_lists: MakeLists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lists, out = make_lists(8), tmp_path / "out"
    monkeypatch.setitem(PARITY_LIMITS, "int8", (0.0, 2.0))
    for callbacks in ([], [Kill(1)]):  # the second time there is no step to be killed at
        with pytest.raises(
            ParityFailed, match=r"use fp32\. The trained model is whole, in .*out/model\. .* export='fp32'"
        ):
            train(str(tiny_model), lists, out, settings=replace(QUICK, export="int8"), callbacks=callbacks)
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "logs", "model", "run.json"]
    trained = weights(out)
    with pytest.raises(InvalidSetting, match="begun with another settings"):
        train(str(tiny_model), lists, out, settings=replace(QUICK, export="fp32", seed=1))
    record = train(str(tiny_model), lists, out, settings=replace(QUICK, export="fp32"), callbacks=[Kill(1)])
    assert json.loads((out / "run.json").read_text(encoding="utf-8")) == record
    assert (record["finished"], record["steps"], record["settings"]["export"]) == (True, 2, "fp32")
    assert all(torch.equal(weight, trained[name]) for name, weight in weights(out).items())
    np.testing.assert_allclose(logits(out / "onnx", lists), logits(out / "model", lists), atol=1e-3)
    with pytest.raises(InvalidSetting, match="holds a finished run"):
        train(str(tiny_model), lists, out, settings=replace(QUICK, export="int8"))


def test_training_prints_nothing_on_standard_output(
    tiny_model: Path, make_lists: MakeLists, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    lists = make_lists(8)
    train(str(tiny_model), lists, tmp_path / "out", dev=lists[:2], settings=QUICK)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("step 2 of 2: loss ")
    assert "dev nDCG@10 0." in said.err
    assert said.err.count("\n") == 1


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    settings = replace(QUICK, max_steps=8, passages=4, augment=Augmentation(typos=0.5), dropout=0.2)
    lists = make_lists(10)  # three steps an epoch: the cut lies within the second
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    record = train(str(tiny_model), lists, whole, dev=lists, settings=settings)
    with pytest.raises(Killed):
        train(str(tiny_model), lists, cut, dev=lists, settings=settings, callbacks=[Kill(5)])
    checkpoints = cut / "checkpoints"
    shutil.copytree(checkpoints / "checkpoint-4", checkpoints / "checkpoint-6")
    (checkpoints / "checkpoint-6" / "trainer_state.json").unlink()  # as a kill while saving leaves it
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-4")
    resumed = train(str(tiny_model), lists, cut, dev=lists, settings=settings)
    assert same(whole, cut)
    assert resumed["after"] == record["after"]
    losses = [[entry["loss"] for entry in each["log"] if "loss" in entry] for each in (record, resumed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8


def test_a_run_killed_at_its_very_end_goes_on_to_the_end(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    lists, out = make_lists(8), tmp_path / "out"
    train(str(tiny_model), lists, out, settings=QUICK)
    trained = weights(out)
    (out / "run.json").write_text((out / "run.json").read_text().replace('"finished": true', '"finished": false'))
    shutil.rmtree(out / "model")
    train(str(tiny_model), lists, out, settings=QUICK)
    assert all(torch.equal(trained[name], value) for name, value in weights(out).items())


def command(model: Path, data: Path, out: Path, *options: str) -> list[str]:
    """The arguments of `finerank train` on a CPU, without dev lists."""
    given = [word for option in (*options, "device=cpu") for word in ("--set", option)]
    return ["finerank", "train", str(model), str(data), "--out", str(out), "--dev-share", "0", "--json", *given]


@pytest.fixture
def data(make_lists: MakeLists, tmp_path: Path) -> Path:
    write_examples(tmp_path / "lists.jsonl", make_lists(100))
    return tmp_path / "lists.jsonl"


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on(tiny_model: Path, data: Path, tmp_path: Path):
    cut, whole = (
        [sys.executable, "-W", "ignore", "-m", *command(tiny_model, data, tmp_path / name, *options)]
        for options in [("max_steps=120", "lists_per_step=2", "evaluate_every=20")]
        for name in ("cut", "whole")
    )
    victim = subprocess.Popen(cut, stdout=subprocess.DEVNULL)
    while victim.poll() is None and last_checkpoint(tmp_path / "cut" / "checkpoints") is None:
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    for each in (cut, whole):
        subprocess.run(each, check=True, stdout=subprocess.DEVNULL)
    assert same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_several_processes_train_one_model(tiny_model: Path, data: Path, tmp_path: Path):
    launch = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
    ]
    options = ("lists_per_step=10", "evaluate_every=2", "augment.typos=0.1")
    done = subprocess.run([*launch, *command(tiny_model, data, tmp_path / "out", *options)], stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert json.loads(done.stdout)["steps"] == 5  # 100 lists, 10 on each
    assert len(logits(tmp_path / "out" / "model", [Example("bada", ("bada", "belo"), (1.0, 0.0))])) == 2


def test_a_little_model_learns_what_it_can_apply_to_lists_it_has_not_seen(
    tiny_model: Path, make_lists: MakeLists, tmp_path: Path
):
    settings = TrainSettings(
        epochs=5, learning_rate=3e-3, dropout=0.0, weight_decay=0.0, evaluate_every=50, device="cpu"
    )
    record = train(str(tiny_model), make_lists(800), tmp_path / "out", dev=make_lists(100, seed=1), settings=settings)
    assert record["after"]["nDCG@10"] > record["before"]["nDCG@10"] + 0.1
    assert record["after"]["nDCG@10"] == max(entry.get("eval_nDCG@10", 0) for entry in record["log"])


def test_the_best_checkpoint_is_kept(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    lists = make_lists(8)
    settings = replace(QUICK, max_steps=6, learning_rate=0.03, keep_best=True)
    record = train(str(tiny_model), lists, tmp_path / "out", dev=make_lists(30, seed=5), settings=settings)
    measured = [entry["eval_nDCG@10"] for entry in record["log"] if "eval_nDCG@10" in entry]
    assert len(set(measured)) > 1
    assert record["after"]["nDCG@10"] == max(measured)


def test_an_absurd_learning_rate_is_explained(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    settings = replace(QUICK, learning_rate=1e30, max_steps=20, warmup=0.0)
    with pytest.raises(TrainingCollapsed, match="Lower learning_rate"):
        train(str(tiny_model), make_lists(8), tmp_path / "out", settings=settings)


def test_lora_is_merged_into_a_model_like_any_other(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    lists, probe = make_lists(8), Probe(make_lists(4, seed=2))
    settings = replace(QUICK, lora_rank=2, learning_rate=0.05)
    train(str(tiny_model), lists, tmp_path / "out", settings=settings, callbacks=[probe])
    before, after = load_file(tiny_model / "model.safetensors"), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "bert.encoder.layer.0.attention.self.query.weight" in moved
    assert "classifier.weight" in moved
    assert "bert.embeddings.word_embeddings.weight" not in moved
    np.testing.assert_allclose(
        logits(tmp_path / "out" / "model", probe.examples, dtype="fp32"), probe.logits, atol=1e-4
    )


def test_frozen_embeddings_stay(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    train(str(tiny_model), make_lists(8), tmp_path / "out", settings=replace(QUICK, embeddings_rate=0))
    before, after = load_file(tiny_model / "model.safetensors"), weights(tmp_path / "out")
    unmoved = {name for name in before if torch.equal(before[name], after[name])}
    assert unmoved == {"bert.embeddings.word_embeddings.weight"}


def test_embeddings_take_larger_steps(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    words = "bert.embeddings.word_embeddings.weight"
    before, moved = load_file(tiny_model / "model.safetensors")[words], []
    for rate in (1.0, 5.0):
        settings = replace(QUICK, embeddings_rate=rate, max_steps=1)
        train(str(tiny_model), make_lists(8), tmp_path / str(rate), settings=settings)
        moved.append(float((weights(tmp_path / str(rate))[words] - before).abs().max()))
    assert moved[1] == pytest.approx(5 * moved[0], rel=0.01)


def test_bf16_trains_weights_of_full_precision(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    record = train(str(tiny_model), make_lists(8), tmp_path / "out", settings=replace(QUICK, precision="bf16"))
    exact = train(str(tiny_model), make_lists(8), tmp_path / "exact", settings=QUICK)
    first, other = (each["log"][0]["loss"] for each in (record, exact))
    assert first != other
    assert first == pytest.approx(other, rel=0.02)
    assert {value.dtype for value in weights(tmp_path / "out").values()} == {torch.float32}


@pytest.mark.parametrize("distill", ["kl", "margin-mse"])
def test_distillation_pulls_towards_the_teacher(tiny_model: Path, make_lists: MakeLists, tmp_path: Path, distill: str):
    lists = [replace(each, teacher=tuple(-2 * label for label in each.labels)) for each in make_lists(4)]
    settings = replace(QUICK, max_steps=25, learning_rate=3e-3, distill=distill, distill_weight=1.0, dropout=0.0)
    train(str(tiny_model), lists, tmp_path / "out", settings=settings)  # a teacher who errs is followed all the same
    scores = logits(tmp_path / "out" / "model", lists).reshape(4, 6)
    labels = np.array([each.labels for each in lists])
    assert scores[labels == 1].mean() < scores[labels == 0].mean() - 0.5


@pytest.mark.parametrize("loss", ["ordinal", "mse"])
def test_graded_losses_take_the_grades_of_the_data(tiny_model: Path, make_lists: MakeLists, tmp_path: Path, loss: str):
    lists = [replace(each, labels=tuple(3 * label for label in each.labels)) for each in make_lists(8)]
    record = train(str(tiny_model), lists, tmp_path / "out", settings=replace(QUICK, loss=loss))
    assert all(np.isfinite(entry["loss"]) for entry in record["log"] if "loss" in entry)
    assert "thresholds" not in weights(tmp_path / "out")
    assert len(logits(tmp_path / "out" / "model", lists[:1])) == 6


@pytest.mark.parametrize("family", ["roberta", "modernbert", "deberta-v2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit in deberta-v2
def test_other_families_train_and_serve(make_model: MakeModel, tmp_path: Path, family: str):
    lists = [Example("human rights", ("All are born free.", "The router is black."), (1.0, 0.0))] * 4
    probe = Probe(lists[:1])
    train(str(make_model(family)), lists, tmp_path / "out", settings=QUICK, callbacks=[probe])
    np.testing.assert_allclose(logits(tmp_path / "out" / "model", lists[:1], dtype="fp32"), probe.logits, atol=1e-4)


def test_a_bare_encoder_gets_a_head(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    encoder = tmp_path / "encoder"
    BertModel.from_pretrained(tiny_model, add_pooling_layer=False).save_pretrained(encoder)
    shutil.copy(tiny_model / "tokenizer.json", encoder)
    outs = [tmp_path / name for name in ("one", "again", "another")]
    for out, seed in zip(outs, (0, 0, 1), strict=True):
        train(str(encoder), make_lists(8), out, settings=replace(QUICK, seed=seed))
    assert len(logits(outs[0] / "model", make_lists(1))) == 6
    assert same(outs[0], outs[1])
    assert not same(outs[0], outs[2])


def test_new_examples_between_epochs(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    fresh, seen = make_lists(8, seed=9), []

    def refresh(model: Path, examples: list[Example]) -> list[Example]:
        seen.append((len(logits(model, examples[:1])), list(examples)))
        return fresh

    settings = replace(QUICK, max_steps=0, epochs=2, evaluate_every=1)
    plain, mined, cut = tmp_path / "plain", tmp_path / "mined", tmp_path / "cut"
    train(str(tiny_model), make_lists(8), plain, settings=settings)
    train(str(tiny_model), make_lists(8), mined, settings=settings, refresh=refresh)
    assert seen == [(6, make_lists(8))]
    assert not same(plain, mined)
    assert not (mined / "now").exists()
    with pytest.raises(Killed):
        train(str(tiny_model), make_lists(8), cut, settings=settings, refresh=refresh, callbacks=[Kill(3)])
    train(str(tiny_model), make_lists(8), cut, settings=settings, refresh=refresh)
    assert len(seen) == 2  # what was mined before the cut is read, not mined again
    assert same(mined, cut)


def test_a_refresh_keeps_the_number_of_examples(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    settings = replace(QUICK, max_steps=0, epochs=2)
    with pytest.raises(InvalidInput, match="refresh gave 3 examples for 8"):
        train(
            str(tiny_model),
            make_lists(8),
            tmp_path / "out",
            settings=settings,
            refresh=lambda _, examples: examples[:3],
        )


def test_a_start_with_the_head_of_another_task_is_refused_and_leaves_the_folder_free(
    tiny_model: Path, make_lists: MakeLists, tmp_path: Path
):
    lists, out = make_lists(8), tmp_path / "out"
    tags = shutil.copytree(tiny_model, tmp_path / "tags")
    model = AutoModelForTokenClassification.from_pretrained(tiny_model, num_labels=3, ignore_mismatched_sizes=True)
    model.save_pretrained(tags)
    with pytest.raises(BrokenModel, match=r"weights named classifier.* are \[3.*start from the encoder without it"):
        train(str(tags), lists, out, settings=QUICK)
    assert not out.exists()
    assert train(str(tiny_model), lists, out, settings=QUICK)["finished"]


def test_the_folder_of_another_run_is_refused(tiny_model: Path, make_lists: MakeLists, tmp_path: Path):
    lists, out = make_lists(8), tmp_path / "out"
    with pytest.raises(Killed):
        train(str(tiny_model), lists, out, settings=QUICK, callbacks=[Kill(1)])
    with pytest.raises(InvalidSetting, match="begun with another settings"):
        train(str(tiny_model), lists, out, settings=replace(QUICK, seed=1))
    with pytest.raises(InvalidSetting, match="begun with another data"):
        train(str(tiny_model), lists[1:], out, settings=QUICK)
    with pytest.raises(InvalidSetting, match="begun with another dev"):
        train(str(tiny_model), lists, out, dev=lists, settings=QUICK)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidSetting, match="not a run of ours"):
        train(str(tiny_model), lists, strange, settings=QUICK)
    assert [path.name for path in strange.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss='hinge': must be one of bce, .*ordinal"),
        ({"distill": "l1"}, "distill='l1': must be one of empty, margin-mse, kl"),
        ({"epochs": 0}, "epochs=0: must be above 0"),
        ({"learning_rate": -1e-5}, "learning_rate=-1e-05: must be above 0"),
        ({"warmup": 2.0}, "warmup=2.0: must be between 0 and 1"),
        ({"max_steps": -1}, "max_steps=-1: must be 0 or more"),
        ({"passages": 1}, "passages=1: a list needs 2"),
        ({"epochs": "many"}, "epochs='many': must be of type float"),
        ({"keep_best": 1}, "keep_best=1: must be of type bool"),
        ({"seed": True}, "seed=True: must be of type int"),
        ({"max_length": "long"}, "max_length='long': must be of type int"),
        ({"precision": "int8"}, "precision='int8': must be one of auto, fp32, fp16, bf16"),
        ({"learning_rat": 1e-5}, "unknown training option 'learning_rat'; the options are accumulate, augment"),
        ({"augment": {"typo": 0.1}}, "unknown training option 'typo'; the options are dictionary"),
        ({"augment": {"typos": 2.0}}, "typos=2.0"),
        ({"augment": 1}, "augment=1: must be a table"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str):
    with pytest.raises(InvalidSetting, match=message):
        TrainSettings.of(settings)


def test_settings_from_a_table():
    settings = TrainSettings.of({"loss": "lambda", "epochs": 2, "augment": {"typos": 0.5}})
    assert settings == TrainSettings(loss="lambda", epochs=2, augment=Augmentation(typos=0.5))


@pytest.mark.parametrize(
    ("examples", "settings", "message"),
    [
        ([], QUICK, "no training examples"),
        ([Example("q", ("a", "b"), (1.0, 1.0))], QUICK, "nothing to learn an order from"),
        ([Example("q", ("a", "b"), (1.0, 0.0))], replace(QUICK, distill="kl"), "no example has a teacher's scores"),
    ],
)
def test_data_that_teaches_nothing_is_refused(
    tiny_model: Path, tmp_path: Path, examples: list[Example], settings: TrainSettings, message: str
):
    with pytest.raises(InvalidInput, match=message):
        train(str(tiny_model), examples, tmp_path / "out", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_what_the_model_or_the_machine_cannot_do_is_refused(
    tiny_model: Path, make_lists: MakeLists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(InvalidSetting, match=r"max_length=65: .*has positions for 64 tokens"):
        train(str(tiny_model), make_lists(8), tmp_path / "out", settings=replace(QUICK, max_length=65))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailable, match="device='cuda': torch sees none"):
        train(str(tiny_model), make_lists(8), tmp_path / "out", settings=replace(QUICK, device="cuda"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("late", [False, True])
def test_an_exit_is_trained_kept_and_trained_on(
    make_model: MakeModel, late_model: Path, make_lists: MakeLists, tmp_path: Path, late: bool
) -> None:
    examples = make_lists(24)
    settings, probe = replace(QUICK, exit_layers=1, max_steps=100, learning_rate=4e-3), ExitProbe(examples[:4])
    record = train(
        str(late_model if late else make_model("bert")),
        examples,
        tmp_path / "run",
        settings=replace(settings, export="fp32"),
        callbacks=[probe],
    )
    losses = [entry["exit_loss"] for entry in record["log"] if "exit_loss" in entry]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    model, run = tmp_path / "run" / "model", tmp_path / "run" / "onnx"
    trained = load_file(model / "exit.safetensors")
    assert all(torch.equal(trained[name], tensor) for name, tensor in load_file(run / "exit.safetensors").items())
    pairs = [(example.query, passage) for example in examples[:4] for passage in example.passages]
    with Reranker.from_pretrained(model, effort="fast", dtype="fp32", device="cpu") as reranker:
        encoded = [pair for query, passage in pairs for pair in reranker.encode(query, [passage]).pairs]
        served = reranker.first_look.scorer.score(encoded).logits
    np.testing.assert_allclose(served, probe.logits, atol=1e-4)
    train(str(model), examples, tmp_path / "again", settings=replace(settings, max_steps=1, learning_rate=1e-9))
    again = load_file(tmp_path / "again" / "model" / "exit.safetensors")
    assert all(torch.allclose(again[name], tensor, atol=1e-6) for name, tensor in trained.items())


def test_an_exit_that_cannot_be_is_refused(make_model: MakeModel, make_lists: MakeLists, tmp_path: Path) -> None:
    def attempt(model_type: str, layers: int) -> None:
        settings = replace(QUICK, exit_layers=layers)
        train(str(make_model(model_type)), make_lists(4), tmp_path / "run", settings=settings)

    with pytest.raises(InvalidSetting, match="exit_layers=3: the model has 3 layers"):
        attempt("bert", 3)
    with pytest.raises(InvalidSetting, match=r"exit_layers=1: for bert, .* models, not modernbert"):
        attempt("modernbert", 1)
    with pytest.raises(InvalidSetting, match="exit_layers: trains the layers below it whole"):
        replace(QUICK, exit_layers=1, lora_rank=2)
