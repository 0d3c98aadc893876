"""The deterministic check between a sentence of an answer and the span it cites. No model, no threshold."""

from __future__ import annotations

import re


def verify(sentence_text: str, quote: str) -> bool:
    """Say whether ``sentence_text`` stands word for word, whole words only, in ``quote``.

    Runs of white space count as one space, since a line break inside a source is layout; everything else
    counts as it is, letter case and punctuation included. An empty sentence is never supported.
    """
    sentence = " ".join(sentence_text.split())
    if not sentence:
        return False
    # A word border is only asked for where the sentence itself begins or ends with a word character.
    before = r"(?<!\w)" if re.match(r"\w", sentence) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", sentence) else ""
    return re.search(before + re.escape(sentence) + after, " ".join(quote.split())) is not None
