"""What serving costs: the server against the library in one process, on the same pairs.

    python -m benchmarks.serving [--rounds 5] [--quick]

Throughput: 32 clients at once, each with one query and 10 passages at a time, against `rank_many` on all of them.
A lone request: one caller, one request after the other on one connection, against `rank`. The library and the server,
two processes with one model each, take turns; who does not take one, rests.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from benchmarks import machine, report
from benchmarks.workloads import Query, Workload, build, describe, tokenizer_of
from finerank import Reranker
from finerank.scoring.model_files import find_model
from finerank.settings import DEFAULT_MODEL

CLIENTS = 32
THROUGHPUT = Workload(32, 10, 20, 128, seed=11)
LONE = {
    "1 pair of 32 tokens": Workload(1, 1, 16, 16, seed=12, repeats=100),
    "10 pairs of 32 tokens": Workload(1, 10, 16, 16, seed=13, repeats=40),
    "100 pairs of 20 to 512 tokens, all cached": Workload(1, 100, 20, 512, seed=14, repeats=40),
}


def main() -> None:
    options = _options()
    console = Console(highlight=False)
    tokenizer = tokenizer_of(find_model(DEFAULT_MODEL).tokenizer.parent)
    queries = build(THROUGHPUT.smaller() if options.quick else THROUGHPUT, tokenizer)
    result: dict[str, Any] = {
        **machine.here(),
        "model": DEFAULT_MODEL,
        "throughput": {"clients": CLIENTS, **describe(THROUGHPUT, queries, tokenizer)},
        "lone": {},
    }
    # Every round reads its passages anew.
    with Reranker.from_pretrained(passage_cache_mb=0) as library, _server(FINERANK_PASSAGE_CACHE_MB="0") as url:
        result["throughput"] |= asyncio.run(_throughput(library, url, queries, options.rounds))
    with Reranker.from_pretrained(cache="memory") as library, _server(FINERANK_CACHE="memory") as url:
        for name, workload in LONE.items():
            result["lone"][name] = _lone(library, url, build(workload, tokenizer)[0], workload.repeats)
    _show(result, console)
    if not options.quick:
        path = report.result_path(result["machine"], "-serving")
        report.write(result, path)
        console.print(f"written to {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a trial run: four queries, no file")
    return parser.parse_args()


@contextmanager
def _server(**environment: str) -> Iterator[str]:
    """The URL of `finerank serve` in a process of its own, its model loaded."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "finerank", "serve", "--port", "0", "--state-dir", folder],
            env={**os.environ, **environment},
            stderr=log,
        )
        try:
            while "model loaded" not in (text := Path(log.name).read_text(encoding="utf-8")):
                if process.poll() is not None:
                    raise RuntimeError(text)
                time.sleep(0.1)
            yield str(json.loads(text.splitlines()[0])["url"])
        finally:
            process.terminate()
            process.wait()


async def _throughput(library: Reranker, url: str, queries: list[Query], rounds: int) -> dict[str, Any]:
    """Pairs per second of either, in rounds by turns."""
    pairs = sum(len(passages) for _, passages in queries)
    offline, served = [], []
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as client:

        async def ask(query: str, passages: list[str]) -> None:
            answer = await client.post("/v1/rerank", json={"query": query, "documents": passages})
            answer.raise_for_status()

        for _ in range(rounds + 1):
            start = time.perf_counter()
            library.rank_many(queries)
            offline.append(pairs / (time.perf_counter() - start))
            start = time.perf_counter()
            await asyncio.gather(*(ask(*query) for query in queries))
            served.append(pairs / (time.perf_counter() - start))
    ratios = [ours / theirs for ours, theirs in zip(served[1:], offline[1:], strict=True)]
    return {
        "library_pairs_per_s": offline[1:],
        "server_pairs_per_s": served[1:],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def _lone(library: Reranker, url: str, query: Query, repeats: int) -> dict[str, Any]:
    """Milliseconds of either for one request, by turns; of the cached workload only the first is scored."""
    question, passages = query
    body = json.dumps({"query": question, "documents": passages}).encode()
    cached = len(passages) >= 100

    def vary(turn: int) -> tuple[str, bytes]:
        """Another query each time where the cache must not answer."""
        if cached:
            return question, body
        asked = f"{question} {turn:05d}"
        return asked, json.dumps({"query": asked, "documents": passages}).encode()

    address = urlsplit(url)
    with closing(HTTPConnection(str(address.hostname), address.port, timeout=600)) as connection:

        def ask(content: bytes) -> None:
            connection.request("POST", "/v1/rerank", content)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}")

        own, served = [], []
        for turn in range(repeats + 3):
            asked, content = vary(turn)
            own.append(_milliseconds(lambda asked=asked: library.rank(asked, passages)))
            served.append(_milliseconds(lambda content=content: ask(content)))
    own, served = own[3:], served[3:]
    return {
        "library_ms": statistics.median(own),
        "server_ms": statistics.median(served),
        "overhead_ms": statistics.median(theirs - ours for ours, theirs in zip(own, served, strict=True)),
        "body_bytes": len(body),
    }


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def _show(result: dict[str, Any], console: Console) -> None:
    throughput = result["throughput"]
    library, server = (statistics.median(throughput[f"{who}_pairs_per_s"]) for who in ("library", "server"))
    console.print(
        f"{CLIENTS} clients, {throughput['pairs']} pairs: library {library:.1f} pairs/s, server {server:.1f}, "
        f"ratio {throughput['ratio']:.3f}"
    )
    for name, lone in result["lone"].items():
        console.print(
            f"alone, {name}: library {lone['library_ms']:.1f} ms, server {lone['server_ms']:.1f} ms, "
            f"overhead {lone['overhead_ms']:.2f} ms"
        )


if __name__ == "__main__":
    main()
