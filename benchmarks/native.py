"""How fast our native engine computes, and where its time goes.

python -m benchmarks.native [MODEL FOLDER] [--threads 2] [--rounds 5] [--tokens 2048]    as JSON

Operations are those a score needs: two for each product of two numbers, in the last layer for the first token alone.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.models import folder_of
from benchmarks.workloads import WORKLOADS, build, tokenizer_of
from finerank.scoring.batch import EncodedPair
from finerank.scoring.device import Device
from finerank.scoring.encode import PairEncoder
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.native_backend import PRECISIONS, NativeBackend
from finerank.scoring.processor import instruction_sets, usable_cpus
from finerank.scoring.scorer import Scorer
from finerank.scoring.tokenizer import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.native", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a batch")
    options = parser.parse_args()
    files = find_model(options.folder or folder_of("fp32"), backend="native")
    rows = []
    for name in ("1x100", "1x10x512", "1x1", "1x1x32"):
        pairs = _pairs(files, name)
        for instruction_set in instruction_sets():
            for precision in PRECISIONS:
                backend = NativeBackend(files, Device("cpu", precision), options.threads, instruction_set)
                rows.append({"workload": name, "instruction_set": instruction_set, "precision": precision})
                rows[-1] |= _measure(backend, files, pairs, options)
    print(json.dumps({"machine": machine.machine(), "commit": machine.commit(), "rows": rows}, indent=1))


def operations(files: ModelFiles, pairs: list[EncodedPair]) -> float:
    """What scoring the pairs takes, embeddings and head aside."""
    config = files.config
    hidden, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    whole = sum(2 * n * (4 * hidden * hidden + 2 * hidden * inner) + 4 * n * n * hidden for n in map(len, pairs))
    last = sum(4 * n * hidden * hidden + 4 * n * hidden + 4 * hidden * (hidden + inner) for n in map(len, pairs))
    return float((layers - 1) * whole + last)


def _pairs(files: ModelFiles, name: str) -> list[EncodedPair]:
    encoder = PairEncoder(load_tokenizer(files.tokenizer), min(512, files.usable_length))
    queries = build(WORKLOADS[name], tokenizer_of(files.folder))
    return [pair for query, passages in queries for pair in encoder.encode(encoder.encode_query(query), passages)]


def _measure(
    backend: NativeBackend, files: ModelFiles, pairs: list[EncodedPair], options: argparse.Namespace
) -> dict[str, object]:
    scorer = Scorer(backend, max_batch_tokens=options.tokens)
    scorer.score(pairs[:1])
    before, seconds = backend.profile(), []
    for _ in range(options.rounds):
        start = time.perf_counter()
        scorer.score(pairs)
        seconds.append(time.perf_counter() - start)
    spent = {stage: total - before[stage] for stage, total in backend.profile().items()}
    whole = sum(spent.values())
    return {
        "seconds": seconds,
        "gflop_per_s": round(operations(files, pairs) / statistics.median(seconds) / 1e9, 1),
        "share_of_time": {stage: round(part / whole, 3) for stage, part in spent.items()},
    }


if __name__ == "__main__":
    main()
