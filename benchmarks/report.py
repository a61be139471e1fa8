"""A comparison as a table for people and as JSON for the record."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.paths import RESULTS

Result = Mapping[str, Any]

_COLUMNS = ("pairs/s", "ratio", "peak MB", "logit diff", "tau", "same order")


def show(result: Result, console: Console) -> None:
    """A table a workload, one for cold start and size, and the systems that did not run."""
    for name, workload in result["workloads"].items():
        console.print(_speed_table(name, workload, result["systems"]))
    console.print(_start_table(result["systems"]))
    for system, reason in _not_run(result["systems"]):
        console.print(f"not run: {system}: {reason}", markup=False, highlight=False)


def write(result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def result_path(machine: Result, suffix: str = "") -> Path:
    """benchmarks/results/<date>-<machine>.json, the machine named by its GPU or CPU and its cores."""
    hardware = machine["gpus"][0].split(",")[0] if suffix == "-gpu" and machine["gpus"] else machine["cpu"]
    name = re.sub(r"[^a-z0-9]+", "-", f"{hardware} {machine['cores']} cores".lower()).strip("-")
    return RESULTS / f"{date.today().isoformat()}-{name}{suffix}.json"


def _speed_table(name: str, workload: Result, systems: Result) -> Table:
    tokens = workload["passage_tokens"]["sum"]
    table = Table(
        title=f"{name}: {workload['pairs']} pairs, {tokens} passage tokens", title_justify="left", box=box.SIMPLE
    )
    table.add_column("system", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for system in systems.values():
        if name in system["workloads"]:
            table.add_row(system["label"], *_cells(system["workloads"][name]))
    return table


def _cells(row: Result) -> Iterator[str]:
    yield f"{row['pairs_per_s']:.1f}"
    yield f"{row['ratio']:.2f}"
    yield f"{row['peak_memory_mb']:.0f}"
    yield f"{row['largest_logit_difference']:.0e}"
    yield "-" if row["kendall_tau"] is None else f"{row['kendall_tau']:.4f}"
    yield "yes" if row["same_order"] else "no"


def _start_table(systems: Result) -> Table:
    table = Table(title="cold start and size", title_justify="left", box=box.SIMPLE)
    table.add_column("system", no_wrap=True)
    table.add_column("cold start s", justify="right")
    table.add_column("installed MB", justify="right")
    for system in systems.values():
        start, size = system.get("cold_start_s"), system.get("installed_mb")
        table.add_row(system["label"], "-" if start is None else f"{start:.1f}", "-" if size is None else f"{size:.0f}")
    return table


def _not_run(systems: Result) -> Iterator[tuple[str, str]]:
    for system in systems.values():
        for what, reason in system["not_run"].items():
            yield f"{system['label']} ({what})", reason
