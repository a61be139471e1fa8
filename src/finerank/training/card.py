"""The README.md of a trained model: what it was made of, how, and what it reached."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def model_card(record: Mapping[str, Any]) -> str:
    """A model card in the hub's format from what run.json says."""
    settings = record["settings"]
    languages = "".join(f"\n- {language}" for language in record["languages"]) or " []"
    folder = Path(record["model"])
    base = [] if folder.is_dir() else [f"base_model: {record['model']}"]  # the hub knows no folders
    name = folder.name if folder.is_dir() else record["model"]
    lines = [
        "---",
        f"language:{languages}",
        *(["library_name: transformers"] if record["kind"] == "cross-encoder" else []),
        "pipeline_tag: text-ranking",
        *base,
        f"tags:\n- reranker\n- {record['kind']}\n- finerank",
        "---",
        "",
        f"# A reranker trained from {name}",
        "",
        "```python",
        "from finerank import Reranker",
        'reranker = Reranker.from_pretrained("path/to/this/folder")',
        "```",
        "",
        f"Trained with finerank {record['versions']['finerank']} on {record['data']['examples']} lists "
        f"(SHA-256 {record['data']['sha256'][:16]}) for {record['steps']} steps: loss {settings['loss']}"
        + (f", distilled with {settings['distill']}" if settings["distill"] else "")
        + (f", masked words with weight {settings['mlm_weight']}" if settings.get("mlm_weight") else "")
        + f", learning rate {settings['learning_rate']}, {settings['lists_per_step']} lists a step.",
        *_figures(record),
        "",
        "Every setting and figure is in the run's `run.json`.",
        "",
    ]
    return "\n".join(lines)


def _figures(record: Mapping[str, Any]) -> list[str]:
    if not record["after"]:
        return ["", "It was not judged: the run had no dev lists."]
    rows = [f"| {name} | {record['before'][name]:.4f} | {value:.4f} |" for name, value in record["after"].items()]
    return ["", f"On {record['dev']['examples']} dev lists:", "", "| | before | after |", "|---|---|---|", *rows]
