"""Candidates by terms, by vectors and by a reranker, and the corpora they come from."""

import json
import sys
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finerank import BrokenModel, InvalidInput, InvalidSetting, MissingExtra
from finerank.retrieval.embed import Vectors, load_embedder
from finerank.testing import stub_reranker
from finerank.text.terms import terms
from finerank.training import candidates
from finerank.training.candidates import Bm25, Nearest, Reranked, read_passages

CORPUS = [
    "The warranty covers two years.",
    "Hold the reset button.",
    "重置路由器管理员密码的方法",
    "Reset the router with the reset button, then reset the password.",
    "ルーターを再起動する",
    "...",
]


class HashEmbedder:
    """A vector of counted terms; prompts are not needed and not given."""

    def embed_queries(self, texts: list[str]) -> Vectors:
        vectors = np.zeros((len(texts), 64), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term in terms(text):
                row[crc32(term.encode()) % 64] += 1
        return vectors

    embed_passages = embed_queries


def test_bm25_finds_shared_terms_in_every_script():
    found = Bm25(CORPUS).search(["reset router", "如何重置密码", "再起動", "unheard of", "?"], 4)
    assert found[0] == [3, 1]
    assert found[1] == [2]
    assert found[2] == [4]
    assert found[3:] == [[], []]


def test_bm25_takes_no_more_than_k():
    assert Bm25(CORPUS).search(["the reset button"], 9) == [[1, 3, 0]]
    assert Bm25(CORPUS).search(["the reset button"], 2) == [[1, 3]]


def test_bm25_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtra, match="evaluate"):
        Bm25(CORPUS)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 40), st.integers(0, 99))
def test_blocks_find_what_one_product_finds(block: int, k: int, seed: int):
    vectors = np.random.default_rng(seed).standard_normal((20, 5)).astype(np.float32)

    class Fixed:
        def embed_queries(self, texts: list[str]) -> Vectors:
            return vectors[: len(texts)] * 3

        def embed_passages(self, texts: list[str]) -> Vectors:
            return vectors

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = [np.argsort(-row)[:k].tolist() for row in unit[:2] @ unit.T]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_BLOCK", block)
        found = Nearest([str(number) for number in range(20)], Fixed()).search(["a", "b"], k)
    assert found == expected
    assert found[0][0] == 0


def test_the_nearest_passage_is_the_most_alike():
    assert [row[0] for row in Nearest(CORPUS, HashEmbedder()).search(["two years", "hold button"], 2)] == [0, 1]


def test_a_reranker_orders_the_candidates_of_another():
    corpus = ["reset " * 9, "reset the router", "nothing"]
    source = Bm25(corpus)
    assert source.search(["reset"], 3) == [[0, 1]]
    reranked = Reranked(source, corpus, stub_reranker(), depth=3)
    assert reranked.search(["reset router", "none"], 1) == [[1], []]


def test_a_reranker_sees_no_more_than_its_depth_unless_more_is_asked_for():
    pairs: list[tuple[str, str]] = []

    class Counting:
        def score_pairs(self, asked):
            asked = list(asked)
            pairs.extend(asked)
            return stub_reranker().score_pairs(asked)

    reranked = Reranked(Nearest(CORPUS, HashEmbedder()), CORPUS, Counting(), depth=2)
    reranked.search(["reset"], 1)
    assert len(pairs) == 2
    reranked.search(["reset"], 4)
    assert len(pairs) == 6


@pytest.mark.parametrize("make", [Bm25, lambda corpus: Nearest(corpus, HashEmbedder())])
def test_an_empty_corpus_is_refused(make):
    with pytest.raises(InvalidInput, match="empty"):
        make([])


def test_passages_are_read_once_each_and_never_blank(tmp_path: Path):
    rows = [{"_id": 1, "title": "T", "text": "a"}, {"text": "b"}, {"text": "b"}, {"text": " "}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "c.tsv").write_text("1\tx\n2\ty\n", encoding="utf-8")
    assert read_passages(tmp_path / "corpus.jsonl") == read_passages(tmp_path) == ["T a", "b"]
    assert read_passages(tmp_path / "c.tsv") == ["x", "y"]


def test_text_files_are_cut_at_the_ends_of_sentences(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.md").write_text("Short one.", encoding="utf-8")
    (tmp_path / "a.txt").write_text("This sentence has six words, indeed. " * 100, encoding="utf-8")
    (tmp_path / "c.pdf").write_bytes(b"%PDF")
    passages = read_passages(tmp_path)
    assert passages[-1] == "Short one."
    assert max(len(terms(passage)) for passage in passages) <= 200
    assert all(passage.endswith(".") for passage in passages)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no"):
        read_passages(tmp_path / "empty")


def test_a_bad_corpus_line_is_named(tmp_path: Path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "a"}\n{"body": "b"}\n', encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"c.jsonl, line 2: 'text'"):
        read_passages(path)


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("kind", ["model2vec", "sentence-transformers"])
def test_embedders_load_from_a_folder(tmp_path: Path, bert_tokenizer: Tokenizer, kind: str):
    vectors = np.random.default_rng(0).standard_normal((bert_tokenizer.get_vocab_size(), 8)).astype(np.float32)
    folder = tmp_path / "model"
    if kind == "model2vec":
        model2vec = pytest.importorskip("model2vec")
        model2vec.StaticModel(vectors, bert_tokenizer).save_pretrained(folder)
    else:
        st_models = pytest.importorskip("sentence_transformers.models")
        sentence_transformers = pytest.importorskip("sentence_transformers")
        module = st_models.StaticEmbedding(bert_tokenizer, embedding_weights=vectors)
        sentence_transformers.SentenceTransformer(modules=[module], prompts={"query": "equal "}).save(str(folder))
    embedder = load_embedder(str(folder), "cpu")
    texts = ["born free", "equal in dignity"]
    assert embedder.embed_passages(texts).shape == (2, 8)
    same = np.allclose(embedder.embed_queries(texts), embedder.embed_passages(texts))
    assert same == (kind == "model2vec"), "a query gets its prompt"


def test_what_is_no_embedder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidSetting, match="no such folder"):
        load_embedder(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}', encoding="utf-8")
    with pytest.raises(BrokenModel, match=r"model\.safetensors"):
        load_embedder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InvalidSetting, match="pip install sentence-transformers"):
        load_embedder(str(tmp_path))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidSetting, match="not JSON"):
        load_embedder(str(tmp_path))


def test_the_embedder_that_ships_inside_finds_a_passage_in_another_language():
    corpus = ["The cat sleeps on the sofa.", "How to reset the router's password", "Flights to Berlin are late today."]
    nearest = Nearest(corpus, load_embedder("finerank-embed"))
    assert nearest.search(["如何重置路由器密码", "猫在沙发上睡觉", "vuelos a Berlín"], 1) == [[1], [0], [2]]
