"""Dates in their many spellings, and whether a source states the same day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from headwater.answering.verification.tokens import Token, fold

_AMBIGUOUS = frozenset({"may", "march", "mar", "sun", "sat", "wed", "mon", "second"})
"""Names of months and days that are words too; they need a capital letter within a sentence, or a number beside them."""

_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})")

Day = tuple[int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class DateMention:
    """``tokens[first:last + 1]`` name a date; ``options`` are what it can mean, as (year, month, day), None for unsaid."""

    first: int
    last: int
    options: tuple[Day, ...]

    @property
    def place(self) -> range:
        """The positions of its tokens."""
        return range(self.first, self.last + 1)


@lru_cache(maxsize=32)
def calendar_names(language: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return the months (1 to 12) and weekdays (0 to 6) by folded name, in English and in ``language``."""
    from babel import Locale, UnknownLocaleError

    months: dict[str, int] = {}
    days: dict[str, int] = {}
    for code in dict.fromkeys(("en", language)):
        try:
            locale = Locale.parse(code)
        except (UnknownLocaleError, ValueError):
            continue
        for width in ("abbreviated", "wide"):
            months |= {fold(name).strip("."): number for number, name in locale.months["format"][width].items()}
            days |= {fold(name).strip("."): number for number, name in locale.days["format"][width].items()}
    months |= {"sept": 9}
    days |= {"tues": 1, "thur": 3, "thurs": 3}
    return {k: v for k, v in months.items() if k.isalpha()}, {k: v for k, v in days.items() if k.isalpha()}


def month_of(tokens: Sequence[Token], i: int, language: str) -> int | None:
    """Return the month that ``tokens[i]`` names, None when it names none."""
    token = tokens[i]
    number = calendar_names(language)[0].get(token.lower)
    if number is None or token.lower not in _AMBIGUOUS:
        return number
    beside = [tokens[j] for j in (i - 1, i + 1) if 0 <= j < len(tokens)]
    numbered = any(other.quantity is not None and not other.breaks for other in beside)
    return number if token.capital and (numbered or not token.initial) else None


def weekday_of(tokens: Sequence[Token], i: int, language: str) -> int | None:
    """Return the weekday that ``tokens[i]`` names (plurals too), None when it names none."""
    token = tokens[i]
    days = calendar_names(language)[1]
    number = days.get(token.lower)
    if number is None and token.lower.endswith("s"):
        number = days.get(token.lower[:-1]) if len(token.lower) > 5 else None
    if number is not None and (token.lower in _AMBIGUOUS or len(token.lower) < 4):
        return number if token.capital and not token.initial else None
    return number


def find_dates(tokens: Sequence[Token], language: str) -> list[DateMention]:
    """Return the dates with a month, in order."""
    found: list[DateMention] = []
    for i, token in enumerate(tokens):
        if token.kind == "id":
            options = _numeric(token.lower)
            if options:
                found.append(DateMention(i, i, options))
            continue
        month = month_of(tokens, i, language)
        if month is None:
            continue
        first = last = i
        day: int | None = None
        j = i - 1
        if j > (found[-1].last if found else -1) and tokens[j].lower == "of":
            j -= 1
        if j > (found[-1].last if found else -1) and (day := _day(tokens[j])) is not None:
            first = j
        elif i + 1 < len(tokens) and (day := _day(tokens[i + 1])) is not None:
            last = i + 1
        year: int | None = None
        if last + 1 < len(tokens) and (year := _year(tokens[last + 1])) is not None:
            last += 1
        found.append(DateMention(first, last, ((year, month, day),)))
    return found


def _day(token: Token) -> int | None:
    quantity = token.quantity
    if quantity is None or quantity.unit or quantity.bound or token.kind == "function":
        return None
    value = max(quantity.values)
    return int(value) if value == int(value) and 1 <= value <= 31 else None


def _year(token: Token) -> int | None:
    return int(max(token.quantity.values)) if token.quantity is not None and token.quantity.is_year else None


def _numeric(text: str) -> tuple[Day, ...]:
    match = _YEAR_FIRST.fullmatch(text)
    if match:
        return _valid([(int(match[1]), int(match[2]), int(match[3]))])
    match = _YEAR_LAST.fullmatch(text)
    if match is None:
        return ()
    year = int(match[3])
    year += 0 if year > 99 else 2000 if year < 70 else 1900
    return _valid([(year, int(match[2]), int(match[1])), (year, int(match[1]), int(match[2]))])


def _valid(days: list[tuple[int, int, int]]) -> tuple[Day, ...]:
    return tuple(dict.fromkeys(d for d in days if 1 <= d[1] <= 12 and 1 <= d[2] <= 31))


def contradicts(one: DateMention, other: DateMention) -> bool:
    """Say whether two dates can't be the same day, however they are read."""
    return not any(
        all(a is None or b is None or a == b for a, b in zip(mine, theirs, strict=True))
        for mine in one.options
        for theirs in other.options
    )


def is_stated(mention: DateMention, source: Sequence[DateMention], loose: Sequence[Token]) -> bool:
    """Say whether a source that names the dates ``source`` states the date of ``mention``.

    What a source's date leaves unsaid (the 5 of "from 5 to 9 March", the year in the heading) may stand among
    ``loose``, the source's numbers.
    """
    values = {value for token in loose if token.quantity is not None for value in token.quantity.values}
    for option in mention.options:
        for other in (day for date in source for day in date.options):
            parts = list(zip(option, other, strict=True))
            if any(a is not None and b is not None and a != b for a, b in parts):
                continue
            if all(a is None or b is not None or float(a) in values for a, b in parts):
                return True
    return False
