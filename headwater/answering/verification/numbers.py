"""Numbers however they are written: separators, words, multipliers, ordinals, times of day."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace

from headwater.answering.verification.units import read_unit, same_unit

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_ONES = {w: i for i, w in enumerate(f"{_UNITS} seventeen eighteen nineteen".split())}
_DECADES = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {w: 10 * i for i, w in enumerate(_DECADES.split(), start=2)}
_OTHERS = {"dozen": 12.0, "half": 0.5, "twice": 2.0, "thrice": 3.0, "½": 0.5, "¼": 0.25, "¾": 0.75}
_ORDINALS = (
    "fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth"
    " seventeenth eighteenth nineteenth"
)
ORDINALS = {w: float(i) for i, w in enumerate(_ORDINALS.split(), start=4)} | {"twentieth": 20.0, "thirtieth": 30.0}
MULTIPLIERS = {
    "hundred": 1e2,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "k": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "bn": 1e9,
    "b": 1e9,
    "tn": 1e12,
}
_GROUPED = re.compile(r"\d{1,3}(?:([.,'’\s])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_PLAIN = re.compile(r"\d+(?:[.,]\d+)?")
_SUFFIXED = re.compile(r"(\d[\d.,'’]*)([^\W\d_]{1,4})")
_FRACTION = re.compile(r"(?:(\d{1,3})[ \u00a0-]?)?(?:(\d)/([1-9])|([½¼¾⅓⅔⅛⅜⅝⅞]))")
_POWER = re.compile(r"(\d{1,3}(?:[.,]\d{1,6})?)(?:\s?[x×·*]\s?(10))?\^?([-−⁻]?)(\d{1,2}|[⁰¹²³⁴-⁹]{1,2})")
_TIME = re.compile(r"(\d{1,2})(?:[:.](\d{2}))?(?::\d{2})?\s*(?:([ap])\.?m)?")


_GLUED_SYMBOLS = frozenset("mglhWV")
"""Single letters that are units where they touch the number; others name things ("flat 2A")."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number's possible values (``1.500`` is read both ways), its unit, and whether it is a bound.

    ``bound`` is 1 for "at least" and the like, -1 for "at most", 0 for neither; ``firm`` is False where the words can
    mean something else too ("within", "over three days"). ``blur`` is ``~`` or ``±`` where that sign stands before it. ``weak`` numbers, such as the pronoun "one", claim little by themselves.
    ``other_end`` are the values at the other end of a range. ``decimals`` are the digits behind the only stop, and
    ``counts`` is set where they are a number of their own ("version 2.10"). ``unit_end`` is where the unit behind the
    number ends in the text, 0 where there is none.
    """

    values: frozenset[float]
    unit: str | None = None
    bound: int = 0
    firm: bool = True
    weak: bool = False
    ordinal: bool = False
    blur: str = ""
    other_end: frozenset[float] = frozenset()
    decimals: str = ""
    counts: bool = False
    unit_end: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        """Say what tokens are compared by: the smallest value is always among those read from another spelling."""
        return f"={max(self.values):g}" if len(self.values) == 1 else f"={min(self.values):g}"

    @property
    def is_year(self) -> bool:
        """Whether it looks like one."""
        return self.unit is None and not self.ordinal and any(1000 <= v <= 2100 and v == int(v) for v in self.values)

    def negated(self) -> Quantity:
        """Return the number with its sign changed."""
        return replace(self, values=frozenset(-value for value in self.values))

    def scaled(self, factor: float) -> Quantity:
        """Return the number times ``factor``."""
        return replace(self, values=frozenset(value * factor for value in self.values))

    def agrees(self, source: Quantity) -> bool:
        """Say whether ``source`` states this number: a common value, and no other unit."""
        if not any(abs(a - b) <= 1e-9 * max(1.0, abs(a)) for a in self.values for b in source.values):
            return False
        if (self.counts or source.counts) and self.decimals and source.decimals and self.decimals != source.decimals:
            return False
        return same_unit(self.unit, source.unit)


def read_number(text: str) -> Quantity | None:
    """Return what ``text`` (digits with separators, perhaps with a suffix: ``3rd``, ``10k``, ``1990s``) can mean."""
    text = text.strip()
    if _GROUPED.fullmatch(text):
        separator = next(c for c in text if not c.isdigit())
        whole, _, rest = text.rpartition("." if separator != "." else ",")
        values = set()
        if whole and not rest.count(separator):
            values.add(float(_digits(whole) + "." + rest))
        else:
            values.add(float(_digits(text)))
            if text.count(separator) == 1 and separator in ".,":
                values.add(float(text.replace(",", ".")))
        return Quantity(frozenset(values))
    if _PLAIN.fullmatch(text):
        return Quantity(frozenset({float(text.replace(",", "."))}), decimals=text.partition(".")[2])
    suffixed = _SUFFIXED.fullmatch(text)
    plain = read_number(suffixed[1]) if suffixed else None
    if suffixed is None or plain is None:
        return None
    suffix = suffixed[2].lower()
    if suffix in ("st", "nd", "rd", "th"):
        return replace(plain, ordinal=True)
    if suffix == "s":
        return replace(plain, unit="plural")
    if suffixed[2] in ("k", "K", "M", "B", "bn", "mn", "tn"):
        return plain.scaled(MULTIPLIERS[suffix])
    lone = len(suffix) == 1 and suffixed[2] not in _GLUED_SYMBOLS
    return plain if not lone and read_unit(suffixed[2], 0) else None


def read_fraction(text: str) -> Quantity | None:
    """Return the value of ``1/2``, ``1 1/2``, ``½`` or ``1½``."""
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    part = unicodedata.numeric(match[4]) if match[4] else int(match[2]) / int(match[3])
    return Quantity(frozenset({int(match[1] or 0) + part}))


def read_power(text: str) -> Quantity | None:
    """Return the value of ``10^6``, ``10⁶`` or ``3 × 10^6``."""
    match = _POWER.fullmatch(text)
    if match is None:
        return None
    first, exponent = float(match[1].replace(",", ".")), int(unicodedata.normalize("NFKC", match[4]))
    base = 10.0 if match[2] else first
    power: float = base ** (-exponent if match[3] else exponent) if base else 0.0
    return Quantity(frozenset({first * power if match[2] else power}))


FIRST_ORDINALS = {
    word: Quantity(frozenset({float(value)}), weak=True, ordinal=True)
    for value, word in enumerate(("first", "second", "third"), start=1)
}
"""Ordinals that are other words, too."""


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def read_time(text: str) -> Quantity | None:
    """Return a time of day in minutes; without "am" or "pm" an hour up to 12 is read both ways."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), match[3]
    if hour > 24 or minute > 59:
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
        return Quantity(frozenset({60.0 * hour + minute}), unit="time")
    hours = {hour, hour % 12, hour % 12 + 12} if 1 <= hour <= 12 else {hour}
    return Quantity(frozenset(60.0 * h + minute for h in hours), unit="time")


def number_word(word: str) -> Quantity | None:
    """Return the number that one lower-case English word names."""
    if word in _ONES:
        return Quantity(frozenset({float(_ONES[word])}), weak=word in ("one", "zero"))
    if word in _TENS:
        return Quantity(frozenset({float(_TENS[word])}))
    if word in _OTHERS:
        return Quantity(frozenset({_OTHERS[word]}), weak=word == "half")
    if word in ORDINALS:
        return Quantity(frozenset({ORDINALS[word]}), ordinal=True)
    if word in ("hundred", "thousand", "million", "billion", "trillion"):
        return Quantity(frozenset({MULTIPLIERS[word]}))
    return None
