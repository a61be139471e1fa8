"""`finerank config`: every option, its value, and where the value comes from."""

from typing import TypedDict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finerank.cli import options
from finerank.cli.render import print_json
from finerank.settings import RagSettings, ServeSettings, Settings

SECRET = ("api_keys", "admin_keys", "metrics_key", "embedder_key", "generator_key")


class _Row(TypedDict):
    name: str
    value: object
    origin: str


def config(as_json: options.AsJson = False) -> None:
    """Print every option with its value and its origin: default, finerank.toml or the environment."""
    rows = [_row(name, value, origin) for name, value, origin in Settings.origins()]
    rows += [_row(f"serve.{name}", value, origin) for name, value, origin in ServeSettings.origins()]
    rows += [_row(f"rag.{name}", value, origin) for name, value, origin in RagSettings.origins()]
    if as_json:
        print_json({row["name"]: {"value": row["value"], "origin": row["origin"]} for row in rows}, [], as_lines=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("option", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        shown = "unset" if row["value"] is None else str(row["value"])
        table.add_row(
            row["name"], Text(shown), row["origin"], style="bright_black" if row["origin"] == "default" else ""
        )
    Console().print(table)


def _row(name: str, value: object, origin: str) -> _Row:
    secret = name.rpartition(".")[2] in SECRET and value
    return {"name": name, "value": "set, not shown" if secret else value, "origin": origin}
