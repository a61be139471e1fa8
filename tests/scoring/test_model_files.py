import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from finerank import Reranker
from finerank.errors import BrokenModel, InvalidSetting, ModelNotFound, UnsupportedModel
from finerank.scoring.model_files import ModelFiles, embedded_models, find_model
from finerank.scoring.processor import check_native
from finerank.settings import DEFAULT_MODEL

OWN = "native" if check_native().passed else "torch"
"""What runs a BERT here, on a CPU."""

BGE_RERANKER_V2_M3 = {
    "architectures": ["XLMRobertaForSequenceClassification"],
    "model_type": "xlm-roberta",
    "id2label": {"0": "LABEL_0"},
    "max_position_embeddings": 8194,
    "pad_token_id": 1,
    "type_vocab_size": 1,
}


@pytest.fixture
def folder(make_model, tmp_path) -> Path:
    """A tiny BERT cross-encoder of the test's own."""
    return shutil.copytree(make_model("bert"), tmp_path / "model")


def described_by(config: dict[str, object]) -> ModelFiles:
    return ModelFiles("m", Path(), "torch", config, (Path("model.safetensors"),), Path("tokenizer.json"))


def logits_of(folder: Path, texts: list[str]) -> list[float]:
    return [result.logit for result in Reranker.from_pretrained(folder, device="cpu").rank("what?", texts)]


def reconfigure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def garbled_config(folder: Path) -> None:
    (folder / "config.json").write_text("{not json")


def config_of_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def two_labels(folder: Path) -> None:
    reconfigure(folder, id2label={"0": "no", "1": "yes"})


