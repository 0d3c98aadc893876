"""Comparison signs beside numbers: what ``<``, ``≥``, ``~`` and ``±`` say, and marks that deny."""

from __future__ import annotations

import re
from typing import NamedTuple

UNEQUAL = "≠"
"""The token of ``≠`` and ``!=``."""

CROSS = "✗"
"""The token of a cross, a prohibition sign, or the beginning of struck text."""

MARKS = r"≠|!=|[✗✘❌❎🚫⛔👎]|(?<!~)~~(?=\w)|<(?:s|del|strike)>"
"""Signs that deny, as a pattern."""

APPROXIMATE = frozenset(
    {"about", "around", "approximately", "approx", "roughly", "nearly", "almost", "circa", "ca", "some"}
)
"""Words that say what ``~`` does."""

_WINDOW = 48
"""Characters beside a number among which a sign, or the tag that only looks like one, is looked for."""

_BEFORE = re.compile(
    r"""(?: (?P<down><[=]?|[≤≦⩽＜]) | (?P<up>(?<![-=>])>=?|[≥≧⩾＞]) | (?P<about>(?<!~)~(?!~)|[≈∼≃≅]) | (?P<spread>±|\+/-) )
    \s{0,2}[€$£¥₹₽₩]?\s?[-−–+]?\Z""",
    re.VERBOSE,
)
_AFTER = re.compile(r"\s{0,2}(?:(?P<down>>=?|[≥≧⩾])|(?P<up><=?|[≤≦⩽]))(?=\s{0,2}[\w(])|(?P<more>\+)(?![\w+/-])")
_TAG = re.compile(r"<[/!a-z][^<>]*>\s?\Z", re.IGNORECASE)
_TAG_AFTER = re.compile(r"\s?</?[a-z][^<>]*>", re.IGNORECASE)
_QUOTED_LINE = re.compile(r"(?:\A|\n)[>\s]*\Z")


class Sign(NamedTuple):
    """``bound`` is 1 where the number is the least value, -1 where it is the greatest; ``blur`` is ``~`` or ``±``."""

    bound: int = 0
    blur: str = ""


def read_sign(text: str, start: int, end: int) -> Sign:
    """Return what the signs beside the number ``text[start:end]``, its unit included, say about it.

    The ``>`` of an arrow, a tag or a quoted line is none. Takes constant time.
    """
    before = text[max(0, start - _WINDOW) : start]
    match = _BEFORE.search(before)
    if match and not (match["up"] and (_TAG.search(before) or _QUOTED_LINE.search(before))):
        if match["about"] or match["spread"]:
            return Sign(blur="~" if match["about"] else "±")
        return Sign(bound=1 if match["up"] else -1)
    after = text[end : end + _WINDOW]
    behind = _AFTER.match(after)
    if behind is None or _TAG_AFTER.match(after):
        return Sign()
    return Sign(bound=-1 if behind["down"] else 1)
