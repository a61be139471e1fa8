"""Exported models rank as their sources, or are not written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from finerank import InvalidSetting, Reranker
from finerank.training.export import PARITY_LIMITS, Parity, ParityFailed, _kendall_tau, export

MakeModel = Callable[..., Path]


def logits(model: Path, pairs: list[tuple[str, str]], **options: object) -> np.ndarray:
    with Reranker.from_pretrained(model, **options) as reranker:
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


def test_int8_keeps_the_order_and_does_not_depend_on_the_batch(
    make_model: MakeModel, tmp_path: Path, pairs: list[tuple[str, str]]
):
    source, out = make_model("bert"), tmp_path / "onnx"
    export(str(source), out, "int8")
    together = logits(out, pairs)
    alone = logits(out, pairs, deterministic=True)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    exact = logits(source, pairs)
    assert _kendall_tau(together, exact) > 0.9
    assert (out / "model.onnx").stat().st_size < (source / "model.safetensors").stat().st_size


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


def test_onnx_is_not_exported_again(default_model: Path, tmp_path: Path):
    with pytest.raises(InvalidSetting, match="ONNX already"):
        export(str(default_model), tmp_path / "out")
    with pytest.raises(InvalidSetting, match="precision"):
        export(str(default_model), tmp_path / "out", "int4")  # type: ignore[arg-type]
