"""Characters that nobody sees, and labels without them.

A label is a string beside a document's text: its title, the name of a section, a value of its metadata. What is removed
from a text is removed from labels too, or one unseen character hides an address in a heading from whatever looks for
personal data there.
"""

from __future__ import annotations

import re
import unicodedata

UNSEEN = "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f"
"""Unicode 15, as the inside of a character class: C0 and C1 controls but tab and line breaks; Default_Ignorable format
characters but the joiners, which emoji and several scripts need."""

_UNSEEN = re.compile(f"[{UNSEEN}]+")
_SURROGATE = re.compile("[\ud800-\udfff]+")


def label(text: str) -> str:
    """Return a text on one line, composed (NFC), without what nobody sees; lone surrogates become ``\\ufffd``."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", _UNSEEN.sub("", _SURROGATE.sub("\ufffd", text)))
    return " ".join(text.split())
