import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from finerank.errors import BrokenModel, InvalidSetting
from finerank.retrieval.embed import DEFAULT_EMBEDDER, StaticEmbedder, load_embedder, read_safetensors
from finerank.scoring.model_files import EMBEDDED_DIR

EMBEDDED = EMBEDDED_DIR / DEFAULT_EMBEDDER


def test_static_vectors_are_those_of_model2vec(real_texts: list[str]):
    model2vec = pytest.importorskip("model2vec")
    texts = [*real_texts[:60], "", " ", "\u200b", "重置" * 700]
    expected = model2vec.StaticModel.from_pretrained(str(EMBEDDED)).encode(texts, use_multiprocessing=False)
    found = load_embedder().embed_passages(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("quantised", [False, True])
def test_weights_and_a_mapping_are_read_as_model2vec_does(tmp_path: Path, bert_tokenizer: Tokenizer, quantised: bool):
    model2vec = pytest.importorskip("model2vec")
    words = bert_tokenizer.get_vocab_size()
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((words, 8)).astype(np.float16)
    model = model2vec.StaticModel(vectors, bert_tokenizer, normalize=not quantised, weights=rng.random(words))
    if quantised:
        model = model2vec.quantization and model2vec.StaticModel(
            vectors[:50], bert_tokenizer, normalize=False, token_mapping=rng.integers(0, 50, words)
        )
    model.save_pretrained(tmp_path)
    texts = ["all human beings", "born free and equal", "ξ unknown ψ", ""]
    found = StaticEmbedder(tmp_path).embed_queries(texts)
    np.testing.assert_allclose(found, model.encode(texts, use_multiprocessing=False), atol=1e-3)


def test_a_damaged_model_is_named(tmp_path: Path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((EMBEDDED / name).read_bytes())
    weights = (EMBEDDED / "model.safetensors").read_bytes()
    for broken in (b"", b"\x00" * 7, weights[:5000], weights[:8] + b"[" + weights[9:]):
        (tmp_path / "model.safetensors").write_bytes(broken)
        with pytest.raises(BrokenModel, match="Download it again"):
            load_embedder(str(tmp_path))
    header = json.dumps({"embeddings": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    small = len(header).to_bytes(8, "little") + header + b"\0" * 16
    (tmp_path / "model.safetensors").write_bytes(small)
    assert read_safetensors(tmp_path / "model.safetensors")["embeddings"].shape == (2, 2)
    with pytest.raises(BrokenModel, match="no vector for"):
        load_embedder(str(tmp_path))


def test_an_endpoint_needs_a_models_name():
    with pytest.raises(InvalidSetting, match="embedder_model"):
        load_embedder("http://localhost:1/v1")
