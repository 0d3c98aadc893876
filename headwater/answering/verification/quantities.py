"""Numbers in their surroundings: spelled out over several words, with the unit behind and the bound before."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from headwater.answering.verification.lexicon import SPANNING, VERSIONED
from headwater.answering.verification.numbers import MULTIPLIERS, Quantity
from headwater.answering.verification.signs import read_sign
from headwater.answering.verification.units import MONEY, TIMES, UNITS, read_rate, read_unit

if TYPE_CHECKING:
    from headwater.answering.verification.tokens import Token

_LOOK_AHEAD = 3
"""Words between a number and its unit, at most: "25 paid working days"."""

_LOOK_BACK = 3
_GAPS = frozenset({"", " ", "-", " - ", "\u00a0"})
_UPWARD = frozenset({"over", "above", "exceeding", "exceeds", "exceed", "beyond"})
_DOWNWARD = frozenset({"under", "below", "beneath", "within"})
_VAGUE = frozenset({"within", "beyond"})
_FEW = 10
"""Smaller numbers without a unit may be what something is under or over: "over three rounds"."""

_FAR = 4
"""Words between a unit and what its rate is by, at most: "5 litres of water per second"."""

_DIGITS = re.compile(r"\d[\d.,'’]*")
_DASHES = frozenset({"-", "–"})
_PARTS = {"third": 3, "thirds": 3, "quarter": 4, "quarters": 4}
_SIGNS = frozenset({"minus", "negative"})
_SPATIAL = frozenset({"over", "under"})
_DETERMINERS = frozenset({"the", "these", "those", "see"})
"""Before "above" and the like: then it points to what stands there ("the above three rules")."""

_DENIED = frozenset({"not", "never", "cannot"})
_TRANSPARENT = frozenset({"a", "the", "of", "$", "€", "£", "about", "around", "only", "be", "is", "for"})


def join_numbers(text: str, tokens: list[Token]) -> list[Token]:
    """Return ``tokens`` with spelled-out numbers joined, and with units and bounds on every number."""
    joined = [_in_place(tokens, i) for i in range(len(tokens))]
    joined = _join(text, joined)
    with_units = [
        replace(token, quantity=_with_unit(text, joined, i)) if token.quantity else token
        for i, token in enumerate(joined)
    ]
    for i in range(len(with_units) - 2, -1, -1):
        with_units[i] = _range_unit(with_units, i)
    bounded = [
        replace(token, quantity=_with_bound(text, with_units, i)) if token.quantity else token
        for i, token in enumerate(with_units)
    ]
    for low, high in _ranges(text, bounded):
        bounded[low], bounded[high] = _as_range(bounded[low], bounded[high])
    return bounded


def _in_place(tokens: list[Token], i: int) -> Token:
    """Return a number with the sign or kind that the word before it tells; "First, ..." and "the first 25 days" are no ordinals."""
    token = tokens[i]
    if token.quantity is None:
        return token
    if token.kind == "function":
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        enumerates = following is not None and following.breaks and (i == 0 or token.initial or token.breaks)
        counted = following is not None and following.kind == "number"
        return replace(token, quantity=None) if enumerates or counted else token
    if i and not token.breaks:
        word = tokens[i - 1].lower
        if word in _SIGNS and (i == 1 or tokens[i - 2].quantity is None or tokens[i - 1].breaks):
            quantity = token.quantity.negated()
            return replace(token, quantity=quantity, key=quantity.key)
        if word in VERSIONED:
            return replace(token, quantity=replace(token.quantity, counts=True))
    return token


def _ranges(text: str, tokens: list[Token]) -> list[tuple[int, int]]:
    """Return the positions of both ends of each range: "5–10 mg", "5 mg to 10 mg", "between 5 and 10 mg".

    "From 5 to 10" can be a change as well, unless a word such as "ranges" stands before it, and years and times of day have
    a beginning and an end.
    """
    found: list[tuple[int, int]] = []
    numbers = [i for i, token in enumerate(tokens) if token.quantity is not None and token.kind == "number"]
    for low, high in pairwise(numbers):
        one, other = tokens[low].quantity, tokens[high].quantity
        assert one is not None and other is not None
        between = [t for t in tokens[low + 1 : high] if t.start >= one.unit_end]
        before = tokens[low - 1].lower if low else ""
        changes = before == "from" and (low < 2 or tokens[low - 2].lower not in SPANNING)
        if changes or one.is_year or other.is_year or "time" in (one.unit, other.unit):
            continue
        if max(one.values) >= max(other.values) or any(token.breaks for token in between):
            continue
        words = [token.lower for token in between]
        gap = text[max(tokens[low].end, one.unit_end) : tokens[high].start].strip()
        if (not words and gap in _DASHES) or words == ["to"] or (words == ["and"] and before == "between"):
            found.append((low, high))
    return found


def _as_range(low: Token, high: Token) -> tuple[Token, Token]:
    one, other = low.quantity, high.quantity
    assert one is not None and other is not None
    upward = replace(one, unit=one.unit or other.unit, other_end=other.values)
    downward = replace(other, other_end=one.values)
    return (
        replace(low, quantity=upward if one.bound else replace(upward, bound=1, firm=False)),
        replace(high, quantity=downward if other.bound else replace(downward, bound=-1, firm=False)),
    )


def _join(text: str, tokens: list[Token]) -> list[Token]:
    result: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        first = token.quantity
        run = _Spelled(first, token.lower) if first is not None and first.unit is None and not first.ordinal else None
        last = i
        for j in range(i + 1, len(tokens)) if run else ():
            if tokens[j].breaks or text[tokens[j - 1].end : tokens[j].start] not in _GAPS:
                break
            if tokens[j].lower == "and" and run is not None and run.awaits_and:
                continue
            if run is None or not run.take(tokens[j], glued=tokens[j - 1].end == tokens[j].start):
                break
            last = j
        if run is not None and last > i:
            quantity = run.quantity
            result.append(replace(token, end=tokens[last].end, quantity=quantity, key=quantity.key, lower=""))
        else:
            result.append(token)
        i = last + 1
    return result


class _Spelled:
    """A number read word by word: "two million three hundred thousand and five", "2.5 billion", "three dozen"."""

    def __init__(self, first: Quantity, word: str) -> None:
        self._digits = word[:1].isdigit()
        self._total = frozenset({0.0})
        self._current = first.values
        self._largest = float("inf")
        self._ordinal = False

    @property
    def awaits_and(self) -> bool:
        """Whether an "and" may stand here: after hundreds."""
        value = max(self._current)
        return not self._digits and (value >= 100 or value == 0) and value % 100 == 0

    @property
    def quantity(self) -> Quantity:
        """The number so far."""
        return Quantity(frozenset(a + b for a in self._total for b in self._current), ordinal=self._ordinal)

    def take(self, token: Token, glued: bool) -> bool:
        """Take one more word; False when it is no part of the number."""
        factor = MULTIPLIERS.get(token.lower)
        value = max(self._current)
        if factor is not None and (len(token.lower) > 1 or glued):
            if value <= 0 or factor >= self._largest or (factor == 100 and not self._digits and value >= 100):
                return False
            scaled = frozenset(factor * v for v in self._current)
            if factor == 100:
                self._current = scaled
            else:
                self._total = frozenset(a + b for a in self._total for b in scaled)
                self._current, self._largest = frozenset({0.0}), factor
            return True
        parts = _PARTS.get(token.lower)
        if parts is not None and (token.lower.endswith("s") or not self._digits) and 0 < value < parts:
            self._current = frozenset(v / parts for v in self._current)
            return True
        if token.quantity is None or self._digits or self._ordinal or token.lower[:1].isdigit():
            return False
        added = max(token.quantity.values)
        if token.lower == "dozen":
            self._current = frozenset(12 * v for v in self._current)
            return True
        tens = value % 100 >= 20 and value % 10 == 0 and 0 < added < 10
        hundreds = value >= 100 and value % 100 == 0 and 0 < added < 100
        rest = value == 0 and max(self._total) > 0 and 0 < added < 1000
        if tens or hundreds or rest:
            self._current = frozenset({value + added})
            self._ordinal = token.quantity.ordinal
        return tens or hundreds or rest


def _with_unit(text: str, tokens: list[Token], i: int) -> Quantity | None:
    quantity, token = tokens[i].quantity, tokens[i]
    if quantity is None or quantity.unit is not None or quantity.ordinal:
        return quantity
    digits = _DIGITS.match(text, token.start, token.end)
    # "50mg" is one token, and "5m" is five million where a currency stands before it.
    glued = digits is not None and text[token.end - 1].isalpha() and digits.end() < token.end and not _is_scaled(token)
    end = digits.end() if glued and digits else token.end
    currency = UNITS.get(tokens[i - 1].lower) if i and not token.breaks else None
    if currency is not None and currency.split()[0] in MONEY and tokens[i - 1].end + 1 >= token.start:
        if glued and text[end : token.end] == "m":
            quantity = quantity.scaled(1e6)
        rate = read_rate(text, token.end)
        unit = f"{currency}/{rate[0]}" if rate else currency
        return replace(quantity, unit=unit, unit_end=rate[1] if rate else 0)
    found = read_unit(text, end)
    if found is not None and not (quantity.is_year and found[1] <= end + 2):
        unit, unit_end = found
        return replace(quantity, unit=_with_far_rate(text, tokens, i, unit, unit_end), unit_end=unit_end, weak=False)
    for other in tokens[i + 1 : i + 1 + _LOOK_AHEAD]:
        if other.breaks or other.quantity is not None:
            break
        if other.lower in UNITS:
            return replace(quantity, unit=UNITS[other.lower], weak=False)
        if other.kind == "function":
            break
    return quantity


def _is_scaled(token: Token) -> bool:
    """Whether the letters behind a number's digits are part of its value ("10k", "2.5bn") or of its form."""
    letters = token.lower.lstrip("0123456789.,'’")
    return letters in MULTIPLIERS and letters != "m"


