"""finerank-embed: a static embedder, one vector a token, distilled with model2vec from multilingual-e5-small.

python recipes/finerank-mini/trim.py ENCODER DATA runs/trimmed
python recipes/finerank-embed/make.py runs/trimmed src/finerank/models/finerank-embed
"""

import argparse
import json
from pathlib import Path

from model2vec.distill import distill_from_model
from transformers import AutoModel, PreTrainedTokenizerFast

DIMENSIONS = 256


def make(encoder: Path, out: Path, dimensions: int) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(encoder / "tokenizer.json"),
        **{"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"},
        **{"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"},
    )
    model = AutoModel.from_pretrained(encoder)
    static = distill_from_model(model, tokenizer, pca_dims=dimensions, quantize_to="int8", device="cpu")
    static.save_pretrained(str(out))
    (out / "README.md").unlink(missing_ok=True)  # the library's own card speaks of another model
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["tokenizer_name"] = "intfloat/multilingual-e5-small"
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(json.dumps({"dimensions": dimensions, "tokens": len(static.tokens), "megabytes": round(size / 1e6, 1)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    options = parser.parse_args()
    make(options.encoder, options.out, options.dimensions)
