"""Figures as SVG text that stands inside an HTML page: no files, no fonts and no addresses from outside.

Needs the extra `evaluate`.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from finerank.errors import MissingExtra

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra("drawing a report", "evaluate") from error

_BEFORE, _AFTER, _WORSE = "#9aa5b1", "#1a7f5a", "#c0392b"

# Text stays text, in the reader's fonts, which know more scripts; a $ in a name is a dollar sign.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "finerank",
    "text.parse_math": False,
    "font.family": "sans-serif",
}

Point = tuple[float, float]


def before_and_after(rows: Sequence[tuple[str, float, float]], measure: str, labels: tuple[str, str]) -> str:
    """One line a row, from its value before to its value after; red where it fell."""

    def draw(axes: Axes) -> None:
        for place, (_, before, after) in enumerate(rows):
            axes.plot([before, after], [place, place], color=_AFTER if after >= before else _WORSE, linewidth=2)
        places = range(len(rows))
        axes.scatter([row[1] for row in rows], places, color=_BEFORE, label=labels[0], zorder=3)
        axes.scatter([row[2] for row in rows], places, color=_AFTER, label=labels[1], zorder=3)
        axes.set_yticks(list(places), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(measure)
        axes.grid(axis="x", alpha=0.3)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)

    return _svg(draw, height=1.2 + 0.24 * len(rows))


def histogram(deltas: Sequence[float], measure: str) -> str:
    """How many queries changed by how much."""

    def draw(axes: Axes) -> None:
        axes.hist(deltas, bins=[tenth / 10 - 1.05 for tenth in range(22)], color=_AFTER)
        axes.set_yscale("symlog")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(f"change of a query's {measure}")
        axes.set_ylabel("queries")

    return _svg(draw, height=2.6)


def reliability(before: Sequence[Point], after: Sequence[Point]) -> str:
    """What was said against what was so; on the diagonal both agree."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="dashed")
        for points, color, label in ((before, _BEFORE, "score"), (after, _AFTER, "probability, held out")):
            axes.plot([said for said, _ in points], [so for _, so in points], color=color, marker="o", label=label)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
        axes.set_xlabel("said")
        axes.set_ylabel("share that was relevant")
        axes.legend(frameon=False)

    return _svg(draw, height=4.2)


def _svg(draw: Callable[[Axes], None], height: float) -> str:
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts draw it
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    # What stands before and in the metadata names documents on other machines.
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
