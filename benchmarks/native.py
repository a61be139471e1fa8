"""How fast our native engine computes, and where its time goes.

python -m benchmarks.native [MODEL FOLDER] [--threads 2] [--rounds 5] [--workloads 1x100,1x1] [--out FILE]

Operations are those a score needs: two for each product of two numbers, in the last layer for the first token alone.
The peak is what one thread reaches that does nothing but products, all that they read in its nearest cache, times
threads.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.models import folder_of
from benchmarks.workloads import WORKLOADS, build, tokenizer_of
from finerank.reranker import BATCH_TOKENS
from finerank.scoring import _native
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.device import Device
from finerank.scoring.encode import PairEncoder
from finerank.scoring.families import is_late
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.native_backend import PRECISIONS, NativeBackend
from finerank.scoring.processor import usable_cpus
from finerank.scoring.scorer import Scorer
from finerank.scoring.tokenizer import load_tokenizer

STAGES = {"enter": "embeddings", "attend": "attention", "pass": "linear layers", "finish": "last layer"}
"""The engine's names of its stages, and what a reader calls them."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.native", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workloads", default="1x100,1x10x512,1x1,1x1x32", help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--out", type=Path, help="where the JSON goes; none is written otherwise")
    options = parser.parse_args()
    files = find_model(options.folder or folder_of("fp32"), backend="native")
    console = Console(width=max(Console().width, 110), highlight=False)
    rows = []
    for name in options.workloads.split(","):
        pairs = _pairs(files, name)
        some = list(_rows(files, pairs, options.threads, options.rounds))
        console.print(_table(name, pairs, options.threads, some))
        rows += [{"workload": name, **row} for row in some]
    if options.out:
        facts = {"machine": machine.machine(), "commit": machine.commit(), "load_average": machine.load_average()}
        options.out.write_text(json.dumps({**facts, "threads": options.threads, "rows": rows}, indent=1) + "\n")


def operations(files: ModelFiles, pairs: list[EncodedPair]) -> float:
    """What scoring the pairs takes, embeddings and head aside."""
    config = files.config
    hidden, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    lengths = Batch.of(pairs).texts()[0].lengths.tolist() if is_late(config) else [len(pair) for pair in pairs]
    whole = sum(2 * n * (4 * hidden * hidden + 2 * hidden * inner) + 4 * n * n * hidden for n in lengths)
    if is_late(config):
        return float(layers * whole)
    last = sum(4 * n * hidden * hidden + 4 * n * hidden + 4 * hidden * (hidden + inner) for n in map(len, pairs))
    return float((layers - 1) * whole + last)


def _pairs(files: ModelFiles, name: str) -> list[EncodedPair]:
    encoder = PairEncoder(load_tokenizer(files.tokenizer), min(512, files.usable_length))
    queries = build(WORKLOADS[name], tokenizer_of(files.folder))
    return [pair for query, passages in queries for pair in encoder.encode(encoder.encode_query(query), passages)]


def _rows(files: ModelFiles, pairs: list[EncodedPair], threads: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A measurement for each instruction set in each precision."""
    for instruction_set in _native.instruction_sets():
        for precision in PRECISIONS:
            backend = NativeBackend(files, Device("cpu", precision), threads, instruction_set)
            seconds, stages = _measure(backend, pairs, rounds)
            speed = operations(files, pairs) / statistics.median(seconds)
            peak = _native.peak(instruction_set, int16=precision == "int16") * threads
            yield {
                "instruction_set": instruction_set,
                "precision": precision,
                "seconds": seconds,
                "gflop_per_s": round(speed / 1e9, 1),
                "share_of_peak": round(speed / peak, 3),
                "share_of_time": stages,
            }


def _measure(backend: NativeBackend, pairs: list[EncodedPair], rounds: int) -> tuple[list[float], dict[str, float]]:
    """Seconds of each round, and each stage's share of them."""
    scorer = Scorer(backend, max_batch_tokens=BATCH_TOKENS["native"])
    scorer.score(pairs)
    before, seconds = backend.profile(), []
    for _ in range(rounds):
        start = time.perf_counter()
        scorer.score(pairs)
        seconds.append(time.perf_counter() - start)
    spent = {stage: total - before[stage] for stage, total in backend.profile().items()}
    whole = sum(spent.values())
    return seconds, {stage: round(part / whole, 3) for stage, part in spent.items()}


def _table(name: str, pairs: list[EncodedPair], threads: int, rows: list[dict[str, Any]]) -> Table:
    title = f"{name}: {len(pairs)} pairs, {sum(map(len, pairs))} tokens, {threads} threads"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in ("instructions", "precision"):
        table.add_column(column)
    for column in ("ms", "GFLOP/s", "of peak", *STAGES.values()):
        table.add_column(column, justify="right")
    for row in rows:
        shares = [row["share_of_peak"], *(row["share_of_time"][stage] for stage in STAGES)]
        table.add_row(
            row["instruction_set"],
            row["precision"],
            f"{statistics.median(row['seconds']) * 1e3:.1f}",
            f"{row['gflop_per_s']:.0f}",
            *(f"{share:.0%}" for share in shares),
        )
    return table


if __name__ == "__main__":
    main()
