"""The file of golden questions, as far as this package writes it: promoted questions are added, and lose erased quotes.

A line that came this way says so in ``provenance``. Lines that people wrote themselves are never changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from headwater.errors import ConfigError
from headwater.stages.evaluation import GoldenQuestion, read_golden
from headwater.text_files import json_lines, read_text

PROVENANCE = "provenance"
_WORD = re.compile(r"\w+")


def find_same(path: Path, line: GoldenQuestion) -> GoldenQuestion | None:
    """Return the golden question that says the same; ConfigError when it says otherwise."""
    for known in read_golden(path) if path.is_file() else []:
        if known.id == line.id or _words(known.question) == _words(line.question):
            if _words(known.question) == _words(line.question) and set(known.answers) == set(line.answers):
                return known
            raise ConfigError(
                f"{path}: question {known.id!r} asks the same and has other answers. Correct that line by hand, or "
                "dismiss the feedback."
            )
    return None


def question_line(line: GoldenQuestion, provenance: Mapping[str, Any]) -> str:
    """Return the line of a golden question, without a line feed at its end."""
    answers = [{"key": key, "quote": quote} for key, quote in line.answers]
    return _dumped({"id": line.id, "question": line.question, "answers": answers, PROVENANCE: dict(provenance)})


def append_line(path: Path, line: str) -> None:
    """Add a line in one write, so that whoever reads the file sees all of it or nothing.

    Raises ConfigError where the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            unended = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            start = "\n" if unended else ""
            os.write(handle, f"{start}{line}\n".encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise ConfigError(
            f"{path}: the golden question can't be added ({error.strerror}). Where the file is kept elsewhere, such as in "
            "a repository that is mounted here to be read, have the line given to you and add it there: repeat the "
            "command with --output FILE, or with --output - to print it."
        ) from error


def forget_promoted(path: Path, keys: Collection[str]) -> int:
    """Take the quotes of erased documents out of promoted questions, and questions that have no other; return how many.

    Lines that people wrote themselves are left to them. Raises ConfigError where the file can't be read or written.
    """
    if not path.is_file():
        return 0
    kept, forgotten = [], 0
    for _, line in json_lines(read_text(path, "the golden set")):
        row = _promoted(line)
        if row is not None and any(item.get("key") in keys for item in row["answers"]):
            forgotten += 1
            row["answers"] = [item for item in row["answers"] if item.get("key") not in keys]
            line = _dumped(row) if row["answers"] else ""
        if line:
            kept.append(line.removesuffix("\r"))
    if forgotten:
        draft = path.with_name(f".{path.name}.draft")
        try:
            draft.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise ConfigError(
                f"{path}: quotes of the erased document can't be taken out of {forgotten} promoted lines "
                f"({error.strerror}). Take them out where the file is kept, and erase the document again to finish: the "
                f"lines have its key in `answers`, and `{PROVENANCE}`."
            ) from error
    return forgotten


def _promoted(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None  # whoever reads the golden set says what is wrong with it
    return row if isinstance(row, dict) and PROVENANCE in row and isinstance(row.get("answers"), list) else None


def _words(question: str) -> list[str]:
    return _WORD.findall(question.casefold())


def _dumped(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    return text if len(text.splitlines()) == 1 else json.dumps(row)  # a key may have a line separator in it