def two_labels_in_the_weights_alone(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"], weights["classifier.bias"] = torch.zeros(2, 32), torch.zeros(2)
    save_file(weights, folder / "model.safetensors")


def causal_lm(folder: Path) -> None:
    reconfigure(folder, architectures=["Qwen3ForCausalLM"], model_type="qwen3")


def bare_encoder(folder: Path) -> None:
    reconfigure(folder, architectures=["BertModel"])


def no_architecture(folder: Path) -> None:
    reconfigure(folder, architectures=None)


def one_shard_of_two(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def no_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, folder / "model.safetensors")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.txt")


def sentencepiece_for_bert(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "sentencepiece.bpe.model")


def relative_positions(folder: Path) -> None:
    reconfigure(folder, position_embedding_type="relative_key")


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "options", "error", "message"),
    [
        (no_config, {}, BrokenModel, "has no config.json; download the model's folder again"),
        (garbled_config, {}, BrokenModel, "config.json: not readable as JSON: .*; download it again"),
        (config_of_a_list, {}, BrokenModel, "config.json: holds no JSON object; download it again"),
        (no_weights, {}, BrokenModel, r"no weights \(model.safetensors or model.onnx\); download"),
        (pickled_weights, {}, BrokenModel, r"only pickled weights \(pytorch_model.bin\).*save_pretrained\(out\)"),
        (two_labels, {}, UnsupportedModel, "has 2 labels; a reranker has one"),
        (two_labels_in_the_weights_alone, {}, UnsupportedModel, "has 2 labels; a reranker has one"),
        (causal_lm, {}, UnsupportedModel, "a language model .Qwen3ForCausalLM.*such as BAAI/bge-reranker-v2-m3"),
        (bare_encoder, {}, UnsupportedModel, "BertModel, and a reranker is .*has no scoring head"),
        (no_architecture, {}, UnsupportedModel, "names the architecture none"),
        (one_shard_of_two, {}, BrokenModel, "has 1 of 2 weight shards; download the others"),
        (truncated_weights, {}, BrokenModel, r"model\.safetensors: truncated or damaged: .* Download it again"),
        (truncated_weights, {"backend": "transformers"}, BrokenModel, "transformers cannot load it: .*again"),
        (lfs_pointer, {}, BrokenModel, "a Git LFS pointer, not the file; run `git lfs pull`"),
        (no_head, {}, BrokenModel, r"no weights named classifier\.weight\. .*without its head cannot rank"),
        (no_head, {"backend": "transformers"}, BrokenModel, "named classifier.bias. .*without its head cannot rank"),
        (no_tokenizer, {}, UnsupportedModel, "no tokenizer finerank reads: .*AutoTokenizer"),
        (sentencepiece_for_bert, {}, UnsupportedModel, "no tokenizer finerank reads: .*AutoTokenizer"),
        (relative_positions, {}, UnsupportedModel, "relative position embeddings; use backend='transformers'"),
        (nothing, {"dtype": "int8"}, BrokenModel, "no int8 ONNX file; make one with `finerank export .* int8`"),
        (nothing, {"backend": "onnx"}, BrokenModel, "no ONNX file; make one with `finerank export .* fp32`"),
        (empty_weights, {}, BrokenModel, r"model\.safetensors: is empty; download it again"),
        (nothing, {"max_length": 129}, InvalidSetting, "max_length=129: .* has positions for 128 tokens"),
    ],
)
def test_what_is_wrong_with_a_model_is_said_with_its_fix(folder, damage, options, error, message):
    damage(folder)
    with pytest.raises(error, match=message) as caught:
        Reranker.from_pretrained(folder, device="cpu", **options)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("backend", ["auto", "torch", "transformers"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size", "384", "hidden_size is '384', not a whole number from 1 up"),
        ("num_attention_heads", 0, "num_attention_heads is 0, not a whole number from 1 up"),
        ("num_hidden_layers", [6], r"num_hidden_layers is \[6\], not a whole number"),
        ("max_position_embeddings", "512", "max_position_embeddings is '512', not a whole number from 0 up"),
        ("vocab_size", {}, "vocab_size is {}, not a whole number"),
        ("type_vocab_size", "2", "type_vocab_size is '2', not a whole number"),
        ("pad_token_id", "none", "pad_token_id is 'none', not a whole number"),
        ("num_labels", "1", "num_labels is '1', not a whole number"),
        ("finerank_max_length", "long", "finerank_max_length is 'long', not a whole number from 8 up"),
        ("model_type", ["bert"], r"model_type is \['bert'\], not a text"),
        ("hidden_act", ["gelu"], r"hidden_act is \['gelu'\], not a text"),
        ("position_embedding_type", 3, "position_embedding_type is 3, not a text"),
        ("layer_norm_eps", "tiny", "layer_norm_eps is 'tiny', not a number"),
        ("architectures", {"a": 1}, "architectures is {'a': 1}, not a list"),
        ("id2label", 1, "id2label is 1, not an object"),
    ],
)
def test_an_odd_value_in_a_config_is_named(folder, backend, name, value, message):
    reconfigure(folder, **{name: value})
    with pytest.raises(BrokenModel, match=rf"config\.json: {message}.*; download it again"):
        Reranker.from_pretrained(folder, device="cpu", backend=backend)


def test_a_config_of_null_is_no_config(folder):
    (folder / "config.json").write_text("null")
    with pytest.raises(BrokenModel, match=r"config\.json: holds no JSON object"):
        Reranker.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize("headless", [False, True])
def test_a_model_in_8_bits_says_what_trains_and_what_runs_it(headless):
    with pytest.raises(
        BrokenModel, match=r"8 bits only \(model_int8.safetensors\).* backend='auto'; train from .*make mini"
    ):
        find_model(DEFAULT_MODEL, backend="transformers", headless=headless)


@pytest.mark.parametrize("name", ["no-such-model", "./no/such", "../such", "/no/such/folder", "a--b/c", "~/no-such"])
def test_a_name_that_is_nothing_is_not_found(name):
    with pytest.raises(ModelNotFound, match=r"no such folder, not a hub id .*embedded model"):
        find_model(name)


def test_an_onnx_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(ModelNotFound, match="no such file"):
        find_model(tmp_path / "model.onnx")


def test_a_missing_default_model_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("finerank.scoring.model_files.EMBEDDED_DIR", tmp_path)
    with pytest.raises(ModelNotFound, match=f"the default model {DEFAULT_MODEL} is not in .* reinstall"):
        find_model()
    assert embedded_models() == []


