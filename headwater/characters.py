"""Characters that nobody sees, and labels without them.

A label is a string beside a document's text: its title, the name of a section, a value of its metadata. What is removed
from a text is removed from labels too, or one unseen character hides an address in a heading from whatever looks for
personal data there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

UNSEEN = "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f"
"""Unicode 15, as the inside of a character class: C0 and C1 controls but tab and line breaks; Default_Ignorable format
characters but those that emoji and several scripts need."""

CONTEXTUAL = (
    "\u034f\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u200c\u200d\u206a-\u206f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0080-\U000e0fff"
)
"""What else nobody sees, as the inside of a character class: joiners, variation selectors, fillers. They mean something
beside emoji, and in Arabic, the scripts of India and others; between Latin letters they only hide what is written."""

_PLAIN = re.compile(
    # Latin, Greek, Cyrillic, Armenian, their accents, punctuation, spaces and currencies; not the signs that are emoji, too.
    "[\0-\xa8\xaa-\xad\xaf-\u058f\u1680\u1d00-\u203b\u203d-\u2048\u204a-\u20cf\u2126\u212a\u212b\u2c60-\u2c7f\u3000"
    "\ua640-\ua69f\ua720-\ua7ff\uab30-\uab6f\ufb00-\ufb17\uff01-\uff5e\U0001d400-\U0001d7ff]"
)
_UNSEEN = re.compile(f"[{UNSEEN}]+")
_CONTEXTUAL = re.compile(f"[{CONTEXTUAL}]")
_HIDDEN = re.compile(f"[{UNSEEN}{CONTEXTUAL}]+")
_SURROGATE = re.compile("[\ud800-\udfff]+")


def stray_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where ``text`` has :data:`CONTEXTUAL` characters without a meaning, with what else nobody sees around them.

    They have one where the character that is seen before or behind them is an emoji or of a script that needs them.
    """
    if text.isascii() or not _CONTEXTUAL.search(text):
        return
    for run in _HIDDEN.finditer(text):
        start, end = run.span()
        if _CONTEXTUAL.search(text, start, end) and all(
            map(_PLAIN.match, text[max(0, start - 1) : start] + text[end : end + 1])
        ):
            yield start, end


def label(text: str) -> str:
    """Return a text on one line, composed (NFC), without what nobody sees; lone surrogates become ``\\ufffd``."""
    if not (text.isascii() and text.isprintable()):
        kept, at = [], 0
        for start, end in stray_spans(text):
            kept.append(text[at:start])
            at = end
        text = "".join([*kept, text[at:]])
        text = unicodedata.normalize("NFC", _UNSEEN.sub("", _SURROGATE.sub("\ufffd", text)))
    return " ".join(text.split())
