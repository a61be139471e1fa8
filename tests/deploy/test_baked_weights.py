"""Packed weights that lie beside a model are used wherever the folder goes, and only for what they were made from."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finerank import Reranker
from finerank.scoring import native_weights
from finerank.scoring.native_weights import cache_file, file_beside
from finerank.scoring.processor import check_native

pytestmark = pytest.mark.skipif(not check_native().passed, reason=check_native().found)


@pytest.fixture
def baked(make_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder, copied elsewhere after its weights were packed beside it; the cache is empty and read-only."""
    monkeypatch.setenv("FINERANK_CACHE_DIR", str(tmp_path / "build"))
    source = make_model("bert", hidden_size=64, intermediate_size=128, num_hidden_layers=1)
    folder = Path(shutil.copytree(source, tmp_path / "model"))
    with Reranker.from_pretrained(str(folder)) as reranker:
        shutil.copyfile(cache_file(reranker.files, int16=True), file_beside(reranker.files, int16=True))
    moved = Path(shutil.copytree(folder, tmp_path / "image/model"))
    monkeypatch.setenv("FINERANK_CACHE_DIR", "/dev/null/cache")
    return moved


def logits(folder: Path) -> list[float]:
    with Reranker.from_pretrained(str(folder)) as reranker:
        return [result.logit for result in reranker.rank("free and equal", ["All are free.", "None is."])]


def test_they_are_used_after_the_folder_was_copied(baked: Path, monkeypatch: pytest.MonkeyPatch):
    expected = logits(baked)
    monkeypatch.setattr(native_weights, "_pack", lambda *_: pytest.fail("packed again"))
    assert logits(baked) == expected


def test_they_are_not_used_for_other_weights_of_the_same_size_and_date(baked: Path, caplog):
    before = logits(baked)
    path = baked / "model.safetensors"
    stat = path.stat()
    changed = {name: np.ascontiguousarray(values[..., ::-1]) for name, values in load_file(path).items()}
    save_file(changed, path, metadata={"format": "pt"})
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert logits(baked) != before
    assert "packed weights are not kept" in caplog.text


def test_damaged_ones_are_made_again(baked: Path):
    expected = logits(baked)
    (packed,) = baked.glob("packed-*.bin")
    packed.write_bytes(packed.read_bytes()[:-20])
    assert logits(baked) == expected
