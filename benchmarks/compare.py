"""Compare finerank with its peers on the CPU.

python -m benchmarks.compare                                     everything, an hour and a half
python -m benchmarks.compare --quick                             a trial run, a few minutes
python -m benchmarks.compare --systems finerank-int8,flashrank --workloads 1x100 --rounds 9
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, report
from benchmarks.agreement import agreement
from benchmarks.measure import Candidate, Outcome, cold_start, interleaved_rounds
from benchmarks.models import folder_of
from benchmarks.paths import ENVIRONMENTS, python
from benchmarks.systems import REFERENCE, SYSTEMS
from benchmarks.workloads import WORKLOADS, Workload, build, describe, tokenizer_of

COLD_STARTS = 5
QUICK = ["1x100", "1x1"]


def main() -> None:
    options = _options()
    console = Console(stderr=True, highlight=False)
    names = [name for name in SYSTEMS if name in options.systems or name == REFERENCE]
    candidates, systems = _candidates(names, console)
    if REFERENCE not in candidates:
        raise SystemExit(f"the reference, {REFERENCE}, cannot run: {systems[REFERENCE]['not_run']['all workloads']}")
    result: dict[str, Any] = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "commit": machine.commit(),
        "settings": {"quick": options.quick, "reference": REFERENCE, "rounds": options.rounds or "the workload's"},
        "versions": _versions_and_sizes(systems),
        "workloads": {},
        "systems": systems,
    }
    for name in options.workloads:
        result["workloads"][name] = _measure(name, _sized(WORKLOADS[name], options), candidates, systems, console)
    _measure_cold_starts(candidates, systems, 1 if options.quick else COLD_STARTS, console)
    report.show(result, Console(width=max(Console().width, 110)))
    path = options.out or (None if options.quick else report.result_path(result["machine"]))
    if path:
        report.write(result, path)
        console.print(f"written to {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description="Compare finerank with its peers."
    )
    parser.add_argument("--systems", type=_names(SYSTEMS), default=list(SYSTEMS), help=f"of {','.join(SYSTEMS)}")
    parser.add_argument("--workloads", type=_names(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, help="measurements of each system, of which the median counts")
    parser.add_argument(
        "--out", type=Path, help="where the JSON goes; default benchmarks/results/<date>-<machine>.json"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a trial: small workloads, one round, JSON only with --out"
    )
    options = parser.parse_args()
    options.workloads = options.workloads or (QUICK if options.quick else list(WORKLOADS))
    return options


def _names(known: Mapping[str, object]) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {unknown[0]!r} among {', '.join(known)}")
        return names

    return parse


def _candidates(names: Sequence[str], console: Console) -> tuple[dict[str, Candidate], dict[str, Any]]:
    """The systems that can start, and the record of all."""
    candidates: dict[str, Candidate] = {}
    records: dict[str, Any] = {}
    for name in names:
        system = SYSTEMS[name]
        records[name] = {"label": system.label, "not_run": {}, "workloads": {}}
        console.print(f"preparing {name}")
        try:
            folder = folder_of(system.model)
            candidates[name] = Candidate(f"benchmarks.systems:{name}", python(system.environment), folder)
        except (RuntimeError, FileNotFoundError) as error:
            records[name]["not_run"]["all workloads"] = str(error)
    return candidates, records


def _versions_and_sizes(systems: Mapping[str, Any]) -> dict[str, Any]:
    """The versions of each environment; the sizes go into the systems' records."""
    versions = {}
    for environment in ENVIRONMENTS:
        here = [name for name in systems if SYSTEMS[name].environment == environment]
        try:
            found = machine.installed(environment, [SYSTEMS[name].requirements for name in here])
        except FileNotFoundError:
            continue
        versions[environment] = found["versions"]
        for name in here:
            systems[name]["installed_mb"] = found["size_mb"][SYSTEMS[name].requirements]
    return versions


def _sized(workload: Workload, options: argparse.Namespace) -> Workload:
    workload = workload.smaller() if options.quick else workload
    return replace(workload, rounds=options.rounds) if options.rounds else workload


def _measure(
    name: str, workload: Workload, candidates: Mapping[str, Candidate], systems: Mapping[str, Any], console: Console
) -> dict[str, Any]:
    """The facts of a workload; each system's figures go into its record."""
    tokenizer = tokenizer_of(folder_of(workload.model))
    queries = build(workload, tokenizer)
    if workload.model != "fp32":
        folder = folder_of(workload.model)
        able = [system for system in candidates if SYSTEMS[system].model == "fp32"]
        candidates = {system: replace(candidates[system], folder=folder) for system in able}
    facts = {**describe(workload, queries, tokenizer), "load_average_before": machine.load_average()}
    console.print(f"{name}: {workload.rounds} rounds of {len(candidates)} systems")
    outcomes = interleaved_rounds(candidates, queries, workload.rounds, workload.repeats)
    reference = outcomes[REFERENCE]
    if reference.failure:
        raise SystemExit(f"the reference, {REFERENCE}, failed: {reference.failure}")
    for system, outcome in outcomes.items():
        if outcome.failure:
            systems[system]["not_run"][name] = outcome.failure
        else:
            systems[system]["workloads"][name] = _figures(outcome, reference, [len(some) for _, some in queries])
    return facts


def _figures(outcome: Outcome, reference: Outcome, passages: list[int]) -> dict[str, Any]:
    """`passages`: how many each query has."""
    seconds = outcome.median("seconds")
    return {
        "seconds": [answer["seconds"] for answer in outcome.answers],
        "pairs_per_s": sum(passages) / seconds,
        "ratio": reference.median("seconds") / seconds,
        "peak_memory_mb": max(answer["peak_memory_mb"] for answer in outcome.answers),
        **asdict(agreement(outcome.answers[-1]["logits"], reference.answers[-1]["logits"], passages)),
    }


def _measure_cold_starts(
    candidates: Mapping[str, Candidate], systems: Mapping[str, Any], times: int, console: Console
) -> None:
    console.print(f"cold start: {times} times {len(candidates)} systems")
    queries = build(WORKLOADS["1x1"], tokenizer_of(folder_of("fp32")))
    outcomes = {name: Outcome() for name in candidates}
    for _ in range(times):
        for name, candidate in candidates.items():
            outcomes[name].attempt(partial(cold_start, candidate, queries))
    for name, outcome in outcomes.items():
        if outcome.failure:
            systems[name]["not_run"]["cold start"] = outcome.failure
        else:
            systems[name]["cold_start_s"] = outcome.median("seconds")


if __name__ == "__main__":
    main()
