"""The folders the systems load, made once: ms-marco-MiniLM-L-12-v2 in every format, from its int8 file, and
bge-reranker-v2-m3's architecture with random weights.

python -m benchmarks.models fp32 flashrank    make these now, in this interpreter
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paths import ASSETS, ROOT, python

NAME = "ms-marco-MiniLM-L-12-v2"
INT8 = ASSETS / f"{NAME}-int8"
FP32 = ASSETS / f"{NAME}-fp32"

M3_TOKENIZER = ASSETS / "xlm-roberta-tokenizer/tokenizer.json"
M3_CONFIG: dict[str, Any] = {
    "architectures": ["XLMRobertaForSequenceClassification"],
    "model_type": "xlm-roberta",
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 250002,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 1,
}

_SPECIAL_TOKENS = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}


@dataclass(frozen=True, slots=True)
class Model:
    """A folder and how to make it; `environment` is the one that can, `keep` whether a copy from before will do."""

    folder: Path
    make: Callable[[Path], None]
    environment: str = "main"
    keep: bool = True


def folder_of(name: str) -> Path:
    """The folder of a model, made if it is not there. Raises `RuntimeError` with the reason if it cannot be."""
    model = MODELS[name]
    if model.keep and model.folder.is_dir():
        return model.folder
    command = [str(python(model.environment)), "-m", "benchmarks.models", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"model {name} cannot be made: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
        )
    return model.folder


def make(name: str) -> None:
    """Make a model's folder, whole or not at all."""
    model = MODELS[name]
    part = model.folder.with_name(f"{model.folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    model.make(part)
    shutil.rmtree(model.folder, ignore_errors=True)
    part.rename(model.folder)


def _shipped(folder: Path) -> None:
    raise RuntimeError(f"{INT8} is missing; `python tools/fetch_assets.py minilm` fetches it")


def _fp32(folder: Path) -> None:
    from safetensors.numpy import save_file

    from benchmarks.dequantise import float32_weights

    _tokenizer_and_config(folder)
    save_file(float32_weights(INT8 / "model.onnx"), folder / "model.safetensors", {"format": "pt"})


def _flashrank(folder: Path) -> None:
    """What FlashRank would download: `Ranker` looks for this name under its cache_dir."""
    _tokenizer_and_config(folder / NAME)
    shutil.copy(INT8 / "model.onnx", folder / NAME / "flashrank-MiniLM-L-12-v2_Q.onnx")


def _tokenizer_and_config(folder: Path) -> None:
    """As published, but for the fixed padding and truncation to 512 that the int8 folder's tokenizer.json asks for."""
    from tokenizers import Tokenizer

    folder.mkdir(parents=True)
    tokenizer = Tokenizer.from_file(str(INT8 / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copy(INT8 / "tokenizer_config.json", folder)
    shutil.copy(INT8 / "config.json", folder)
    (folder / "special_tokens_map.json").write_text(json.dumps(_SPECIAL_TOKENS))


def _finerank_export(precision: str) -> Callable[[Path], None]:
    def export(folder: Path) -> None:
        finerank = Path(sys.executable).with_name("finerank")
        command = [str(finerank), "export", str(FP32), str(folder), "--precision", precision]
        if subprocess.run(command, check=False).returncode:
            sys.exit(1)  # finerank has said why

    return export


def _optimum_export(backend: str) -> Callable[[Path], None]:
    def export(folder: Path) -> None:
        from sentence_transformers import CrossEncoder

        CrossEncoder(str(FP32), backend=backend, device="cpu").save_pretrained(str(folder))

    return export


def _m3(folder: Path) -> None:
    """Seeded weights in float32, as the model is published: speed does not depend on what they are."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(XLMRobertaConfig(**M3_CONFIG)).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(M3_CONFIG))
    shutil.copy(M3_TOKENIZER, folder)
    tokens = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    tokens |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 8192, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


_BENCH = ASSETS / "bench"

MODELS = {
    "int8": Model(INT8, _shipped),
    "fp32": Model(FP32, _fp32),
    "m3": Model(_BENCH / "bge-reranker-v2-m3-random", _m3),
    "flashrank": Model(_BENCH / "flashrank", _flashrank),
    "finerank-onnx": Model(_BENCH / "finerank-onnx", _finerank_export("fp32"), keep=False),
    "finerank-int8": Model(_BENCH / "finerank-int8", _finerank_export("int8"), keep=False),
    "optimum-onnx": Model(_BENCH / "optimum-onnx", _optimum_export("onnx"), "optimum"),
    "optimum-openvino": Model(_BENCH / "optimum-openvino", _optimum_export("openvino"), "optimum"),
}

if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        make(wanted)
