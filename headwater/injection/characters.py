"""Characters that nobody sees, and characters that look like others: what instructions hide behind.

Invisible are the Default_Ignorable_Code_Points of Unicode 15 (DerivedCoreProperties.txt). Some of them have honest
uses, which are left alone: joiners between letters of scripts that need them and in emoji, a variation selector after
a character, the tag characters of a flag (UTS #51).
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np

IGNORABLE = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
CONTROL = "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
_JOINERS = "\u200c\u200d"
_SELECTORS = "\ufe00-\ufe0f"
_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f"

UNSEEN = re.compile(
    # A flag's tags, a joiner with no ASCII beside it, and one selector after what it selects are skipped below.
    f"(?P<flag>{_FLAG})|(?P<joiner>(?<=[^\\x00-\\x7f])[{_JOINERS}](?=[^\\x00-\\x7f]))"
    f"|(?P<selector>(?<=[^{_SELECTORS}])[{_SELECTORS}](?![{_SELECTORS}\U000e0100-\U000e01ef]))"
    f"|[{IGNORABLE}{CONTROL}]+"
)
"""Runs of what nobody sees; the named groups are honest uses."""

_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_RUNS = re.compile(f"[{IGNORABLE}{CONTROL}]+")

MAX_SPACE = 8
_LONG_SPACE = re.compile(rf"(?<=\s{{{MAX_SPACE}}})\s+")

# Letters of other scripts that are drawn like Latin ones (the single-letter rows of Unicode's confusables.txt that
# people use for it), beside what compatibility decomposition folds: full-width, mathematical and enclosed letters.
_LOOK_ALIKES = dict(
    zip(
        "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυ",
        "ABESIJKMHOPCTYXaesijopcyxhdqwlABEZHIKMNOPTYXaivopu",
        strict=True,
    )
)
_PUNCTUATION = {
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "“": '"', "”": '"', "„": '"', "″": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "…": ".", "•": "*", "·": "*",
    "‹": "<", "›": ">", "〈": "<", "〉": ">", "⟨": "<", "⟩": ">", "│": "|", "❘": "|", "∣": "|", "ǀ": "|",
}  # fmt: skip
_OTHER = "\x7f"
"""Stands for every character without an ASCII look-alike: a letter that no pattern asks for."""


class _Folding(dict[int, str]):
    """One ASCII character for each character, found at first use."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        folded = _LOOK_ALIKES.get(character) or _PUNCTUATION.get(character)
        if folded is None and character.isspace():
            folded = "\n" if character in "\x85\u2028\u2029" else " "
        if folded is None:
            # The first character of the decomposition: a letter without its accents, a full-width letter as itself.
            first = unicodedata.normalize("NFKD", character)[0]
            folded = first if first.isascii() and not first.isspace() else _OTHER
        self[point] = folded
        return folded


_FOLDING = _Folding({point: chr(point) for point in range(128)})


def fold(text: str) -> str:
    """Return ``text`` in ASCII, one character for each: look-alikes and accented letters as the letters they look like.

    Offsets stay what they are.
    """
    if text.isascii():
        return text
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = points.astype(np.uint8)
    other = np.flatnonzero(points > 0x7F)  # few, in most texts
    codes[other] = [ord(_FOLDING[point]) for point in points[other].tolist()]
    return codes.tobytes().decode("ascii")


def is_look_alike(text: str) -> bool:
    """Return whether ``text`` has a letter of another script that is drawn like a Latin one beside a Latin one."""
    if text.isascii() or not any(character in _LOOK_ALIKES for character in text):
        return False
    return any(character.isascii() and character.isalpha() for character in text)


def strip_unseen(text: str) -> str:
    """Return ``text`` without what nobody sees; honest uses stay."""
    if text.isascii() and text.isprintable():
        return text
    return UNSEEN.sub(lambda match: match[0] if match.lastgroup else "", text)


def has_unseen(text: str) -> bool:
    """Return whether ``text`` has a character that nobody sees, honest uses included."""
    return _RUNS.search(text) is not None


def without_unseen(text: str) -> tuple[str, list[int] | None]:
    """Return ``text`` without any unseen character, and the offset of each character left; None where none went.

    Of white space :data:`MAX_SPACE` characters in a row are left: patterns that look past it would take time by a power
    of its length.
    """
    seen, offsets = _without(_RUNS, text) if has_unseen(text) else (text, None)
    seen, kept = _without(_LONG_SPACE, seen)
    if offsets is None or kept is None:
        return seen, offsets if kept is None else kept
    return seen, [offsets[place] for place in kept]


def _without(pattern: re.Pattern[str], text: str) -> tuple[str, list[int] | None]:
    offsets: list[int] = []
    pieces = []
    last = 0
    for match in pattern.finditer(text):
        offsets += range(last, match.start())
        pieces.append(text[last : match.start()])
        last = match.end()
    if not last:
        return text, None
    offsets += range(last, len(text))
    return "".join([*pieces, text[last:]]), offsets


def tag_text(text: str) -> str:
    """Return what tag characters in ``text`` spell, less those of flags; empty where there are none."""
    found = (_TAGS.search(match[0]) for match in UNSEEN.finditer(text) if not match.lastgroup)
    return " ".join("".join(chr(ord(c) - 0xE0000) for c in tags[0]) for tags in found if tags)
