"""Text that people write: files (corpora, prompts, golden sets), and arguments of commands."""

from __future__ import annotations

from pathlib import Path

from headwater.errors import ConfigError


def read_text(path: Path, what: str = "the file") -> str:
    """Return the text of ``path``; ConfigError, with the line where there is one, when it can't be read as UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {what} can't be read ({error.strerror}).") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: {what} is not UTF-8 text; save it as UTF-8.") from None


def encodes(text: str) -> bool:
    """Return whether ``text`` can be stored: an argument that was no UTF-8 holds lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def json_lines(text: str) -> list[tuple[int, str]]:
    """Return (line, text) of the lines of a JSON Lines file that aren't blank.

    Lines end at line feeds alone: JSON may hold the other line separators of Unicode as they are.
    """
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
