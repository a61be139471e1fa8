"""Folders whose files do not belong together, or want more than data from us, are refused on loading."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from finerank import BrokenModel, InvalidSetting, OutOfMemory, Reranker, UnsupportedModel
from finerank.scoring.encode import PairEncoder
from finerank.scoring.model_files import find_model
from finerank.text.chunk import chunk_spans

MakeModel = Callable[..., Path]


@pytest.fixture
def copy_of(make_model: MakeModel, tmp_path: Path) -> Callable[..., Path]:
    """`copy_of(model_type, **changes)`: a tiny model's folder of its own, with changes to config.json."""

    def copy(source: str, /, **changes: object) -> Path:
        folder = tmp_path / f"{source}-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(make_model(source), folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
        config = {name: value for name, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return copy


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"vocab_size": 50_000}, "different models"),
        ({"vocab_size": 100}, "different models"),
        ({"max_position_embeddings": 8192}, "different models"),
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"num_attention_heads": 5}, "unevenly"),
    ],
)
def test_a_config_of_another_model_is_refused(copy_of: Callable[..., Path], changes: dict[str, object], complaint: str):
    with pytest.raises(BrokenModel, match=complaint):
        Reranker.from_pretrained(copy_of("bert", **changes))


def test_code_in_a_models_folder_is_not_run(copy_of: Callable[..., Path], tmp_path: Path):
    folder = copy_of(
        "bert", model_type="clip_vision_model", auto_map={"AutoModelForSequenceClassification": "evil.Evil"}
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n", encoding="utf-8")
    with pytest.raises(UnsupportedModel, match="not run"):
        Reranker.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


def test_a_backend_that_cannot_run_the_family_is_no_silent_choice(make_model: MakeModel):
    with pytest.raises(UnsupportedModel, match="transformers"):
        find_model(make_model("modernbert"), backend="torch")


def test_the_fingerprint_is_the_content_and_not_the_date(copy_of: Callable[..., Path]):
    one, other = copy_of("bert"), copy_of("bert")
    assert find_model(one).fingerprint() == find_model(other).fingerprint()
    weights = other / "model.safetensors"
    status = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_model(one).fingerprint() != find_model(other).fingerprint()


def test_the_cache_keeps_exact_scores_apart(make_model: MakeModel, tmp_path: Path):
    options = {"cache": str(tmp_path / "scores.db")}
    for deterministic in (False, True):
        with Reranker.from_pretrained(make_model("bert"), deterministic=deterministic, **options) as reranker:
            assert reranker.rank("q", ["one", "two"]).usage.cached == 0
            assert reranker.rank("q", ["one", "two"]).usage.cached == 2


def test_a_quantised_file_is_int8_and_nothing_else(minilm: Path):
    with Reranker.from_pretrained(minilm, dtype="int8") as reranker:
        assert reranker.device.precision == "int8"
    with pytest.raises(InvalidSetting, match="quantised"):
        Reranker.from_pretrained(minilm, dtype="fp32")


def test_an_onnx_file_behind_links_is_found(minilm: Path, tmp_path: Path):
    """As in a hub's cache, where a snapshot is made of links to blobs."""
    for file in minilm.iterdir():
        (tmp_path / file.name).symlink_to(file)
    with Reranker.from_pretrained(tmp_path / "model.onnx") as reranker:
        assert len(reranker.rank("q", ["d"])) == 1


def test_a_model_too_large_for_the_device_says_so(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch):
    def no_room(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.Tensor, "to", no_room)
    with pytest.raises(OutOfMemory, match="smaller model"):
        Reranker.from_pretrained(make_model("bert"), device="cpu", backend="torch")


@pytest.mark.parametrize("separator", [" ", "\n\n", " \n \n "])
def test_passages_fit_where_white_space_costs_tokens(roberta_tokenizer: Tokenizer, separator: str):
    encoder = PairEncoder(roberta_tokenizer, 64)
    text = separator.join(f"Paragraph {number} says little." for number in range(200))
    room = encoder.passage_room(encoder.encode_query("what?"))
    passages = [text[start:end] for start, end in chunk_spans(text, encoder.count_tokens, room, 16)]
    assert len(passages) > 10
    assert max(encoder.count_tokens(passages)) <= room
