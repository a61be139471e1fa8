"""The command line: `finerank COMMAND`. A command's module is imported only when it runs.

Exit codes: 0 done; 1 failed, with the remedy on standard error; 2 wrong usage, such as an option's value; 3 done, but
some lines of a batch were bad, or some files could not be read.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from finerank import __version__
from finerank.errors import FinerankError, InvalidSetting, UnusablePath
from finerank.paths import expand
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

FAILED, WRONG_USAGE = 1, 2

_UsageError: Any = typer.BadParameter.__mro__[1]  # typer exports no other name for it


def build_app(commands: tuple[str, ...] = COMMANDS) -> typer.Typer:
    """The typer application with these commands."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
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
        app.command(name)(_with_expanded_paths(getattr(import_module(f"finerank.cli.{name}"), name)))
    return app


def _with_expanded_paths(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `~` expanded in its paths: the shell does that for `--out ~/x`, and not for `--out=~/x`."""

    def expanded(value: object) -> object:
        if isinstance(value, list):
            return [expanded(each) for each in value]
        return expand(value) if isinstance(value, Path) else value

    @wraps(command)
    def run(**given: object) -> None:
        command(**{name: expanded(value) for name, value in given.items()})

    return run


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
            code = build_app(wanted)(prog_name="finerank", standalone_mode=False)
        finally:
            sys.stdout.flush()  # what does not fit on a disk is told here, and not by Python as it ends
    except _UsageError as error:
        _fail(_usage(error), WRONG_USAGE)
    except FinerankError as error:
        wrong_usage = isinstance(error, InvalidSetting) and not isinstance(error, UnusablePath)
        _fail(str(error), WRONG_USAGE if wrong_usage else FAILED)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has enough
        _discard_output()
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _discard_output()
        _fail(_told(error))
    sys.exit(code or 0)


def _usage(error: Any) -> str:  # noqa: ANN401 - typer exports no name for it
    """What is wrong with the command line, the nearest option there is, and where to read on; all in one line."""
    near = getattr(error, "possibilities", None)
    if near:
        what = f"{error.message}; did you mean {' or '.join(near)}?"
    else:
        names_option = getattr(error, "param", None) or getattr(error, "param_hint", None)
        what = error.format_message() if names_option else error.message
    command = error.ctx.command_path if error.ctx else "finerank"
    return f"{' '.join(what.split())} (see {command} --help)" if what else ""


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


def _fail(message: str, code: int = FAILED) -> NoReturn:
    if message:
        typer.secho(f"finerank: {message}", fg=typer.colors.RED, err=True)
    sys.exit(code)
