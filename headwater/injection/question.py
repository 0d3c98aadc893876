"""What may be asked: a question's length and characters, before anything reads it."""

from __future__ import annotations

import re
import unicodedata

from headwater.injection.characters import strip_unseen

MAX_QUESTION = 2000
"""Characters of a question or query: ten times the longest of ClapNQ's, and a quarter of what the smallest models read."""

_MARKS = re.compile(
    r"((?:\u0300|[\u0301-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f])){4,}"
)
"""More marks on one letter than any language writes ("zalgo" text)."""


def clean_question(text: str, limit: int = MAX_QUESTION) -> str:
    """Return a question in Unicode's composed form (NFC), without invisible and control characters.

    White space at its ends goes, runs of spaces become one, line breaks stay (a question may quote a list). Raises
    ValueError, which doesn't repeat the question, where nothing is left or more than ``limit`` characters are.
    """
    if len(text) > 4 * limit:  # nothing that is taken out could make it short enough, but for an attack
        raise ValueError(f"has {len(text):,} characters; {limit:,} are allowed")
    cleaned = unicodedata.normalize("NFC", strip_unseen(text.encode("utf-8", "ignore").decode()))
    cleaned = _MARKS.sub(r"\1", cleaned)
    lines = (" ".join(line.split()) for line in re.split(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]", cleaned))
    cleaned = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if not cleaned:
        raise ValueError("must not be blank")
    if len(cleaned) > limit:
        raise ValueError(f"has {len(cleaned):,} characters; {limit:,} are allowed")
    return cleaned