def test_the_default_model_is_found_by_no_name_by_its_name_its_folder_and_its_file(default_model):
    assert embedded_models() == [DEFAULT_MODEL]
    weights, graph = default_model / "model_int8.safetensors", default_model / "model_int8.onnx"
    for name in (None, DEFAULT_MODEL, default_model):
        files = find_model(name, device="cpu", backend="native")
        assert (files.folder, files.weights, files.name) == (default_model, (weights,), str(name or DEFAULT_MODEL))
    files = find_model(graph, device="cpu")
    assert (files.folder, files.backend, files.weights) == (default_model, "onnx", (graph, weights))


def test_an_onnx_file_in_a_folder_of_its_own_uses_the_files_above(minilm, tmp_path):
    shutil.copytree(minilm, tmp_path / "m")
    (tmp_path / "m/onnx").mkdir()
    (tmp_path / "m/model.onnx").rename(tmp_path / "m/onnx/model_int8.onnx")
    by_file = find_model(tmp_path / "m/onnx/model_int8.onnx")
    assert by_file == find_model(tmp_path / "m/onnx/model_int8.onnx", dtype="int8")
    assert find_model(tmp_path / "m", dtype="int8").weights == by_file.weights
    assert by_file.tokenizer == tmp_path / "m/tokenizer.json"


def test_an_onnx_file_without_its_config_is_broken_and_says_what_is_missing(minilm, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    for place in ("a/model.onnx", "a/b/model.onnx"):
        shutil.copy(minilm / "model.onnx", tmp_path / place)
        with pytest.raises(BrokenModel, match=r"model\.onnx: has no config\.json beside it or in the folder above"):
            find_model(tmp_path / place)


def test_the_tokenizer_beside_an_onnx_file_wins_over_the_one_above(minilm, tmp_path):
    shutil.copytree(minilm, tmp_path / "m")
    (tmp_path / "m/onnx").mkdir()
    (tmp_path / "m/model.onnx").rename(tmp_path / "m/onnx/model_int8.onnx")
    shutil.copy(minilm / "tokenizer.json", tmp_path / "m/onnx")
    expected = tmp_path / "m/onnx/tokenizer.json"
    assert find_model(tmp_path / "m/onnx/model_int8.onnx").tokenizer == expected
    assert find_model(tmp_path / "m", backend="onnx").tokenizer == expected


def test_training_starts_from_no_classifier_of_several_labels(folder):
    for config in ({"id2label": {"0": "no", "1": "yes"}}, {"num_labels": 2, "id2label": None}):
        reconfigure(folder, **config)
        with pytest.raises(UnsupportedModel, match=r"is a classifier with 2 labels, and a reranker has one.*AutoModel"):
            find_model(folder, headless=True)
    reconfigure(folder, architectures=["BertModel"])
    assert find_model(folder, headless=True).config["num_labels"] == 2


def test_what_runs_a_model_is_read_off_its_files_or_asked_for(folder):
    for name in ("model.onnx", "model.onnx_data"):
        (folder / name).write_text("a graph")
    assert find_model(folder, device="cpu").backend == OWN
    assert find_model(folder, backend="transformers").backend == "transformers"
    onnx = find_model(folder, backend="onnx")
    assert [path.name for path in onnx.weights] == ["model.onnx", "model.onnx_data"]
    reconfigure(folder, model_type="modernbert", architectures=["ModernBertForSequenceClassification"])
    assert find_model(folder).backend == "transformers"


@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_sharded_weights_give_the_same_logits(make_model, tmp_path, model_type, real_texts):
    whole = make_model(model_type)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(whole)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert len(find_model(tmp_path).weights) > 2
    # Not bit for bit: where in memory a weight lies is enough to change the last bit.
    assert logits_of(tmp_path, real_texts[:5]) == pytest.approx(logits_of(whole, real_texts[:5]), abs=1e-5)


@pytest.mark.parametrize(
    ("config", "usable", "tuned", "pad"),
    [
        (BGE_RERANKER_V2_M3, 8192, 1024, 1),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512, 512, 1),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512, 512, 1),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512, 512, 1),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512, 512, 1),
        ({"model_type": "bert", "max_position_embeddings": 512}, 512, 512, 0),
        (
            {"model_type": "modernbert", "max_position_embeddings": 8192, "pad_token_id": 50283},
            8192,
            1024,
            50283,
        ),
        ({"model_type": "deberta-v2"}, 512, 512, 0),
    ],
)
def test_usable_and_tuned_length_are_read_off_the_config(config, usable, tuned, pad):
    files = described_by(config)
    assert (files.usable_length, files.tuned_length, files.pad_id) == (usable, tuned, pad)


