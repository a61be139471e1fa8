"""An evaluation, or a calibration, as one HTML page that opens from disk and loads nothing.

Needs the extra `evaluate`.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from finerank.evaluation import plots
from finerank.evaluation.compare import Comparison, Difference, Slice
from finerank.evaluation.keyword_traps import TrapOutcome, trap_accuracy
from finerank.evaluation.results import Averages, Evaluation

if TYPE_CHECKING:  # it needs scikit-learn
    from finerank.evaluation.calibrate import Fit, Threshold

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2530; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; border-bottom: 1px solid #e3e7ec; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.up { color: #1a7f5a; } .down { color: #c0392b; } .note { color: #6b7683; }
svg { max-width: 100%; height: auto; }
"""

Cell = str | int | float

# The browser itself then refuses to load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def evaluation_page(
    evaluation: Evaluation,
    comparisons: Sequence[Comparison] = (),
    outcomes: Sequence[TrapOutcome] = (),
) -> str:
    """The page. Queries' text is on it only where the evaluation carries it."""
    parts: list[str] = []
    if evaluation.sets:
        parts += _averages(evaluation)
    for comparison in comparisons:
        parts += _comparison(comparison)
    if outcomes:
        parts += _traps(outcomes)
    return page(f"Evaluation of {evaluation.model}", parts)


def calibration_page(model: str, method: str, fit: "Fit") -> str:
    """The page of a calibration: what it is worth on queries it was not fitted on, and the threshold."""
    before, after = fit.before, fit.after
    parts = [
        note(f"{method}, fitted on {fit.pairs} pairs of {fit.queries} queries, {fit.relevant} of them relevant"),
        heading("How far what is said is true, on queries the curve was not fitted on"),
        table(
            ["", "expected calibration error", "Brier score"],
            [
                ["score", before.calibration_error, before.brier],
                ["probability", after.calibration_error, after.brier],
            ],
        ),
        plots.reliability(
            [(part.said, part.relevant) for part in before.bins], [(part.said, part.relevant) for part in after.bins]
        ),
        table(
            ["", "mean said", "share relevant", "pairs"],
            [
                [name, part.said, part.relevant, part.pairs]
                for name, quality in (("score", before), ("probability", after))
                for part in quality.bins
            ],
        ),
    ]
    return page(f"Calibration of {model}", parts + (_threshold(fit.threshold) if fit.threshold else []))


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document; `parts` are HTML, `title` is text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """An HTML table; strings are text, numbers are set to the right, floats with four decimals."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _averages(evaluation: Evaluation) -> list[str]:
    cost, main = evaluation.cost, evaluation.measures[0]
    limits: Mapping[str, int | None] = {
        "candidates a query, at most": evaluation.depth,
        "queries a set, at most": evaluation.max_queries,
        "seed of the draw": evaluation.seed,
    }
    rows = evaluation.by_set()
    return [
        note(
            f"{cost.pairs} pairs, {cost.tokens} tokens, {cost.seconds:.1f} s, {cost.pairs_per_s:.1f} pairs/s, "
            f"{cost.truncated} truncated, {cost.cached} from the cache"
        ),
        *(note(f"{name}: {value}") for name, value in limits.items() if value is not None),
        heading("Averages, first stage and reranked"),
        _averages_table("language", [*evaluation.overall(), *evaluation.by_language()], evaluation.measures),
        heading("Sets"),
        plots.before_and_after(
            [(row.name, row.first_stage[main], row.reranked[main]) for row in rows], main, ("first stage", "reranked")
        ),
        _averages_table("set", rows, evaluation.measures),
        *(note(f"{result.name}: {text}") for result in evaluation.sets for text in result.notes),
    ]


def _averages_table(what: str, rows: Sequence[Averages], measures: Sequence[str]) -> str:
    columns = [column for name in measures for column in (name, "reranked")]
    cells = [[value for name in measures for value in (row.first_stage[name], row.reranked[name])] for row in rows]
    return table([what, "queries", *columns], [[r.name, r.queries, *c] for r, c in zip(rows, cells, strict=True)])


def _comparison(comparison: Comparison) -> list[str]:
    measure, deltas = comparison.measure, comparison.deltas
    hurt = [part for part in comparison.slices if part.hurt]
    differences = [("all", comparison.overall), *comparison.languages.items()]
    return [
        heading(f"{comparison.after} against {comparison.before}, {measure}"),
        table(
            ["", "difference", "95% interval", "p", "queries", "better", "worse"],
            [[name, *_difference(found)] for name, found in differences],
        ),
        *(note(text) for text in comparison.notes),
        plots.histogram(deltas, measure),
        heading("Where it is worse"),
        table(
            ["by", "", "queries", "mean change", "better", "worse", "worst queries"],
            [_slice(part) for part in sorted(hurt, key=lambda part: part.mean)],
        ),
    ]


def _difference(found: Difference) -> list[Cell]:
    interval = f"{found.low:+.4f} to {found.high:+.4f}"
    return [found.mean, interval, found.p_value, found.queries, found.helped, found.hurt]


def _slice(part: Slice) -> list[Cell]:
    worst = "; ".join(f"{change.set} {change.text or change.id} {change.delta:+.2f}" for change in part.worst)
    return [part.by, part.name, part.queries, part.mean, part.helped, part.hurt, worst]


def _traps(outcomes: Sequence[TrapOutcome]) -> list[str]:
    rows: list[list[Cell]] = [
        [name, figure.traps, figure.right, figure.accuracy] for name, figure in trap_accuracy(outcomes).items()
    ]
    return [heading("Keyword traps: the answer first"), table(["language", "traps", "right", "accuracy"], rows)]


def _threshold(found: "Threshold") -> list[str]:
    elsewhere = [
        "not reached" if value is None else value for value in (found.held_out_precision, found.held_out_recall)
    ]
    rows: list[list[Cell]] = [
        ["score", found.score],
        ["probability", found.probability],
        ["pairs kept", found.kept],
        ["precision", found.precision],
        ["recall", found.recall],
        ["precision, held out", elsewhere[0]],
        ["recall, held out", elsewhere[1]],
    ]
    return [heading(f"Threshold for a {found.goal} of {found.wanted}"), table(["", ""], rows)]


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    return f'<td class="number">{value:.4f}</td>' if isinstance(value, float) else f'<td class="number">{value}</td>'
