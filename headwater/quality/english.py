"""The rules of spaCy's English tokenizer as tables that a compiled pass can read.

datatrove, the reference implementation of the Gopher, C4 and FineWeb rules, counts the words of ``spacy.blank("en")``
and the sentences of its sentencizer, so those words are what the published thresholds were applied to. The rules are
spaCy's own (MIT licence, copyright ExplosionAI GmbH and others): character classes, 1,300 special cases, unit names.
They are kept in ``english.json``, because importing spaCy takes a second and these tables a hundredth. :func:`derive`
reads them from the installed spaCy, :func:`write` writes the file anew, and a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Bits of a code point's class.
SPACE = 1  # str.isspace
ALPHA = 2  # spaCy's letters
LOWER = 4
UPPER = 8
QUOTE = 16
PREFIX = 32  # split off a word's start
SUFFIX = 64  # split off a word's end
ICON = 128  # split out of a word
BEFORE_STOP = 256  # a full stop after it is split off
LETTER = 512  # str.isalpha
PUNCTUATION = 1024  # Unicode category P
STOP = 2048  # ends a sentence, for the sentencizer
SYMBOL = 4096  # a word of nothing else is no word, for datatrove
TERMINAL = 8192  # ends a line, for datatrove
HOST = 16384  # may begin and end the label of a host name

_CODE_POINTS = 0x110000
_FILE = Path(__file__).with_name("english.json")
# datatrove 0.10 (Apache-2.0), utils/text.py: code points that end a line (of Unicode's sentence terminals), and what it
# calls punctuation: these, the ones below, and control characters.
_TERMINAL = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 "
    "17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f "
    "203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 "
    "aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 "
    "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 "
    "16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88"
)
_SYMBOLS = (
    "!/\u2014\u201d:\uff05\uff11\u3008&(\u3001\u2501\\\u3010#%\u300c\u300d\uff0c\u3011\uff1b+^]~\u201c\u300a\u201e';"
    "\u2019{|\u2236\u00b4[=-`*\uff0e\uff08\u2013\uff1f\uff01\uff1a$\uff5e\u00ab\u3009,><\u300b)?\uff09\u3002\u2026@_."
    '"}\u25ba\u00bb' + "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160))))
)


@dataclass(frozen=True, slots=True)
class Rules:
    """``classes``: class bits of every code point. ``specials``: word -> its token lengths, and the token lengths that
    the other rules would give it where those would cut it (else empty). ``after_digit``: what is split off after a
    digit: units and currencies."""

    classes: npt.NDArray[np.uint16]
    specials: dict[str, tuple[list[int], list[int]]]
    after_digit: list[str]


@lru_cache(maxsize=1)
def rules() -> Rules:
    """Return the rules as ``english.json`` has them."""
    stored = json.loads(_FILE.read_text(encoding="utf-8"))
    table = np.zeros(_CODE_POINTS, np.uint16)
    for bit, bounds in stored["classes"].items():
        for first, last in zip(bounds[::2], bounds[1::2], strict=True):
            table[first : last + 1] |= np.uint16(int(bit))
    specials = {word: (cut, plain) for word, cut, plain in stored["specials"]}
    return Rules(table, specials, stored["after_digit"])


def derive(code_points: int = _CODE_POINTS) -> Rules:
    """Return the rules as the installed spaCy has them, with the classes of that many code points."""
    import unicodedata

    import spacy
    from spacy.lang import char_classes as spacy_classes
    from spacy.lang.punctuation import TOKENIZER_PREFIXES, TOKENIZER_SUFFIXES

    tokenizer: Any = spacy.blank("en").tokenizer
    stops = spacy.blank("en").add_pipe("sentencizer").punct_chars  # type: ignore[attr-defined]
    before_stop = TOKENIZER_SUFFIXES[-2]  # (?<=[...])\\.
    every = list(map(chr, range(code_points)))
    bounds = [[int(code, 16) for code in span.split("-")] for span in _TERMINAL.split()]
    terminal = {chr(code) for span in bounds for code in range(span[0], span[-1] + 1)}
    symbols = set(_SYMBOLS) | terminal

    # No two neighbours among all code points match together what none of them matches alone.
    def matching(pattern: str) -> Callable[[str], object]:
        return set(re.findall(pattern, "".join(every))).__contains__

    tests: dict[int, Callable[[str], object]] = {
        SPACE: str.isspace,
        ALPHA: matching(f"[{spacy_classes.ALPHA}]"),
        LOWER: matching(f"[{spacy_classes.ALPHA_LOWER}]"),
        UPPER: matching(f"[{spacy_classes.ALPHA_UPPER}]"),
        QUOTE: matching(f"[{spacy_classes.CONCAT_QUOTES}]"),
        PREFIX: matching("|".join(TOKENIZER_PREFIXES)),
        SUFFIX: matching("|".join(piece for piece in TOKENIZER_SUFFIXES if not piece.startswith("(?<="))),
        ICON: matching(f"[{spacy_classes.CONCAT_ICONS}]|\u2026"),
        BEFORE_STOP: matching(before_stop[4:].removesuffix(r")\.")),
        LETTER: str.isalpha,
        PUNCTUATION: lambda character: unicodedata.category(character)[0] == "P",
        STOP: stops.__contains__,
        SYMBOL: symbols.__contains__,
        TERMINAL: terminal.__contains__,
        HOST: matching(r"[A-Za-z0-9\u00a1-\uffff]"),
    }
    table = np.zeros(code_points, np.uint16)
    for bit, test in tests.items():
        table[[code for code, character in enumerate(every) if test(character)]] |= np.uint16(bit)
    bare: Any = spacy.blank("en").tokenizer
    bare.rules = {}
    specials: dict[str, tuple[list[int], list[int]]] = {}
    for word, tokens in tokenizer.rules.items():
        if word.strip():
            cut = [len(token[spacy.symbols.ORTH]) for token in tokens]
            affixes = tokenizer.find_prefix(word) or tokenizer.find_suffix(word) or tokenizer.find_infix(word)
            specials[word] = (cut, [len(token) for token in bare(word)] if affixes else [])
    units = {piece.replace("\\", "") for piece in spacy_classes.LIST_UNITS + spacy_classes.LIST_CURRENCY} | {"+"}
    return Rules(table, dict(sorted(specials.items())), sorted(units - {""}))


def _ranges(codes: npt.NDArray[np.int64]) -> list[int]:
    """Return sorted code points as first, last, first, last ..."""
    breaks = np.flatnonzero(np.diff(codes) != 1)
    firsts = codes[np.concatenate([[0], breaks + 1])]
    lasts = codes[np.concatenate([breaks, [len(codes) - 1]])]
    return [int(code) for code in np.column_stack([firsts, lasts]).ravel()]


def store(found: Rules) -> str:
    """Return the text of ``english.json`` for these rules."""
    stored = {
        "classes": {str(1 << bit): _ranges(np.flatnonzero(found.classes >> bit & 1)) for bit in range(15)},
        "specials": [[word, cut, plain] for word, (cut, plain) in found.specials.items()],
        "after_digit": found.after_digit,
    }
    return json.dumps(stored, separators=(",", ":")).replace('],"', '],\n"').replace("],[", "],\n[") + "\n"


def write() -> None:
    """Write ``english.json`` anew, after an update of spaCy."""
    _FILE.write_text(store(derive()), encoding="utf-8")
