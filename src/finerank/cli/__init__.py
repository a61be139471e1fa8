"""The command line: `finerank COMMAND`. A command's module is imported only when it runs.

Exit codes: 0 done; 1 something failed, with the remedy on standard error; 2 wrong usage; 3 done, but some lines of a
batch were bad.
"""

import io
import sys
from importlib import import_module
from typing import Annotated

import typer

from finerank import __version__
from finerank.errors import FinerankError
from finerank.settings import unknown_variables

COMMANDS = (
    "rank",
    "index",
    "search",
    "ask",
    "serve",
    "mcp",
    "config",
    "evaluate",
    "calibrate",
    "demo",
    "doctor",
    "export",
    "mine",
    "pretrain",
    "train",
)
"""Each lives in the module of its name in this folder, as a function of its name."""


def build_app(commands: tuple[str, ...] = COMMANDS) -> typer.Typer:
    """The typer application with these commands."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="finerank puts the passages that answer a question first.",
    )

    @app.callback()
    def root(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
        ] = False,
    ) -> None:
        pass

    for name in commands:
        app.command(name)(getattr(import_module(f"finerank.cli.{name}"), name))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The `finerank` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # text may hold what the terminal cannot show
    for unknown in unknown_variables():
        typer.secho(f"finerank: {unknown}", fg=typer.colors.YELLOW, err=True)
    wanted = tuple(word for word in sys.argv[1:2] if word in COMMANDS) or COMMANDS
    try:
        build_app(wanted)()
    except FinerankError as error:
        typer.secho(f"finerank: {error}", fg=typer.colors.RED, err=True)
        sys.exit(1)
