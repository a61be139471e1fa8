"""Does reranking help here? The evidence that `finerank evaluate --store` leaves in a store, and what follows from it.

The gate does no harm: where the user's own judged questions say that the reranker makes the order worse, or an alert
says that its scores are not healthy, the first stage's order is kept or blended in.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from finerank.errors import StoreError
from finerank.io.atomic import write_text
from finerank.io.jsonl import to_json
from finerank.paths import expand
from finerank.rag.results import Decision, Order
from finerank.rag.said import Said
from finerank.settings import DEFAULT_MODEL
from finerank.text.script import script

FILE = "evidence.json"

ENOUGH_QUERIES = 20
"""Judged questions in a script from which on they speak for themselves; with fewer, all questions speak."""


KNOWN_SCRIPTS: Mapping[str, frozenset[str]] = {
    DEFAULT_MODEL: frozenset({"latin", "han", "kana", "hangul", "cyrillic", "arabic", "thai"})
}
"""The scripts a model can read, where it is known to read no others."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What reranking did to a measure: the mean difference, its 95% interval, and on how many questions."""

    mean: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """The effect of one model on one store, for all judged questions and by the questions' script."""

    model: str
    measure: str
    overall: Effect
    scripts: Mapping[str, Effect] = field(default_factory=dict)


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Keep the evidence about one model in the store; that about others stays. Raises `StoreError`."""
    kept = {**_read(folder), _key(evidence.model): asdict(evidence)}
    try:
        write_text(folder / FILE, to_json(kept, indent=1))
    except OSError as error:
        raise StoreError(f"{folder / FILE}: cannot be written ({error.strerror})") from error


def read_evidence(folder: Path, model: str) -> Evidence | None:
    """The evidence about a model, None if the store has none. Raises `StoreError` if it cannot be read."""
    every = _read(folder)
    fields = every.get(_key(model), every.get(model))
    if fields is None:
        return None
    try:
        scripts = {name: Effect(**effect) for name, effect in fields["scripts"].items()}
        return Evidence(fields["model"], fields["measure"], Effect(**fields["overall"]), scripts)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def _key(model: str) -> str:
    """A model's name; the full path of a local folder, which is the same from every working directory."""
    return os.path.abspath(expand(model)) if model and os.path.isdir(expand(model)) else model


def decide(
    gate: Literal["auto", "rerank", "blend", "keep"],
    question: str,
    evidence: Evidence | None,
    *,
    model: str = "",
    alert: str = "",
) -> Decision:
    """Which order counts for a question. `model` is the reranker's name, `alert` what is wrong with its scores, if
    anything.

    >>> evidence = Evidence("m", "nDCG@10", Effect(-0.1, -0.15, -0.05, 40))
    >>> decide("auto", "how?", evidence).order
    'keep'
    """
    if gate != "auto":
        return Decision(gate, Said.of("gate.setting", gate=gate))
    if alert:
        return Decision("blend", Said.of("gate.alert", why=alert))
    written = script(question)
    if evidence is None and written not in KNOWN_SCRIPTS.get(model, {written}):
        return Decision("keep", Said.of("gate.script", model=model, script=written))
    if evidence is None:
        return Decision("rerank", Said.of("gate.no-evidence"))
    in_script = evidence.scripts.get(written)
    if in_script is not None and in_script.queries >= ENOUGH_QUERIES:
        return _by_evidence(in_script, evidence.measure, f"judged questions in {written} script", written)
    return _by_evidence(evidence.overall, evidence.measure, "judged questions", "")


def _by_evidence(effect: Effect, measure: str, what: str, written: str) -> Decision:
    order: Order = "keep" if effect.high < 0 else "blend" if effect.mean < 0 else "rerank"
    code = {"keep": "gate.hurts", "blend": "gate.may-hurt"}.get(
        order, "gate.helps" if effect.low > 0 else "gate.no-harm"
    )
    mean, low, high = (f"{value:+.3f}" for value in (effect.mean, effect.low, effect.high))
    measured = f"{measure} {mean} ({low} to {high}) on {effect.queries} {what}"
    return Decision(
        order,
        Said.of(
            code,
            measured=measured,
            measure=measure,
            mean=mean,
            low=low,
            high=high,
            queries=effect.queries,
            script=written,
        ),
    )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    if not isinstance(content, dict):
        raise _damaged(folder, TypeError("not an object"))
    return content


def _damaged(folder: Path, error: Exception) -> StoreError:
    return StoreError(f"{folder / FILE}: is damaged ({error}); delete it, or evaluate again")
