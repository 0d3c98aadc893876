"""Words written so that they read as others do: look-alike letters, marks over or through them, signs between them.

A disguised "not" is read as "not", in a draft and in its source.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from headwater.injection.characters import fold, is_look_alike

UNDRAWN = "\xad\u200b-\u200d\u2060\ufeff"
COMBINING = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
"""Characters that nobody sees, and marks that are drawn over, under or through a letter, for a class of a pattern."""

ENCLOSED = "\u24b6-\u24e9\U0001f130-\U0001f149"
"""Letters in circles and squares, which count as symbols."""

STRUCK = re.compile("[\u0334-\u0338\u20d2\u20d3\u20e5\u20e6\u20eb]")
"""Marks that strike a letter out."""

_VERBS = "is are was were do does did has have had could would should must need"
BARE_CONTRACTIONS = {f"{verb}nt": verb for verb in _VERBS.split()} | {
    "cant": "can",
    "wont": "will",
    "shant": "shall",
    "aint": "is",
}
"""English words with "not" whose apostrophe is left out, and what is left of them."""

MAX_SPELLED = 12
"""Letters of a word that is written letter by letter, at most."""

_BETWEEN = frozenset("-._*·•/| \u00a0‐‑")
_MARKS = re.compile(f"[{UNDRAWN}{COMBINING}]+")
_WORD = re.compile(f"\\w[\\w{UNDRAWN}{COMBINING}]*")
_DRAWN_ALIKE = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢոօհսցɑıⅼʼ", "abcdefghijklmnoprstuvwyznohugail'", strict=True))
"""Small capitals, and letters of no table of :mod:`headwater.injection.characters` that are drawn like Latin ones."""


def plain(word: str, latin: bool) -> str:
    """Return a word without what disguises it; accents stay. ``latin``: its language is written in Latin letters."""
    if word.isascii():
        return word
    bare = _MARKS.sub("", unicodedata.normalize("NFC", word))
    if not latin or not bare or bare.isascii():
        return bare
    known = "".join(_DRAWN_ALIKE.get(c, c) for c in bare)
    if known != bare and (known.isascii() or any(c.isascii() and c.isalpha() for c in bare)):
        bare = known
    # The look of each character; one that looks like no Latin letter keeps the word what it is.
    looks = fold(bare)
    foreign = not any(unicodedata.name(c, "").startswith("LATIN") for c in bare)
    if is_look_alike(bare) or (foreign and len(bare) > 1 and looks.isalpha()):
        return "".join(look if look.isalpha() else c for look, c in zip(looks, bare, strict=True))
    return bare


def is_spelled(gap: str, first: str, letters: int) -> bool:
    """Whether ``gap`` can stand between the letters of one word; all gaps are like the ``first``.

    A space needs three letters ("n o" can be anything).
    """
    return gap == first and gap in _BETWEEN and (letters > 2 or not gap.isspace())


def is_disguised(text: str, sources: Iterable[str]) -> bool:
    """Say whether ``text`` has a word of mixed scripts, or with marks that are no accents, that no source spells so."""
    if text.isascii():
        return False
    found = {word for word in _WORD.findall(text) if _is_odd(word)}
    return bool(found) and not found <= {word for source in sources for word in _WORD.findall(source)}


def _is_odd(word: str) -> bool:
    if word.isascii():
        return False
    composed = unicodedata.normalize("NFC", word)
    latin = any(c.isascii() and c.isalpha() for c in composed)
    return latin and (_MARKS.search(composed) is not None or is_look_alike(composed))
