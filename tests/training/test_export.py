"""Exported models rank as their sources, or are not written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finerank import InvalidSetting, Reranker
from finerank.scoring.int8 import quantise
from finerank.scoring.model_files import find_model
from finerank.scoring.processor import check_native
from finerank.training.export import PARITY_LIMITS, Parity, ParityFailed, _kendall_tau, export

MakeModel = Callable[..., Path]


def logits(model: Path, pairs: list[tuple[str, str]], **options: object) -> np.ndarray:
    """In fp32, where the files allow a choice."""
    exact = {"dtype": "fp32"} if (model / "model.safetensors").exists() else {}
    with Reranker.from_pretrained(model, **exact, **options) as reranker:
        return np.array([pair.logit for pair in reranker.score_pairs(pairs)])


@pytest.fixture(scope="module")
def pairs(real_texts: list[str]) -> list[tuple[str, str]]:
    return [(real_texts[index % 7][:80], text) for index, text in enumerate(real_texts[:40])]


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "modernbert"])
@pytest.mark.filterwarnings("ignore")  # torch's exporter warns of its own internals
def test_fp32_gives_the_same_logits(make_model: MakeModel, tmp_path: Path, family: str, pairs: list[tuple[str, str]]):
    source, out = make_model(family), tmp_path / "onnx"
    parity = export(str(source), out, "fp32")
    assert parity.pairs > 150
    assert parity.kendall_tau > 0.999
    np.testing.assert_allclose(logits(out, pairs), logits(source, pairs), atol=1e-4)


@pytest.fixture(scope="module")
def exported(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model whose rows are whole blocks, its weights of a trained model's size, and its int8 export."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("int8") / "out"
    shutil.copytree(
        make_model("bert", hidden_size=64, intermediate_size=128, num_hidden_layers=1), source, dirs_exist_ok=True
    )
    weights = load_file(source / "model.safetensors")
    small = {name: value * (0.6 if ".layer." in name and value.ndim == 2 else 1) for name, value in weights.items()}
    save_file(small, source / "model.safetensors", {"format": "pt"})
    export(str(source), out, "int8")
    return source, out


def test_int8_keeps_the_order_and_does_not_depend_on_the_batch(
    exported: tuple[Path, Path], pairs: list[tuple[str, str]]
):
    source, out = exported
    together = logits(out, pairs)
    np.testing.assert_allclose(together, logits(out, pairs, deterministic=True), atol=1e-4)
    assert _kendall_tau(together, logits(source, pairs)) > 0.9


def test_int8_of_rows_that_are_no_whole_blocks_is_int8_too(
    make_model: MakeModel, tmp_path: Path, pairs: list[tuple[str, str]]
):
    source, out = make_model("bert", num_hidden_layers=1), tmp_path / "onnx"
    export(str(source), out, "int8")
    assert {file.name for file in out.iterdir()} == {"config.json", "tokenizer.json", "model_int8.onnx"}
    assert find_model(out).uses_operator("MatMulNBits")
    together = logits(out, pairs)
    np.testing.assert_allclose(together, logits(out, pairs, deterministic=True), atol=1e-4)
    assert _kendall_tau(together, logits(source, pairs)) > 0.9


def test_int8_is_one_file_of_weights_for_every_backend(exported: tuple[Path, Path], pairs: list[tuple[str, str]]):
    source, out = exported
    weights, graph = out / "model_int8.safetensors", out / "model_int8.onnx"
    assert weights.stat().st_size < 0.4 * (source / "model.safetensors").stat().st_size
    assert graph.stat().st_size < 100_000
    assert find_model(out, backend="onnx").weights == (graph, weights)
    native = check_native().passed
    assert find_model(out, device="cpu").weights == ((weights,) if native else (graph, weights))
    assert find_model(out, backend="torch").weights == (weights,)
    assert find_model(out, device="cuda").weights == (weights,)
    assert find_model(out, dtype="fp32").weights == (weights,)
    assert find_model(out, dtype="int8", device="cuda").backend == "onnx"


def test_torch_widens_the_8_bits_exactly(exported: tuple[Path, Path], tmp_path: Path, pairs: list[tuple[str, str]]):
    source, out = exported
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    stored = load_file(out / "model_int8.safetensors")
    weights = load_file(source / "model.safetensors")
    widened = 0
    for name in [name for name in weights if f"{name}.scale" in stored]:
        blocks = stored[name].astype(np.float32).reshape(len(weights[name]), -1, 64) - 128
        weights[name] = (blocks * stored[f"{name}.scale"][..., None]).reshape(weights[name].shape)
        widened += 1
    assert widened == 1 + 6  # the words, and six products in the layer
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    np.testing.assert_allclose(logits(out, pairs, backend="torch"), logits(tmp_path, pairs, backend="torch"), atol=1e-4)


def test_the_nearest_of_255_steps_is_kept():
    weight = np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)
    weight[1, :64] = 0
    stored, scale = quantise(weight)
    assert stored.shape == (3, 128)
    assert scale.shape == (3, 2)
    widened = (stored.reshape(3, 2, 64).astype(np.float32) - 128) * scale[..., None]
    steps = np.repeat(scale, 64, axis=1)
    assert (np.abs(widened.reshape(3, 128) - weight) <= 0.5 * steps + 1e-9).all()
    assert not widened[1, 0].any()


def test_a_model_that_ranks_differently_is_not_written(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(PARITY_LIMITS, "fp32", (0.0, 2.0))
    with pytest.raises(ParityFailed, match="Nothing was written"):
        export(str(make_model("bert")), tmp_path / "onnx", "fp32")
    assert list(tmp_path.iterdir()) == []


def test_the_limits_judge_difference_and_order():
    assert Parity(10, 0.001, 20, 1.0).holds("fp32")
    assert not Parity(10, 0.01, 20, 1.0).holds("fp32")
    assert not Parity(10, 0.001, 20, 0.99).holds("fp32")
    assert not Parity(10, 0.1, 20, 0.9).holds("int8")


def test_tau_counts_orders_and_allows_for_ties():
    ascending = np.arange(5.0)
    assert _kendall_tau(ascending, ascending) == 1
    assert _kendall_tau(ascending, -ascending) == -1
    # scipy.stats.kendalltau([1, 2, 2, 4], [1, 3, 2, 4]): 5 / sqrt(5 * 6)
    assert _kendall_tau(np.array([1.0, 2, 2, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(5 / 30**0.5)
    assert _kendall_tau(np.ones(3), np.ones(3)) == 1


@pytest.mark.parametrize("existing", ["file", "folder"])
def test_what_is_there_is_not_overwritten(make_model: MakeModel, tmp_path: Path, existing: str):
    out = tmp_path / "out"
    if existing == "file":
        out.write_text("mine", encoding="utf-8")
    else:
        out.mkdir()
        (out / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidSetting, match="name another"):
        export(str(make_model("bert")), out)


def test_onnx_is_not_exported_again(minilm: Path, tmp_path: Path):
    with pytest.raises(InvalidSetting, match="ONNX already"):
        export(str(minilm), tmp_path / "out")
    with pytest.raises(InvalidSetting, match="precision"):
        export(str(minilm), tmp_path / "out", "int4")  # type: ignore[arg-type]
