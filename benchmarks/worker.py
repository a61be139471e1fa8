"""A process that loads one system and scores on request.

    python -m benchmarks.worker TABLE:SYSTEM MODEL_FOLDER QUERIES.json

A line on standard input says how many queries to score, from the first, and how many times; 0 queries are the first
pair alone. The answer is a line of JSON on standard output: seconds for one time, peak memory of this process and the
logits.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path


def main(system: str, folder: str, queries_file: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the systems print is not an answer
    queries = [(query, passages) for query, passages in json.loads(Path(queries_file).read_text(encoding="utf-8"))]
    table, _, name = system.partition(":")
    score = import_module(table).SYSTEMS[name].load(Path(folder))
    for line in sys.stdin:
        count, repeats = map(int, line.split())
        some = queries[:count] or [(queries[0][0], queries[0][1][:1])]
        start = time.perf_counter()
        for _ in range(repeats):
            logits = score(some)
        answer = {
            "seconds": (time.perf_counter() - start) / repeats,
            "peak_memory_mb": peak_memory_mb(),
            "logits": [float(logit) for logit in logits],
        }
        print(json.dumps(answer), file=answers)


def peak_memory_mb() -> float:
    """The high-water mark of this process's resident memory."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would start from the parent's
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:])
