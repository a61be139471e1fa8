"""Ctrl-C: what a command has done by then, and how to go on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


@contextmanager
def told_when_interrupted(what: str | Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C print what is done and how to go on, and exit with `INTERRUPTED`."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nfinerank: stopped. {what if isinstance(what, str) else what()}\n")
        raise typer.Exit(INTERRUPTED) from None