def _with_far_rate(text: str, tokens: list[Token], i: int, unit: str, end: int) -> str:
    """Return ``unit`` with what its rate is by, where other words stand between ("5 litres of water per second")."""
    for token in tokens[i + 1 : i + 2 + _FAR]:
        if "/" in unit or token.breaks or (token.quantity is not None and token.start >= end):
            break
        if token.lower == "per" and token.start >= end:
            found = read_unit(text, token.end)
            return f"{unit}/{found[0]}" if found else unit
    return unit


def _range_unit(tokens: list[Token], i: int) -> Token:
    """Give the first number of a range such as "3 to 5 days" the unit of the second."""
    token, following = tokens[i], tokens[i + 1]
    if following.lower in ("to", "or", "and") and i + 2 < len(tokens):
        following = tokens[i + 2]
    if token.quantity is None or following.quantity is None or token.quantity.unit or following.breaks:
        return token
    return replace(token, quantity=replace(token.quantity, unit=following.quantity.unit))


def _with_bound(text: str, tokens: list[Token], i: int) -> Quantity | None:
    quantity = tokens[i].quantity
    assert quantity is not None
    sign = read_sign(text, tokens[i].start, max(tokens[i].end, quantity.unit_end))
    if sign.bound or sign.blur:
        return replace(quantity, bound=sign.bound, blur=sign.blur)
    for back in range(1, _LOOK_BACK + 1):
        if i - back < 0 or tokens[i - back + 1].breaks:
            break
        word = tokens[i - back].lower
        if word in (">=", "<="):
            return replace(quantity, bound=1 if word == ">=" else -1)
        if word in _UPWARD or word in _DOWNWARD:
            denied = i > back and tokens[i - back - 1].lower in _DENIED
            bound = 1 if (word in _UPWARD) != denied else -1
            named = i > back and tokens[i - back - 1].lower in _DETERMINERS
            return replace(quantity, bound=bound, firm=not named and _is_firm(word, quantity))
        if word not in _TRANSPARENT:
            break
    for ahead in range(1, _LOOK_AHEAD):
        if i + ahead >= len(tokens):
            break
        word = tokens[i + ahead].lower
        if word in (">=", "<="):
            # "5 or more", but not "5 and at least 6".
            after = tokens[i + ahead + 1] if i + ahead + 1 < len(tokens) else None
            if after is None or after.quantity is None:
                return replace(quantity, bound=1 if word == ">=" else -1)
            break
        if word not in UNITS and tokens[i + ahead].start >= quantity.unit_end:
            break
    return quantity


def _is_firm(word: str, quantity: Quantity) -> bool:
    """Whether a word such as "over" before a number can only be a bound."""
    if word in _VAGUE or quantity.is_year or (word == "over" and quantity.unit in TIMES):
        return False
    return quantity.unit is not None or word not in _SPATIAL or max(quantity.values) >= _FEW
