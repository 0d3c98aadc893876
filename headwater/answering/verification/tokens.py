"""Texts as tokens that compare across wordings: stems, values of numbers, contractions undone, fixed phrases joined."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from headwater.answering.verification.disguise import (
    BARE_CONTRACTIONS,
    COMBINING,
    ENCLOSED,
    MAX_SPELLED,
    STRUCK,
    UNDRAWN,
    is_spelled,
    plain,
)
from headwater.answering.verification.lexicon import FUNCTION_WORDS, PHRASES, POLARITIES, SOFT_NEGATORS
from headwater.answering.verification.numbers import (
    FIRST_ORDINALS,
    Quantity,
    number_word,
    read_fraction,
    read_number,
    read_power,
    read_time,
)
from headwater.answering.verification.quantities import join_numbers
from headwater.answering.verification.signs import CROSS, MARKS, UNEQUAL

if TYPE_CHECKING:
    from py_rust_stemmers import SnowballStemmer

Kind = Literal["word", "function", "number", "id"]

MAX_PHRASE = max(map(len, PHRASES))

STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""Snowball's stemmers by ISO 639-1 code; other languages are compared word by word."""

# Every repetition is of one class of characters or bounded, so that no text makes the search long.
_TOKEN = re.compile(
    r"""
    (?P<skip>\[\d{1,3}(?:,\ ?\d{1,3}){0,9}\]                                # a citation mark such as [3]
      | (?<=\])\((?:[^()\s]|\([^()\s]{0,100}\)){1,600}\))                     # where a Markdown link leads
  | (?P<url>(?:https?://|www\.)[^\s)\]>"']+ | (?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64})
  | (?P<time>(?<![\w.,])(?:\d{1,2}[:.]\d{2}\s?[ap]\.?m\b | \d{1,2}\s?[ap]\.?m\b | \d{1,2}:\d{2}(?::\d{2})?(?!\w)))
  | (?P<date>(?<![\w.,])(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2} | \d{1,2}([-/.])\d{1,2}\5(?:\d{4}|\d{2}))(?![\w]|[.,]\d))
  | (?P<fraction>(?<![\w./])(?:\d{1,3}[\ \u00a0-])?(?:1/[2348]|2/3|3/[48]|[57]/8)(?![\w/]|[.,]\d) | (?<![\w.,])(?:\d{1,3}\ ?)?[½¼¾⅓⅔⅛⅜⅝⅞](?!\w))
  | (?P<power>(?<![\w.,])(?:\d{1,3}(?:[.,]\d{1,6})?\s?[x×·*]\s?10|\d{1,3})\^[-−]?\d{1,2}(?![\w^])
      | (?<![\w.,])(?:\d{1,3}(?:[.,]\d{1,6})?\s?[x×·*]\s?)?10⁻?[⁰¹²³⁴-⁹]{1,2}(?!\w))
  | (?P<grouped>(?<![\w.,])\d{1,3}(?:[\u00a0\u202f\u2009\ ]\d{3}){1,6}(?![\w]|[.,]?\d))
  | (?P<number>(?<!\w)\d+(?:[.,'’]\d+){0,12}(?:[^\W\d_]{1,4})?(?!\w))
  | (?P<wide>[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f])
  | (?P<word>(?:[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f]|["""
    + ENCLOSED
    + r"""])
      (?:[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f]|["""
    + ENCLOSED
    + UNDRAWN
    + COMBINING
    + r"""])*)
  | (?P<mark>"""
    + MARKS
    + r""")
  | (?P<symbol>[%€$£¥₹₽₩°‰])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ACRONYM = re.compile(r"(?:[A-Za-z]\.){2,8}(?![A-Za-z])")
_CONTRACTION = re.compile(r"(?:['’](?:s|re|ve|ll|d|m|t)|[`´]t)(?!\w)", re.IGNORECASE)
_WHOLE_NOT = {"cannot": "can", "can't": "can", "won't": "will", "shan't": "shall"}
_ACRONYMS = frozenset({"us", "it", "ie", "re", "ed"})
"""Function words that are names when written in capitals."""

_READERS: dict[str, Callable[[str], Quantity | None]] = {
    "time": read_time,
    "number": read_number,
    "grouped": read_number,
    "fraction": read_fraction,
    "power": read_power,
}
_CURRENCY_SIGNS = "€$£¥₹₽₩"

_JOINTS = frozenset("/-_@#`\\=")
_OPENERS = '.!?:;•·|>#"“„«‘`*-–—…。！？\t'


@dataclass(frozen=True, slots=True)
class Token:
    """``text[start:end]``, and what it is compared by.

    ``key`` is equal for two tokens that say the same (stem of a word, one of ``quantity.keys`` for a number).
    ``lower`` is the folded word itself. ``capital``: begins with a capital letter or holds two; ``initial``: at a place
    where any word is written with a capital. ``breaks``: a comma, stop, bracket or the like stands before it.
    ``joined``: a part of something longer, such as a path or a word with a hyphen. The words "first", "second" and
    "third" are function words with a quantity.
    """

    start: int
    end: int
    lower: str
    key: str
    kind: Kind
    capital: bool = False
    initial: bool = False
    breaks: bool = False
    quantity: Quantity | None = None
    joined: bool = False

    @property
    def is_content(self) -> bool:
        """Whether it bears on what the sentence claims."""
        return self.kind != "function"

    @property
    def is_name_or_number(self) -> bool:
        """Whether it is written as a name, a number or an identifier is."""
        return self.kind in ("number", "id") or (self.kind == "word" and self.capital)


def fold(word: str) -> str:
    """Return ``word`` without case, accents and compatibility forms."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@lru_cache(maxsize=len(STEMMERS))
def _stemmer(language: str) -> SnowballStemmer | None:
    from py_rust_stemmers import SnowballStemmer

    name = STEMMERS.get(language)
    return SnowballStemmer(name) if name else None


def stem(word: str, language: str) -> str:
    """Return the stem of a lower-cased word, folded."""
    stemmer = _stemmer(language)
    return fold(stemmer.stem_word(word) if stemmer else word)


def tokenize(text: str, language: str | None = None, limit: int = 4000) -> list[Token]:
    """Return the tokens of ``text``, at most ``limit``; ``language`` is an ISO 639-1 code (None counts as English)."""
    found: list[Token] = []
    for token in _raw(text, language or "en"):
        found.append(token)
        if len(found) >= limit:
            break
    return join_numbers(text, _join_phrases(_join_letters(text, found, language or "en")))


def _raw(text: str, language: str) -> Iterator[Token]:
    last = position = 0
    while match := _TOKEN.search(text, position):
        start, position = match.start(), match.end()
        gap = text[last:start]
        breaks = any(c in ',.;:!?()[]{}—–|\n"“”«»…，。；：！？、（）「」' for c in gap) or "~~" in gap
        stripped = gap.rstrip(" \t([{_")
        initial = last == 0 or "\n" in gap or stripped[-1:] in _OPENERS if (stripped or last == 0) else False
        kind = match.lastgroup
        piece = match.group()
        if kind == "skip":
            continue
        if kind == "word":
            acronym = _ACRONYM.match(text, start)
            if acronym:
                position = acronym.end()
                piece = acronym.group()
                name = fold(piece.replace(".", ""))
                # "e.g." is no name, whereas "U.S." is.
                kind_of: Kind = "function" if name in FUNCTION_WORDS else "word"
                yield Token(start, position, name, name, kind_of, piece[0].isupper(), False, breaks)
                last = position
                continue
            for token in _words(text, start, position, language, initial, breaks):
                yield token
                position = token.end
        else:
            yield _other(kind, piece, start, position, breaks, initial, _is_negative(text, start))
        last = position


def _is_negative(text: str, start: int) -> bool:
    """Say whether a sign stands before the number at ``start``, and no dash of a range."""
    if start and text[start - 1] in _CURRENCY_SIGNS:
        start -= 1
    if not start or text[start - 1] not in "-−–":
        return False
    before = text[max(0, start - 3) : start - 1]
    return not before or (before[-1] in " \u00a0\t\n(|" and not before[:-1].isdigit())


def _other(kind: str | None, piece: str, start: int, end: int, breaks: bool, initial: bool, negative: bool) -> Token:
    lower = fold(piece)
    read = _READERS.get(kind or "")
    quantity = read(lower if kind == "time" else piece) if read else None
    if quantity is not None:
        quantity = quantity.negated() if negative and kind != "time" else quantity
        return Token(start, end, lower, quantity.key, "number", quantity=quantity, breaks=breaks, initial=initial)
    if kind == "mark":
        name = UNEQUAL if piece in (UNEQUAL, "!=") else CROSS
        return Token(start, end, name, name, "function", breaks=breaks)
    if kind == "symbol":
        return Token(start, end, lower, lower, "function", breaks=breaks)
    if kind == "wide":
        return Token(start, end, lower, lower, "word", breaks=breaks)
    return Token(start, end, lower, lower.rstrip(".,;:!?/").removeprefix("https://"), "id", breaks=breaks)


def _words(text: str, start: int, end: int, language: str, initial: bool, breaks: bool) -> Iterator[Token]:
    suffix = _CONTRACTION.match(text, end)
    stop = suffix.end() if suffix else end
    written = plain(text[start:end], language in POLARITIES)
    whole = fold(written + re.sub("[’`´]", "'", text[end:stop]))
    if not text[start:end].isascii() and STRUCK.search(text, start, end):
        yield Token(start, start + 1, CROSS, CROSS, "function", breaks=breaks)
        start += 1
    if whole == "cannot":
        yield Token(start, start + 3, "can", "can", "function", initial=initial, breaks=breaks)
        yield Token(start + 3, end, "not", "not", "function")
    elif whole.endswith("n't"):
        verb = _WHOLE_NOT.get(whole, whole[:-3])
        yield _word(verb, start, end - 1, language, initial=initial, breaks=breaks, joined=False)
        yield Token(end - 1, stop, "not", "not", "function")
    elif language == "en" and whole in BARE_CONTRACTIONS:
        yield _word(BARE_CONTRACTIONS[whole], start, end - 1, language, initial=initial, breaks=breaks, joined=False)
        yield Token(end - 1, stop, "not", "not", "function")
    else:
        dotted = text[end : end + 1] == "." and text[end + 1 : end + 2].isalnum()
        joined = dotted or text[end : end + 1] in _JOINTS or (start > 0 and text[start - 1] in _JOINTS)
        yield _word(written, start, stop, language, initial=initial, breaks=breaks, joined=joined)


def _word(piece: str, start: int, end: int, language: str, *, initial: bool, breaks: bool, joined: bool) -> Token:
    piece = piece.strip("_") or piece
    if "_" in piece and all(len(letter) == 1 for letter in piece.split("_")):
        piece = piece.replace("_", "")
    lower = fold(piece)
    quantity = read_number(piece) if any(c.isdigit() for c in piece) else number_word(lower)
    if quantity is not None:
        return Token(start, end, lower, quantity.key, "number", initial=initial, breaks=breaks, quantity=quantity)
    if any(c.isdigit() for c in piece):
        return Token(start, end, lower, lower, "id", True, initial, breaks)
    capital = any(c.isupper() for c in piece)
    is_acronym = len(piece) > 1 and piece.isupper() and lower in _ACRONYMS
    if language == "en" and lower in FUNCTION_WORDS and not is_acronym:
        return Token(start, end, lower, lower, "function", capital, initial, breaks, FIRST_ORDINALS.get(lower))
    return Token(start, end, lower, stem(piece.lower(), language), "word", capital, initial, breaks, joined=joined)


def _join_letters(text: str, tokens: list[Token], language: str) -> list[Token]:
    """Return the tokens with each denying word that is written letter by letter ("n-o-t") as one."""
    words = POLARITIES.get(language, {}).keys() | (SOFT_NEGATORS if language == "en" else ())
    result: list[Token] = []
    i = 0
    while i < len(tokens):
        last, first_gap, spelled, found = i, "", tokens[i].lower, 0
        while len(tokens[last].lower) == 1 and last + 1 < len(tokens) and len(spelled) < MAX_SPELLED:
            gap = text[tokens[last].end : tokens[last + 1].start]
            first_gap = first_gap or gap
            if len(tokens[last + 1].lower) != 1 or not is_spelled(gap, first_gap, 3):
                break
            last += 1
            spelled += tokens[last].lower
            if spelled in words and is_spelled(gap, first_gap, len(spelled)):
                found = len(spelled)
        if found:
            spelled = spelled[:found]
            kind: Kind = "function" if language == "en" and spelled in FUNCTION_WORDS else "word"
            end = tokens[i + found - 1].end
            result.append(replace(tokens[i], end=end, lower=spelled, key=stem(spelled, language), kind=kind))
            i += found
        else:
            result.append(tokens[i])
            i += 1
    return result


def _join_phrases(tokens: list[Token]) -> list[Token]:
    """Return the tokens with each run that :data:`PHRASES` knows as one."""
    result: list[Token] = []
    i = 0
    while i < len(tokens):
        for length in range(min(MAX_PHRASE, len(tokens) - i), 1, -1):
            run = tokens[i : i + length]
            name = PHRASES.get(tuple(token.lower for token in run))
            if name and not any(token.breaks for token in run[1:]):
                result.append(replace(run[0], end=run[-1].end, lower=name, key=name, kind="function"))
                i += length
                break
        else:
            result.append(tokens[i])
            i += 1
    return result
