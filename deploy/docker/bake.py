"""Prepares models for an image: downloads hub models, ranks once with each, and leaves packed weights beside the model.

python deploy/docker/bake.py finerank-mini BAAI/bge-reranker-v2-m3
"""

import os
import shutil
import sys
import tempfile

from finerank import Reranker
from finerank.scoring.native_weights import cache_file, file_beside

QUERY = "How do I reset the router?"
ANSWER = "To reset the router, hold the button on its back for ten seconds."
PASSAGES = ("The router is sold in black and white.", ANSWER)


def main(models: list[str]) -> None:
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FINERANK_CACHE_DIR"] = folder
            with Reranker.from_pretrained(model, device="cpu") as reranker:
                best = reranker.rank(QUERY, PASSAGES)[0].document.text
                if best != ANSWER:
                    sys.exit(f"{model} puts {best!r} before {ANSWER!r}: it is no reranker, or its files are damaged")
                packed = reranker.files.backend == "native"
                if packed:
                    shutil.copyfile(cache_file(reranker.files, int16=True), file_beside(reranker.files, int16=True))
            print(f"{model}: ready{', weights packed' if packed else ''}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
