"""Rankings for a terminal and as JSON. Text from documents is printed as it is, never read as markup."""

import sys
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finerank.io.jsonl import is_unicode, to_json
from finerank.ranking import RankedDocument, Ranking

BAR_WIDTH = 20
_BLOCKS = " ▏▎▍▌▋▊▉█"


def score_bar(score: float, good: bool, width: int = BAR_WIDTH) -> Text:
    """A bar as long as the score, green if good and red if not."""
    eighths = round(score * width * 8)
    full, rest = divmod(eighths, 8)
    bar = ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(width)
    return Text(bar, style="green" if good else "red", no_wrap=True)


def ranking_table(ranking: Ranking, threshold: float) -> Table:
    """One row a document: rank, bar, score, the probability if there is one, logit, marks, text."""
    calibrated = any(result.probability is not None for result in ranking)
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column("#", justify="right")
    table.add_column("score", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    if calibrated:
        table.add_column("prob.", justify="right", no_wrap=True)
    table.add_column("logit", justify="right", style="bright_black", no_wrap=True)
    table.add_column("passage", overflow="ellipsis", ratio=1)
    for result in ranking:
        good = result.score >= threshold
        table.add_row(
            str(result.rank),
            score_bar(result.score, good),
            Text(f"{result.score:.4f}", style="green" if good else "red"),
            *([f"{result.probability:.3f}"] if calibrated else []),
            f"{result.logit:+.2f}",
            _passage(result),
        )
    return table


def _passage(result: RankedDocument) -> Text:
    document = result.document
    text = Text(overflow="ellipsis", no_wrap=True)
    if result.truncated:
        text.append("[truncated] ", style="yellow")
    if document.id is not None:
        text.append(f"{document.id}  ", style="cyan")
    start, end = result.best_span or (0, len(document.text))
    if result.best_span:
        text.append(f"[{start}:{end}] ", style="bright_black")
    return text.append(" ".join(document.text[start:end].split()))


def print_usage(console: Console, ranking: Ranking, what: str) -> None:
    """One grey line: what was used, how much was scored, in what time."""
    usage = ranking.usage
    seconds = usage.seconds.get("total", 0.0)
    parts = [what, f"{usage.pairs} pairs", f"{usage.tokens} tokens", f"{seconds * 1000:.0f} ms"]
    if usage.truncated:
        parts.append(f"{usage.truncated} truncated")
    if usage.cached:
        parts.append(f"{usage.cached} cached")
    if usage.skipped:
        parts.append(f"{usage.skipped} skipped")
    console.print(Text("  " + "  ·  ".join(parts), style="bright_black"))
    if ranking.degraded:
        console.print(Text(f"  degraded: {ranking.degraded}", style="yellow"))


def print_json(document: Mapping[str, object], lines: Iterable[Mapping[str, object]], *, as_lines: bool) -> None:
    """The whole as one JSON document on standard output, or its items as one JSON object a line.

    Where standard output has no Unicode, as in the locale C, other characters than ASCII are escaped.
    """
    ascii_only = not is_unicode(sys.stdout)
    if as_lines:
        sys.stdout.writelines(to_json(line, ascii_only=ascii_only) + "\n" for line in lines)
    else:
        sys.stdout.write(to_json(document, indent=1, ascii_only=ascii_only) + "\n")


def result_json(result: RankedDocument) -> dict[str, object]:
    """A result as JSON fields; probability, id, metadata and best_span only where there are any."""
    document = result.document
    fields: dict[str, object] = {
        "rank": result.rank,
        "index": result.index,
        "score": result.score,
        "logit": result.logit,
        "truncated": result.truncated,
        "text": document.text,
    }
    if result.probability is not None:
        fields["probability"] = result.probability
    if document.id is not None:
        fields["id"] = document.id
    if document.metadata:
        fields["metadata"] = dict(document.metadata)
    if result.best_span:
        fields["best_span"] = list(result.best_span)
    return fields


def ranking_json(ranking: Ranking) -> dict[str, object]:
    """A ranking as one JSON object."""
    usage = ranking.usage
    return {
        "model": ranking.model,
        "results": [result_json(result) for result in ranking],
        "usage": {
            "pairs": usage.pairs,
            "tokens": usage.tokens,
            "truncated": usage.truncated,
            "cached": usage.cached,
            "skipped": usage.skipped,
            "seconds": {stage: round(value, 6) for stage, value in usage.seconds.items()},
        },
        **({"degraded": ranking.degraded} if ranking.degraded else {}),
    }