def test_the_fingerprint_changes_with_every_file_that_matters(folder):
    seen = {find_model(folder).fingerprint()}
    assert find_model(folder).fingerprint() in seen
    (folder / "README.md").write_text("of no matter")
    assert find_model(folder).fingerprint() in seen
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert weights.stat().st_size == size
    seen.add(find_model(folder).fingerprint())
    reconfigure(folder, layer_norm_eps=1e-5)
    seen.add(find_model(folder).fingerprint())
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("[SEP]", "[sep]", 1))
    seen.add(find_model(folder).fingerprint())
    assert len(seen) == 4


# A hub of our own: as much of huggingface.co as huggingface_hub asks for.


@dataclass
class FakeHub:
    """Serves `owner/name` from a folder, at revisions named main and v1; keeps the requests made."""

    folder: Path
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)

    def commit(self, revision: str) -> str:
        return hashlib.sha1(revision.encode()).hexdigest()

    def files_got(self) -> set[str]:
        parts = (request.split("/resolve/") for request in self.requests if request.startswith("GET"))
        return {part[1].partition("/")[2] for part in parts if len(part) == 2}

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        route, _, _ = path.partition("?")
        commits = {name: self.commit(name) for name in ("main", "v1")}
        commits |= {commit: commit for commit in commits.values()}
        if not route.startswith(("/api/models/owner/name", "/owner/name/resolve/")):
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if route.startswith("/owner/name/resolve/"):
            revision, _, name = route.removeprefix("/owner/name/resolve/").partition("/")
            content = self.content(name)
            return 200, {"X-Repo-Commit": commits[revision], "ETag": f'"{self.blob(content)}"'}, content
        revision = next((part for part in route.split("/")[6:7]), "main")
        if revision not in commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        paths = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(self.folder).as_posix() for path in paths]
        if "/tree/" in route:
            body: object = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(self.content(name)),
                    "oid": self.blob(self.content(name)),
                }
                for name in names
            ]
        else:
            siblings = [{"rfilename": name} for name in names]
            body = {"id": "owner/name", "sha": commits[revision], "siblings": siblings}
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def blob(self, content: bytes) -> str:
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(folder: Path) -> Iterator[FakeHub]:
    for name in ("README.md", "pytorch_model.bin", "onnx/model_int8.onnx", "onnx/model.onnx"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    fake = FakeHub(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.requests.append(f"{self.command} {self.path}")
            status, headers, body = fake.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


LOAD = """
import json, sys, time
from finerank.errors import FinerankError
from finerank.scoring.model_files import find_model
time.sleep = lambda seconds: None  # huggingface_hub waits 23 s for a network that is away
try:
    files = find_model("owner/name" if len(sys.argv) == 2 else sys.argv[2], **json.loads(sys.argv[1]))
    print(json.dumps([str(files.folder), files.backend, *(p.name for p in files.weights)]))
except FinerankError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture
def load(hub: FakeHub, tmp_path: Path):
    """`load(offline=False, endpoint=None, name=None, **options)`: what `find_model` gives or raises.

    In a process of its own, because huggingface_hub reads its environment on import.
    """

    def run(offline=False, endpoint=None, name=None, **options) -> list[str]:
        hub.requests.clear()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "HF_ENDPOINT": endpoint or hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "FINERANK_CACHE_DIR": str(tmp_path / "cache"),
        }
        command = [sys.executable, "-c", LOAD, json.dumps(options), *([name] if name else [])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_only_the_files_needed_are_downloaded_and_only_once(hub, load):
    folder, backend, weights = load()
    assert (backend, weights) == (OWN, "model.safetensors")
    needed = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert hub.files_got() == needed
    assert {path.name for path in Path(folder).iterdir()} == needed
    assert load() == [folder, backend, weights]
    assert hub.requests == []
    assert load(offline=True) == [folder, backend, weights]


def test_a_calibration_comes_along(hub, load):
    (hub.folder / "calibration.json").write_text('{"format": 1, "method": "platt", "slope": 1, "intercept": 0}')
    assert (Path(load()[0]) / "calibration.json").is_file()


def test_a_downloaded_model_ranks_like_its_original(hub, load, real_texts):
    shutil.rmtree(hub.folder / "onnx")
    downloaded = load()[0]
    original = logits_of(hub.folder, real_texts[:3])
    assert logits_of(Path(downloaded), real_texts[:3]) == pytest.approx(original, abs=1e-5)


def test_what_is_cached_does_not_decide_what_is_loaded(hub, load):
    assert load(dtype="int8")[1:] == ["onnx", "model_int8.onnx"]
    assert load(dtype="int8")[1:] == ["onnx", "model_int8.onnx"]
    assert hub.requests == []
    assert load(offline=True)[0] == "ModelNotFound"
    assert load()[1:] == [OWN, "model.safetensors"]
    assert load(dtype="int8")[1:] == ["onnx", "model_int8.onnx"]
    assert hub.requests == []


def test_a_snapshot_another_tool_downloaded_is_used_without_the_network(hub, load, tmp_path):
    folder = load()[0]
    shutil.rmtree(tmp_path / "cache")
    assert load() == [folder, OWN, "model.safetensors"]
    assert hub.requests == []


def test_an_unfinished_download_is_completed(hub, load):
    folder = Path(load()[0])
    blob = (folder / "model.safetensors").resolve()
    blob.unlink()
    (folder / "model.safetensors").unlink()
    failed = load(offline=True)
    assert failed[0] == "ModelNotFound"
    assert load()[0] == str(folder)
    assert hub.files_got() == {"model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == hub.content("model.safetensors")


@pytest.mark.parametrize("sharded", ["bert", "modernbert"])
def test_all_shards_and_their_index_are_downloaded(hub, load, make_model, tmp_path, sharded):
    shutil.rmtree(hub.folder / "onnx")
    (hub.folder / "model.safetensors").unlink()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(make_model(sharded))
    model.save_pretrained(hub.folder, max_shard_size="100KB")
    _, _, *weights = load()
    assert len(weights) > 1
    assert hub.files_got() >= {*weights, "model.safetensors.index.json"}
    assert len(logits_of(Path(load()[0]), ["that", "this"])) == 2


def test_a_revision_is_honoured(hub, load):
    assert Path(load(revision="v1")[0]).name == hub.commit("v1")
    assert any(hub.commit("v1") in request for request in hub.requests)
    assert Path(load()[0]).name == hub.commit("main")
    assert Path(load(offline=True, revision="v1")[0]).name == hub.commit("v1")


def test_offline_and_not_cached_is_not_found_and_names_the_switch(hub, load):
    error, message = load(offline=True)
    assert error == "ModelNotFound"
    assert message == "owner/name: not in the local cache, and HF_HUB_OFFLINE forbids a download."
    assert hub.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "owner/unknown"}, "owner/unknown: cannot be downloaded: .*gated model needs HF_TOKEN"),
        ({"revision": "v2"}, r"owner/name: cannot be downloaded: .*revision \(v2\)"),
        ({"endpoint": "http://127.0.0.1:9"}, "cannot be downloaded: .*refused.*HF_ENDPOINT names a mirror"),
    ],
    ids=["repository", "revision", "network"],
)
def test_what_the_hub_does_not_have_is_not_found(load, options, message):
    error, said = load(**options)
    assert error == "ModelNotFound"
    assert re.search(message, said)


def test_a_repository_of_pickled_weights_is_refused_before_anything_is_downloaded(hub, load):
    (hub.folder / "model.safetensors").unlink()
    shutil.rmtree(hub.folder / "onnx")
    error, message = load()
    assert error == "BrokenModel"
    assert "only pickled weights (pytorch_model.bin)" in message
    assert hub.files_got() == set()
