"""Units of measure and currencies: many spellings, one name each, so that "mg/l" is "milligrams per litre" and not "g/l".

A name is made of words: a unit whose name goes on where another's ends is a kind of it ("degree" and "degree celsius",
"¥" and "¥ yen"), and may be meant by it. ``^2`` and ``^3`` are areas and volumes, ``/`` stands before what a rate is by.
"""

from __future__ import annotations

import re

_PREFIXES = {
    "k": "kilo",
    "M": "mega",
    "G": "giga",
    "T": "tera",
    "m": "milli",
    "µ": "micro",
    "μ": "micro",
    "n": "nano",
    "c": "centi",
    "d": "deci",
    "h": "hecto",
}
_BASES = {
    "m": "metre meter",
    "g": "gram gramme",
    "l": "litre liter",
    "L": "litre",
    "s": "second sec",
    "W": "watt",
    "Wh": "watthour",
    "V": "volt",
    "A": "ampere amp",
    "Hz": "hertz",
    "Pa": "pascal",
    "J": "joule",
    "N": "newton",
    "B": "byte",
    "b": "bit",
    "bit": "bit",
    "bar": "bar",
    "eV": "electronvolt",
    "Sv": "sievert",
    "Bq": "becquerel",
    "cal": "calorie",
}
"""Units that take the prefixes, by symbol; the first of their words is their name."""

_WORDS = {
    "%": "% percent percents pct",
    "‰": "‰ permille",
    "€": "€ euro euros eur",
    "$": "$ dollar dollars",
    "$ us": "usd",
    "$ canada": "cad",
    "$ australia": "aud",
    "pound sterling": "£ gbp",
    "pound weight": "lb lbs",
    "pound": "pound pounds",
    "¥ yen": "yen jpy",
    "¥ yuan": "yuan renminbi cny rmb",
    "¥": "¥",
    "franc": "franc francs",
    "franc swiss": "chf",
    "crown": "crown crowns krona kronor krone kroner kr",
    "crown sweden": "sek",
    "crown norway": "nok",
    "crown denmark": "dkk",
    "rupee": "₹ rupee rupees inr",
    "rouble": "₽ rouble roubles ruble rubles rub",
    "zloty": "zloty zlotys pln",
    "won": "₩ krw",
    "cent": "cent cents",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years yr yrs",
    "hour": "hour hours hr hrs h",
    "minute": "minute minutes min mins",
    "second": "seconds secs",
    "kilogram": "kilo kilos",
    "kilobyte": "kb",
    "megabyte": "mb",
    "gigabyte": "gb",
    "terabyte": "tb",
    "mile": "mile miles mi",
    "foot": "foot feet ft",
    "inch": "inch inches",
    "yard": "yard yards",
    "acre": "acre acres",
    "hectare": "hectare hectares ha",
    "gallon": "gallon gallons",
    "pint": "pint pints",
    "quart": "quart quarts",
    "ounce": "ounce ounces oz",
    "tonne": "tonne tonnes",
    "ton": "ton tons",
    "knot": "knot knots",
    "kilometre/hour": "kmh kph",
    "mile/hour": "mph",
    "decibel": "db decibel decibels",
    "degree": "° degree degrees",
    "degree celsius": "℃",
    "degree fahrenheit": "℉",
}
_OTHER_WORDS = frozenset({"second", "sec", "bar", "bit"})
"""Units' words that are other words, too; behind a number they are units."""

_SYMBOLS = (
    {symbol: words.split()[0] for symbol, words in _BASES.items()}
    | {
        prefix + symbol: name + words.split()[0]
        for prefix, name in _PREFIXES.items()
        for symbol, words in _BASES.items()
    }
    | {"dB": "decibel"}
)
"""Symbols as they are written: "mW" is not "MW"."""

