"""bge-reranker-v2-m3's architecture in half precision on a CUDA GPU, against its peers and against the card's peak.

    python -m benchmarks.gpu

The weights are random and seeded: speed does not depend on them, and no weights need to be downloaded.
"""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine, report
from benchmarks.agreement import agreement
from benchmarks.installed import versions
from benchmarks.measure import Candidate, Outcome, interleaved_rounds
from benchmarks.models import M3_CONFIG, folder_of
from benchmarks.systems import System, finerank, flag_embedding, sentence_transformers
from benchmarks.workloads import Documentation, Query, tokenizer_of

REFERENCE = "st-torch"
SYSTEMS: Mapping[str, System] = {
    "finerank": System("finerank, fp16", "", partial(finerank, device="cuda", dtype="fp16"), "finerank[torch]"),
    "st-torch": System(
        "sentence-transformers, fp16",
        "",
        partial(sentence_transformers, device="cuda", model_kwargs={"dtype": "float16"}),
        "sentence-transformers",
    ),
    "flagembedding": System(
        "FlagEmbedding, fp16", "", partial(flag_embedding, device="cuda:0", use_fp16=True), "FlagEmbedding"
    ),
}

WORKLOADS = {"100x128": (100, 128), "10x512": (10, 512)}
"""Pairs, and tokens of each with the query and the special tokens."""

ROUNDS, REPEATS = 7, 5
QUESTION, TOPIC = "how to make an object callable", "callable-types"


def main() -> None:
    console = Console(width=max(Console().width, 110), highlight=False)
    if not cuda_present():
        console.print("no CUDA device: the GPU benchmark measures nothing here")
        return
    folder = folder_of("m3")
    result: dict[str, Any] = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "commit": machine.commit(),
        "settings": {"rounds": ROUNDS, "repeats": REPEATS, "reference": REFERENCE, "model": M3_CONFIG},
        "versions": versions(),
        "peak_tflops": matmul_peak_tflops(),
        "workloads": {},
    }
    candidates = {name: Candidate(f"benchmarks.gpu:{name}", Path(sys.executable), folder) for name in SYSTEMS}
    for name, (count, length) in WORKLOADS.items():
        queries = build(count, length)
        outcomes = interleaved_rounds(candidates, queries, ROUNDS, REPEATS)
        result["workloads"][name] = measured(outcomes, pair_lengths(queries), result["peak_tflops"])
        show(name, result["workloads"][name], result["peak_tflops"], console)
    path = report.result_path(result["machine"], "-gpu")
    report.write(result, path)
    console.print(f"written to {path}")


def cuda_present() -> bool:
    """Whether torch is installed and sees a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def build(count: int, length: int) -> list[Query]:
    """One query with `count` passages, each pair `length` tokens or one or two fewer."""
    tokenizer = tokenizer_of(folder_of("m3"))
    room = length - len(tokenizer.encode(QUESTION, ""))
    return [(QUESTION, Documentation(tokenizer).passages(TOPIC, [room] * count))]


def pair_lengths(queries: list[Query]) -> list[int]:
    """Tokens of each pair as the model reads it."""
    pairs = [(query, passage) for query, passages in queries for passage in passages]
    return [len(encoding) for encoding in tokenizer_of(folder_of("m3")).encode_batch(pairs)]


def flops(length: int) -> int:
    """Floating-point operations that the score of one pair needs: in the last layer, keys and values of all tokens
    and the rest for the first token alone. What a system computes beyond that does not count for it.
    """
    hidden, up, layers = M3_CONFIG["hidden_size"], M3_CONFIG["intermediate_size"], M3_CONFIG["num_hidden_layers"]
    per_token = 2 * (2 * hidden**2 + 2 * hidden * up)  # query, output, feed-forward
    keys_values = 2 * 2 * hidden**2 * length
    attention = 4 * hidden * length
    layer = length * (per_token + attention) + keys_values
    last_layer = per_token + attention + keys_values
    return (layers - 1) * layer + last_layer + 2 * (hidden**2 + hidden)


def matmul_peak_tflops(size: int = 8192, products: int = 20, rounds: int = 5) -> float:
    """TFLOP/s of a product of two square float16 matrices, random so that power draw is real; median of rounds."""
    import torch

    a, b = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
    out = torch.empty_like(a)
    milliseconds = []
    for _ in range(rounds + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(products):
            torch.matmul(a, b, out=out)
        end.record()
        torch.cuda.synchronize()
        milliseconds.append(start.elapsed_time(end) / products)
    return 2 * size**3 / (statistics.median(milliseconds[1:]) / 1e3) / 1e12


def measured(outcomes: Mapping[str, Outcome], lengths: list[int], peak_tflops: float) -> dict[str, Any]:
    """The facts of a workload, and a row a system."""
    work = sum(flops(length) for length in lengths)
    rows: dict[str, Any] = {}
    reference = outcomes[REFERENCE]
    for name, outcome in outcomes.items():
        if outcome.failure:
            rows[name] = {"not_run": outcome.failure}
            continue
        seconds = outcome.median("seconds")
        rows[name] = {
            "seconds": [answer["seconds"] for answer in outcome.answers],
            "pairs_per_s": len(lengths) / seconds,
            "tflops": work / seconds / 1e12,
            "share_of_peak": work / seconds / 1e12 / peak_tflops,
        }
        if not reference.failure:
            logits, expected = (each.answers[-1]["logits"] for each in (outcome, reference))
            rows[name] |= {"ratio": reference.median("seconds") / seconds}
            rows[name] |= asdict(agreement(logits, expected, [len(lengths)]))
    return {"pairs": len(lengths), "tokens": sum(lengths), "tflop": work / 1e12, "systems": rows}


def show(name: str, workload: Mapping[str, Any], peak_tflops: float, console: Console) -> None:
    title = f"{name}: {workload['pairs']} pairs, {workload['tokens']} tokens; matrix product: {peak_tflops:.0f} TFLOP/s"
    table = Table("system", "pairs/s", "ratio", "TFLOP/s", "of peak", "logit diff", title=title, box=box.SIMPLE)
    for system, row in workload["systems"].items():
        if "not_run" in row:
            table.add_row(SYSTEMS[system].label, f"not run: {row['not_run']}")
            continue
        ratio, difference = row.get("ratio"), row.get("largest_logit_difference")
        table.add_row(
            SYSTEMS[system].label,
            f"{row['pairs_per_s']:.0f}",
            f"{ratio:.2f}" if ratio else "-",
            f"{row['tflops']:.0f}",
            f"{row['share_of_peak']:.0%}",
            "-" if difference is None else f"{difference:.0e}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
