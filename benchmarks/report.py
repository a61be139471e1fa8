"""A comparison as a table for people and as JSON for the record.

    python -m benchmarks.report RESULT.json [LATER.json ...]

sets the README's two tables; a workload that was measured again later, of every system, is the later run's.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.paths import RESULTS, ROOT
from benchmarks.systems import SYSTEMS

Result = Mapping[str, Any]

README_WORKLOAD = "1x100"
README_HEAD = ("system", "pairs/s", "ratio", "same order (Kendall's tau)", "peak MB", "cold start, s", "installed MB")

README_OTHERS = {
    "8x20": "8 queries x 20 passages",
    "1x10x512": "10 passages of 512 tokens",
    "1x1": "one pair of 128 tokens",
    "1x1x32": "one pair of 32 tokens",
    "1x10x128-m3": "10 x 128 tokens, bge-reranker-v2-m3's architecture",
}
"""The other workloads, as a reader calls them."""

README_RATIOS = {
    "finerank": "own engine, int16",
    "finerank-fp32": "own engine, fp32",
    "finerank-int8": "int8 on ONNX Runtime",
    "flashrank": "FlashRank, int8",
    "st-openvino-fp32": "OpenVINO, fp32",
    "st-openvino": "OpenVINO, bf16",
}
"""The systems whose ratio on these is shown."""

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


def readme_table(systems: Result) -> str:
    """Every system's row of the README, in Markdown."""
    measured = [name for name in SYSTEMS if README_WORKLOAD in systems.get(name, {}).get("workloads", {})]
    return markdown_table(README_HEAD, (_readme_row(name, systems[name]) for name in measured))


def readme_ratios(systems: Result) -> str:
    """Some systems' ratios on the other workloads, in Markdown."""
    rows = (
        [label, *(_ratio(name, systems.get(name, {}).get("workloads", {}).get(workload)) for name in README_RATIOS)]
        for workload, label in README_OTHERS.items()
    )
    return markdown_table(("workload", *README_RATIOS.values()), rows)


def _ratio(name: str, row: Result | None) -> str:
    if row is None:
        return ""
    return f"**{row['ratio']:.1f}**" if name == "finerank" else f"{row['ratio']:.1f}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def put_table(path: Path, name: str, table: str) -> None:
    """Set the table between the marks <!-- name --> and <!-- /name --> of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- /{re.escape(name)} -->)", re.DOTALL)
    changed, count = marks.subn(lambda found: found[1] + table + found[2], text)
    if count != 1:
        raise SystemExit(f"{path}: must have the marks <!-- {name} --> and <!-- /{name} --> once, and has {count}")
    path.write_text(changed, encoding="utf-8")


def _readme_row(name: str, row: Result) -> list[str]:
    found = row["workloads"][README_WORKLOAD]
    order = "yes" if found["same_order"] else f"no ({found['kendall_tau']:.3f})"
    ratio = f"{found['ratio']:.1f}"
    ours = name.startswith("finerank") and found["same_order"]
    start, size = row.get("cold_start_s"), row.get("installed_mb")
    label = SYSTEMS[name].label
    return [
        f"**{label}** (the default)" if name == "finerank" else label,
        f"{found['pairs_per_s']:.1f}",
        f"**{ratio}**" if ours else ratio,
        order,
        f"{found['peak_memory_mb']:.0f}",
        "-" if start is None else f"{start:.1f}",
        "-" if size is None else f"{size:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    systems, *later = (json.loads(path.read_text(encoding="utf-8"))["systems"] for path in parser.parse_args().results)
    for run in later:
        for name, row in run.items():
            systems[name]["workloads"] |= row["workloads"]
    put_table(ROOT / "README.md", "speed", readme_table(systems))
    put_table(ROOT / "README.md", "ratios", readme_ratios(systems))


if __name__ == "__main__":
    main()
