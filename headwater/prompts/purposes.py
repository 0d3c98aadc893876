"""What prompts are for, what each must hold, and the checks that a text passes before it becomes a version.

A prompt's name is its purpose, or the purpose with a variant after a dot (``answer.legal``); both are held to the
purpose's rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headwater.errors import ConfigError
from headwater.prompts.prompt import placeholders, without_placeholders

MAX_CHARACTERS = 20_000
"""About 5,000 tokens of English: a longer one leaves a small model no room for passages."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}(?:\.[a-z0-9][a-z0-9_-]{0,39})?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a kind of prompt does, and the placeholders that it must and may have."""

    description: str
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


PURPOSES: Mapping[str, Purpose] = {
    "answer": Purpose(
        "The system prompt of the answerer. The passages and the question are the next message, not a part of it.",
        required=frozenset({"max_sentences"}),
    ),
    "rewrite": Purpose(
        "Makes a question of a conversation one that stands alone, to search for. It is the whole message.",
        required=frozenset({"history", "question"}),
    ),
}


def check_name(name: str) -> Purpose:
    """Return what ``name`` is for; ConfigError when it can't name a prompt."""
    purpose = PURPOSES.get(name.partition(".")[0])
    if purpose is None or not _NAME.fullmatch(name):
        known = ", ".join(PURPOSES)
        raise ConfigError(
            f"{name!r} can't name a prompt. Use one of {known}, or one of them with a variant of lower-case letters, "
            f"digits, hyphens and underscores after a dot: {next(iter(PURPOSES))}.legal"
        )
    return purpose


def normal(text: str) -> str:
    """Return ``text`` as it is stored: line feeds at line ends, nothing around it. What an editor adds is no version."""
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip()


def check_text(name: str, text: str, where: str) -> None:
    """Raise ConfigError, naming ``where`` the text is from and the line, when it can't be a version of ``name``."""
    purpose = check_name(name)
    if not text:
        raise ConfigError(f"{where}: the prompt is empty.")
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where}: the prompt has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed.")
    for number, line in enumerate(text.split("\n"), start=1):
        if _CONTROLS.search(line):
            raise ConfigError(f"{where}:{number}: the line holds a control character; remove it.")
        if "{{" in without_placeholders(line):
            raise ConfigError(
                f"{where}:{number}: '{{{{' opens a placeholder that is not one. Write {{{{name}}}}, with lower-case "
                "letters, digits and underscores, on one line."
            )
        unknown = placeholders(line) - purpose.required - purpose.optional
        if unknown:
            known = ", ".join(sorted(purpose.required | purpose.optional))
            raise ConfigError(
                f"{where}:{number}: nothing fills the placeholder {', '.join(sorted(unknown))} of {name!r} (there are: "
                f"{known})."
            )
    missing = purpose.required - placeholders(text)
    if missing:
        needed = ", ".join(f"{{{{{one}}}}}" for one in sorted(missing))
        raise ConfigError(f"{where}: the prompt {name!r} has to hold {needed}.")
