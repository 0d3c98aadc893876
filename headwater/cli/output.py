"""What commands print: tables and text for people, JSON for programs, errors as one message."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH = 160
"""Columns where no terminal says how many there are; rich would take 80 and fold most tables."""

# C0 and C1 controls but tab and line feed: a document or a key must not be able to drive the terminal.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: no markup, no highlighting, no emoji codes."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPED_WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def plain(text: object) -> str:
    """Return ``text`` as a string without control characters."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(text))


def say(text: object = "", style: str | None = None) -> None:
    """Print one line (or paragraph) to standard output; wrapped by the terminal, never cut."""
    console().print(Text(plain(text), style=style or ""), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print dataclasses, mappings, dates and the like as one JSON document."""
    from pydantic_core import to_json

    typer.echo(to_json(value, indent=2, inf_nan_mode="null").decode())


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table; the columns named in ``right`` are numbers, long cells fold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        numeric = header in right
        table.add_column(header, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain("" if cell is None else cell)) for cell in row))
    console().print(table)


def print_error(message: str) -> None:
    """Print an error message to standard error."""
    console(stderr=True).print(Text.assemble(("Error: ", "bold red"), plain(message)), soft_wrap=True)


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Show on a terminal that something takes a moment (loading a model); silent where there is none."""
    with console(stderr=True).status(doing):
        yield


def size(count: int | float) -> str:
    """Return a number of bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
