"""The command line: `finerank COMMAND`. A command's module is imported only when it runs.

Exit codes: 0 done; 1 something failed, with the remedy on standard error; 2 wrong usage; 3 done, but some lines of a
batch were bad.
"""

import errno
import io
import os
import sys
from importlib import import_module
from typing import Annotated, NoReturn

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
    _open_closed_output()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # text may hold what the terminal cannot show
    for unknown in unknown_variables():
        typer.secho(f"finerank: {unknown}", fg=typer.colors.YELLOW, err=True)
    wanted = tuple(word for word in sys.argv[1:2] if word in COMMANDS) or COMMANDS
    try:
        try:
            build_app(wanted)()
        finally:
            sys.stdout.flush()  # what does not fit on a disk is told here, and not by Python as it ends
    except FinerankError as error:
        _fail(str(error))
    except BrokenPipeError:  # whoever read the output has enough
        _discard_output()
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _discard_output()
        _fail(_told(error))


def _open_closed_output() -> None:
    """Where standard output or error is closed, nothing is printed there, and nothing fails for it."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end


def _discard_output() -> None:
    """Leave Python nothing that it would try to write again as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: OSError) -> str:
    """What the system refused, in a line."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    name = error.filename or ("writing the output" if full else "")
    what = f"{name}: {error.strerror}" if name else str(error.strerror)
    return f"{what}; make room there, or name another place, and give the command again" if full else what


def _fail(message: str) -> NoReturn:
    typer.secho(f"finerank: {message}", fg=typer.colors.RED, err=True)
    sys.exit(1)
