"""Small pieces of Markdown: tables whose cells can hold anything, types, and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

_ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):`~?([^`]+)`")
_INTERPRETED = re.compile(r"``([^`]+)``")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown, in which line breaks and bars are made harmless."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Return ``text`` as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def text(words: str) -> str:
    """Return plain words as Markdown: what would be markup or HTML in them is shown as it is."""
    parts = re.split(r"(`[^`]*`)", " ".join(words.split()))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def docstring(thing: object) -> str:
    """Return the docstring of ``thing`` as Markdown: our references become code. Empty where there is none of its own."""
    words = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    words = _ROLE.sub(lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", words)
    return _INTERPRETED.sub(r"`\1`", words)


def _escaped(words: str) -> str:
    return re.sub(r"([*_>\[\]{}])", r"\\\1", words.replace("&", "&amp;").replace("<", "&lt;"))


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")