_SPELLED = {word: unit for unit, words in _WORDS.items() for word in words.split()} | {
    f"{prefix}{word}{plural}": f"{prefix}{words.split()[0]}"
    for prefix in ("", *_PREFIXES.values())
    for words in _BASES.values()
    for word in words.split()
    for plural in ("", "s")
}
_CAREFREE = {symbol.lower(): _SYMBOLS[symbol] for symbol in ("kg", "km", "cm", "mm", "ml", "kW", "kWh", "MHz", "GHz")}
"""Symbols that are also understood in the wrong case: "KM"."""

UNITS = {**_CAREFREE, **{word: unit for word, unit in _SPELLED.items() if word not in _OTHER_WORDS}}
"""Spellings of a unit, in lower case, to its name."""

_AFTER_NUMBER = {**_CAREFREE, **_SPELLED, "t": "tonne"}

MONEY = frozenset({"€", "$", "pound", "¥", "franc", "crown", "rupee", "rouble", "zloty", "won", "cent"})
_CALENDAR = frozenset({"day", "week", "month", "year"})
TIMES = _CALENDAR | {"hour", "minute", "second"}
"""Units of time."""

_UNIT = re.compile(
    r"""[\ \u00a0\u202f\u2009-]?
    (?: (?P<points>(?:percentage|%)[\ -]points?\b|pp\b)
      | (?P<percent>per\ cent\b)
      | (?:(?P<area>square|sq\.?)\ |(?P<volume>cubic|cu\.?)\ )?
        (?P<name>[%‰€$£¥₹₽₩°℃℉]|[A-Za-zµμ]{1,16}(?![^\W\d²³]))
        (?P<power>\^?[23](?!\w|[.,]\d)|[²³])?
        (?P<scale>\ ?(?:celsius|centigrade|fahrenheit|[CF]\b))?
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_RATE = re.compile(r"\s?(?P<slash>/)\s?|\s(?:per|(?P<each>an?|each|every))\s", re.IGNORECASE)
_SCALES = {"c": "celsius", "f": "fahrenheit"}


def read_unit(text: str, position: int) -> tuple[str, int] | None:
    """Return the unit that stands in ``text`` at ``position``, behind a number, with the offset of its end."""
    found = _read_one(text, position)
    if found is None:
        return None
    unit, end = found
    by = read_rate(text, end)
    return (f"{unit}/{by[0]}", by[1]) if by and "/" not in unit else found


def read_rate(text: str, position: int) -> tuple[str, int] | None:
    """Return what a rate is by ("/s", "per hour", "a week"), with the offset of its end."""
    match = _RATE.match(text, position)
    found = _read_one(text, match.end()) if match else None
    if match is None or found is None or (match["each"] and found[0] not in TIMES):
        return None
    return found


def _read_one(text: str, position: int) -> tuple[str, int] | None:
    match = _UNIT.match(text, position)
    if match is None:
        return None
    if match["points"]:
        return "percentage point", match.end()
    if match["percent"]:
        return "%", match.end()
    spelled = match["name"]
    name = _SYMBOLS.get(spelled) or _AFTER_NUMBER.get(spelled.lower() if len(spelled) > 1 else spelled)
    if name is None:
        return None
    if match["area"] or match["volume"]:
        return name + ("^2" if match["area"] else "^3"), match.end("name")
    if match["power"]:
        return name + ("^2" if match["power"][-1] in "2²" else "^3"), match.end("power")
    if name == "degree" and match["scale"]:
        return f"degree {_SCALES[match['scale'].strip()[0].lower()]}", match.end()
    return name, match.end("name")


def same_unit(one: str | None, other: str | None) -> bool:
    """Say whether two units can be the same; None, an unsaid one, can be any.

    What a rate is by may be left out where it says when, or what money is paid for ("25 days per year"), not in a speed.
    """
    if one is None or other is None:
        return True
    first, _, by = one.partition("/")
    second, _, other_by = other.partition("/")
    if not _akin(first, second):
        return False
    if by and other_by:
        return _akin(by, other_by)
    by = by or other_by
    return not by or by in _CALENDAR or first in TIMES or first.split()[0] in MONEY


def _akin(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other} ") or other.startswith(f"{one} ")
