"""Numbers in their surroundings: spelled out over several words, with the unit behind and the bound before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headwater.answering.verification.lexicon import UNITS
from headwater.answering.verification.numbers import MULTIPLIERS, Quantity

if TYPE_CHECKING:
    from headwater.answering.verification.tokens import Token

_LOOK_AHEAD = 3
"""Words between a number and its unit, at most: "25 paid working days"."""

_LOOK_BACK = 3
_GAPS = frozenset({"", " ", "-", " - ", "\u00a0"})
_UPWARD = frozenset({"over", "above", "exceeding", "exceeds", "exceed", "beyond"})
_DOWNWARD = frozenset({"under", "below", "within"})
_TRANSPARENT = frozenset({"a", "the", "of", "$", "€", "£", "about", "around", "only", "be", "is", "for"})


def join_numbers(text: str, tokens: list[Token]) -> list[Token]:
    """Return ``tokens`` with spelled-out numbers joined, and with units and bounds on every number."""
    joined = _join(text, tokens)
    with_units = [
        replace(token, quantity=_with_unit(text, joined, i)) if token.quantity else token
        for i, token in enumerate(joined)
    ]
    for i in range(len(with_units) - 2, -1, -1):
        with_units[i] = _range_unit(with_units, i)
    return [
        replace(token, quantity=_with_bound(text, with_units, i)) if token.quantity else token
        for i, token in enumerate(with_units)
    ]


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
    quantity = tokens[i].quantity
    if quantity is None or quantity.unit is not None or quantity.ordinal:
        return quantity
    if i and tokens[i - 1].lower in ("$", "€", "£", "usd", "eur", "gbp") and not tokens[i].breaks:
        return replace(quantity, unit=UNITS[tokens[i - 1].lower])
    for ahead in range(1, _LOOK_AHEAD + 1):
        if i + ahead >= len(tokens):
            break
        other = tokens[i + ahead]
        if other.breaks or other.quantity is not None:
            break
        if other.lower in UNITS:
            return replace(quantity, unit=UNITS[other.lower], weak=False)
        if other.lower == "per" and i + ahead + 1 < len(tokens) and tokens[i + ahead + 1].lower == "cent":
            return replace(quantity, unit="%", weak=False)
        if other.kind == "function":
            break
    return quantity


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
    for back in range(1, _LOOK_BACK + 1):
        if i - back < 0 or tokens[i - back + 1].breaks:
            break
        word = tokens[i - back].lower
        if word in (">=", "<="):
            return replace(quantity, bound=1 if word == ">=" else -1)
        if word in _UPWARD or word in _DOWNWARD:
            return replace(quantity, bound=1 if word in _UPWARD else -1, firm=False)
        if word not in _TRANSPARENT:
            break
    if text[tokens[i].end : tokens[i].end + 1] == "+":
        return replace(quantity, bound=1, firm=False)
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
        if word not in UNITS:
            break
    return quantity
