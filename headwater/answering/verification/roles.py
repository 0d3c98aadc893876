"""Who does it to whom: a copy in which two sides of a verb changed places says the reverse, unless it turned passive.

English only: where word order doesn't tell who does what, nothing is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.answering.verification.alignment import Tiling
from headwater.answering.verification.dates import month_of, weekday_of
from headwater.answering.verification.lexicon import BE, CLAUSE_OPENERS
from headwater.answering.verification.tokens import Token
from headwater.answering.verification.units import TIMES

REACH = 10
"""Words on either side of a verb among which its subject and its objects are looked for."""

_BE = BE["en"] | {"be", "being", "am", "get", "gets", "got"}
_BESIDE_BE = frozenset({"not", "also", "then", "now", "never", "only", "still", "already", "being", "been", "be"})
_STOPS = CLAUSE_OPENERS["en"] | {
    "that",
    "than",
    "as",
    "like",
    "where",
    "why",
    "how",
    "what",
    "before",
    "after",
    ">=",
    "<=",
}
_PREPOSITIONS = """
    at by for from in into on onto to toward towards with within via per upon about around over under above below between
    among through during until till across against near out up down off along
    """
_LEADING = frozenset(_PREPOSITIONS.split())
_SYMMETRIC = "meet met marri marry equal match resembl border neighbour neighbor adjoin accompani differ"
_SAME_OF_BOTH = frozenset(_SYMMETRIC.split())
"""Stems of verbs that say the same of both sides."""

_CHANGES = frozenset({"by", "to", "from"})
_CHANGING = """
    rise rises rose risen rising fall falls fell fallen falling grow grows grew grown growing increase increases increased
    increasing decrease decreases decreased decreasing drop drops dropped dropping climb climbs climbed sink sinks sank sunk
    shrink shrinks shrank shrunk decline declines declined raise raises raised cut cuts reduce reduces reduced lower lowers
    lowered jump jumps jumped slip slips slipped change changes changed expand expands expanded went up down
    """
_CHANGE_WORDS = frozenset(_CHANGING.split())
_CHANGE_REACH = 8
"""Words before a number among which one of them says that something changed."""

_BESIDE_NUMBERS = frozenset({"about", "around", "a", "the", "nearly", "almost", "some", "$", "€", "£", ">=", "<="})


@dataclass(frozen=True, slots=True)
class _Sides:
    """The keys of what stands before and after a verb, and of what ``by`` names there."""

    before: frozenset[str]
    after: frozenset[str]
    by: frozenset[str]
    passive: bool


def roles_changed(
    sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str
) -> tuple[bool, frozenset[int]]:
    """Say whether the two sides of a word in the sentence are those of its source, the other way round.

    The passive ("Globex was acquired by Acme") turns the sides and says the same; without turning them it says the
    reverse. The positions in the sentence of what such a passive, or active, turned are returned, too. Takes time in
    proportion to the lengths.
    """
    if language != "en":
        return False, frozenset()
    changed = False
    turned: set[int] = set()
    for i, j in enumerate(tiling.source_of):
        if j < 0 or sentence[i].kind != "word" or sentence[i].key != source[j].key or sentence[i].key in _SAME_OF_BOTH:
            continue
        here, there = _sides(sentence, i), _sides(source, j, tiling.borders)
        fell = (there.before - there.after) & (here.after - here.before)
        rose = (there.after - there.before) & (here.before - here.after)
        one, other = (here, there) if here.passive else (there, here)
        if fell and rose:
            changed |= here.passive == there.passive
            if here.passive != there.passive and one.by & other.before:
                near = range(max(0, i - REACH), min(len(sentence), i + 1 + REACH))
                turned |= {k for k in near if sentence[k].key in fell | rose}
        elif here.passive != there.passive and here.before & there.before:
            changed |= bool(one.by & other.after - other.by)
    return changed, frozenset(turned)


def change_differs(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str) -> bool:
    """Say whether a number that something changes by, to or from is another of these in the source."""
    if language != "en":
        return False
    for i, j in enumerate(tiling.source_of):
        if j >= 0 and sentence[i].kind == source[j].kind == "number":
            here, there = _part(sentence, i), _part(source, j)
            if here and there and here != there:
                return True
    return False


def _part(tokens: Sequence[Token], i: int) -> str:
    quantity = tokens[i].quantity
    if quantity is None or quantity.is_year or quantity.unit in (*TIMES, "time") or _is_day(tokens, i):
        return ""
    for k in range(i - 1, max(-1, i - 4), -1):
        if tokens[k + 1].breaks:
            break
        if tokens[k].lower in _CHANGES:
            before = tokens[max(0, k - _CHANGE_REACH) : k]
            return tokens[k].lower if any(token.lower in _CHANGE_WORDS for token in before) else ""
        if tokens[k].lower not in _BESIDE_NUMBERS:
            break
    return ""


def _is_day(tokens: Sequence[Token], i: int) -> bool:
    return any(_is_time(tokens, k) for k in (i - 1, i + 1) if 0 <= k < len(tokens) and tokens[k].quantity is None)


def _is_time(tokens: Sequence[Token], i: int) -> bool:
    return month_of(tokens, i, "en") is not None or weekday_of(tokens, i, "en") is not None


def _sides(tokens: Sequence[Token], i: int, borders: frozenset[int] = frozenset()) -> _Sides:
    before: list[int] = []
    for k in range(i - 1, max(-1, i - 1 - REACH), -1):
        if tokens[k + 1].breaks or k + 1 in borders or tokens[k].lower in _STOPS:
            break
        if tokens[k].lower in _LEADING:
            # "In 2019 Acme acquired": what stands behind a time may be the subject; "the team in Oslo manages": it isn't.
            timed = k + 1 < i and (tokens[k + 1].quantity is not None or _is_time(tokens, k + 1))
            before = before if timed else []
        elif _is_side(tokens, k):
            before.append(k)
    after: list[int] = []
    by: list[int] = []
    named = False
    for k in range(i + 1, min(len(tokens), i + 1 + REACH)):
        if tokens[k].breaks or k in borders or tokens[k].lower in _STOPS:
            break
        if tokens[k].lower in _LEADING:
            named = tokens[k].lower == "by"
        elif _is_side(tokens, k):
            after.append(k)
            if named:
                by.append(k)
    return _Sides(
        frozenset(tokens[k].key for k in before),
        frozenset(tokens[k].key for k in after),
        frozenset(tokens[k].key for k in by),
        _is_passive(tokens, i),
    )


def _is_side(tokens: Sequence[Token], k: int) -> bool:
    return tokens[k].is_content and tokens[k].quantity is None and not _is_time(tokens, k)


def _is_passive(tokens: Sequence[Token], i: int) -> bool:
    if tokens[i].lower.endswith("ing"):
        return False
    if i + 1 < len(tokens) and tokens[i + 1].lower == "by" and not tokens[i + 1].breaks:
        return True
    for k in range(i - 1, max(-1, i - 4), -1):
        if tokens[k + 1].breaks:
            break
        if tokens[k].lower in _BE:
            return True
        if tokens[k].lower not in _BESIDE_BE and not tokens[k].lower.endswith("ly"):
            break
    return False
