"""Does the sentence say yes where its source says yes? Negations, restrictions, duties, bounds and opposites.

Each word that turns a claim round in one text must have its counterpart in the other, next to the same words. What the
sentence leaves out of the source altogether asks for no counterpart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from headwater.answering.verification.alignment import Tiling
from headwater.answering.verification.dates import month_of, weekday_of
from headwater.answering.verification.lexicon import (
    FROM,
    MODALS,
    NEGATIVE_PREFIXES,
    ONLY_BEFORE_TIMES,
    POLARITIES,
    POLARITY,
    SOFT_NEGATORS,
    UNTIL,
    VERB_LAST,
    Polarity,
)
from headwater.answering.verification.opposites import DENYING, is_negative, opposite
from headwater.answering.verification.signs import APPROXIMATE, CROSS
from headwater.answering.verification.tokens import Token
from headwater.answering.verification.units import TIMES

REACH = 6
"""Words between a negation and its counterpart's place, at most."""

SCOPE = 2
"""Content words after a negation that it is taken to bear on."""

FOREIGN_SHARE = 0.2
"""A text with more letters of other scripts than this isn't in the language of the lists."""

_MODAL_REACH = 4
_LEFT_REACH = 3
_CLAUSE_OPENERS = frozenset(
    {"if", "when", "while", "because", "whether", "but", "and", "or", "although", "though", "whereas", "since"}
)
_SOFT_ONLY = frozenset({"just", "alone", "single", "one", "exclusive", "sole"})
_LIMIT_REACH = 3
"""Words between a limit and what it is set before, at most: "by the end of March"."""

_STRETCHES = frozenset({"in", "during", "the", "first", "next", "following"})
"""Words before a stretch of time in which something is done: "in the 5 days after"."""

_BESIDE_TIMES = frozenset({"the", "end", "of", "about", "around"})
_COMPARISONS = {">=": ">=", "<=": "<=", "than": ""}
_BOUND_WORDS = {
    1: frozenset({"minimum", "min", "least", ">="}),
    -1: frozenset({"maximum", "max", "most", "limit", "limited", "cap", "capped", ">="}),
}


def turned_round(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str) -> bool:
    """Say whether the sentence asserts, denies, restricts, permits or bounds what its source doesn't."""
    opposites = _opposites(sentence, source, tiling, language)
    left = _leftovers(sentence, source, tiling, language)
    back = Tiling(tiling.sentence_of, tiling.source_of, [], frozenset(), frozenset())
    for i, kind in left[0]:
        if not _answered(i, kind, sentence, source, tiling, left[1], opposites, 0):
            return True
    for j, kind in left[1]:
        if not _answered(j, kind, source, sentence, back, left[0], opposites, 1):
            return True
    return (
        bool(opposites)
        or (language == "en" and _denied_otherwise(sentence, source, tiling, language, beside=False))
        or (language == "en" and tiling.near_copy and _denied_otherwise(source, sentence, back, language, beside=True))
        or _modality_differs(sentence, source, tiling, language)
        or _bound_differs(sentence, source, tiling)
        or _limit_differs(sentence, source, tiling, language)
        or _sides_changed(sentence, source, tiling)
    )


def is_negation(token: Token, language: str) -> bool:
    """Say whether a word denies what stands beside it."""
    return POLARITIES.get(language, {}).get(token.lower) == "not"


def can_tell(language: str, text: str) -> bool:
    """Say whether ``text``, in that language, can be read for its negations: all lists are of the Latin script."""
    letters = [c for c in text if c.isalpha()]
    foreign = sum(not unicodedata.name(c, "").startswith("LATIN") for c in letters)
    return language in POLARITIES and foreign <= FOREIGN_SHARE * len(letters)


def _markers(tokens: Sequence[Token], language: str) -> list[tuple[int, Polarity]]:
    words = POLARITIES.get(language, {})
    found: list[tuple[int, Polarity]] = []
    for i, token in enumerate(tokens):
        kind = words.get(token.lower)
        if kind is None:
            continue
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        if token.lower == "no" and following is not None and (following.quantity is not None or following.breaks):
            continue  # "No. 5", and the "No," that opens an answer
        found.append((i, kind))
    # A cross beside a word that denies says the same once more: "❌ Don't".
    return [
        (i, kind)
        for n, (i, kind) in enumerate(found)
        if tokens[i].lower != CROSS
        or not any(tokens[k].lower != CROSS and abs(k - i) <= REACH for k, _ in found[max(0, n - 1) : n + 2])
    ]


def _leftovers(
    sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str
) -> tuple[list[tuple[int, Polarity]], list[tuple[int, Polarity]]]:
    """Return the markers of either text that aren't aligned to one of the other."""
    mine, theirs = _markers(sentence, language), _markers(source, language)
    marked, there = {i for i, _ in mine}, {j for j, _ in theirs}
    return (
        [(i, kind) for i, kind in mine if tiling.source_of[i] not in there],
        [(j, kind) for j, kind in theirs if tiling.sentence_of[j] not in marked],
    )


def _scope(i: int, tokens: Sequence[Token], kind: Polarity) -> list[int]:
    """Return the content words that the marker bears on: those after it, or where its clause ends, the one before."""
    found: list[int] = []
    for j in range(i + 1, min(len(tokens), i + 1 + REACH)):
        if tokens[j].breaks:
            break
        if tokens[j].is_content:
            found.append(j)
            if len(found) == SCOPE:
                break
    if found or kind == "except":
        return found
    for j in range(i - 1, max(-1, i - 1 - _LEFT_REACH), -1):
        if tokens[j].is_content:
            return [j]
        if tokens[j].lower in _CLAUSE_OPENERS or tokens[j].breaks:
            break
    return [i - 1] if i else []


def _answered(
    i: int,
    kind: Polarity,
    tokens: Sequence[Token],
    others: Sequence[Token],
    tiling: Tiling,
    free: list[tuple[int, Polarity]],
    opposites: list[tuple[int, int]],
    side: int,
) -> bool:
    """Say whether a marker has a counterpart; one that is found is taken out of ``free`` or ``opposites``."""
    near = [pair for pair in opposites if abs(pair[side] - i) <= REACH]
    # "Not open" is "closed"; "open only on weekdays" is not "closed on weekdays".
    if near and kind == "not":
        opposites.remove(near[0])
        return True
    scope = _scope(i, tokens, kind)
    places = [tiling.source_of[j] for j in scope if tiling.source_of[j] >= 0]
    if not places:
        # A restriction that is left out with all that it names ("only with a permit") sets free what stands before it.
        before = next((j for j in range(i - 1, max(-1, i - 1 - _LEFT_REACH), -1) if tokens[j].is_content), None)
        return not (side and kind != "not" and before is not None and tiling.source_of[before] >= 0)
    for marker in free:
        if not _compatible(kind, marker[1]) or not any(abs(marker[0] - place) <= REACH for place in places):
            continue
        if {kind, marker[1]} == {"only", "except"}:
            if not near:
                continue
            opposites.remove(near[0])  # "closed only on Sundays" is "open except on Sundays"
        free.remove(marker)
        return True
    denied = {prefix + tokens[j].lower for j in scope for prefix in NEGATIVE_PREFIXES}
    soft = _SOFT_ONLY if kind == "only" else SOFT_NEGATORS | denied
    return any(
        tiling.sentence_of[j] < 0 and others[j].lower in soft
        for place in places
        for j in range(max(0, place - REACH), min(len(others), place + REACH + 1))
    )


def _compatible(one: Polarity, other: Polarity) -> bool:
    return one == other or "except" in (one, other)


def _opposites(
    sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str
) -> list[tuple[int, int]]:
    """Return the pairs of unaligned words of which one stands in the place of its opposite."""
    found: list[tuple[int, int]] = []
    markers = POLARITIES.get(language, POLARITY)
    for i, token in enumerate(sentence):
        if token.kind == "number" or token.lower in markers:
            continue
        if tiling.source_of[i] >= 0 and not tiling.is_lone(i):
            continue
        for j in tiling.slot(i)[1]:
            if tiling.sentence_of[j] < 0 and source[j].lower not in markers and opposite(token, source[j], language):
                found.append((i, j))
                break
    return found


def _denied_otherwise(
    tokens: Sequence[Token], others: Sequence[Token], tiling: Tiling, language: str, *, beside: bool
) -> bool:
    """Say whether a word of ``tokens`` such as "banned" or "failed" denies what nothing in ``others`` denies.

    ``beside``: only where ``others`` have the words on both sides of it, and so left out nothing but the denial.
    """
    for i, token in enumerate(tokens):
        if token.lower not in DENYING or tiling.source_of[i] >= 0:
            continue
        sides = [_nearest(i, step, tokens, tiling) for step in (-1, 1)]
        places = [place for place in sides if place >= 0]
        if not places or (beside and len(places) < len(sides)):
            continue
        low, high = max(0, min(places) - REACH), max(places) + REACH + 1
        # What stands far apart there was gathered from two places.
        if high - low <= 4 * REACH and not any(
            other.lower in POLARITIES[language] or is_negative(other) for other in others[low:high]
        ):
            return True
    return False


def _nearest(i: int, step: int, tokens: Sequence[Token], tiling: Tiling) -> int:
    """Return where the next content word before or after ``tokens[i]``, in its clause, is aligned to, or -1."""
    for k in range(1, REACH):
        j = i + step * k
        if not 0 <= j < len(tokens) or tokens[j if step > 0 else j + 1].breaks:
            break
        if tokens[j].is_content:
            return tiling.source_of[j]
    return -1


def _modality_differs(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str) -> bool:
    modals = MODALS.get(language, {})
    for i, token in enumerate(sentence):
        mood = modals.get(token.lower)
        if mood is None or (tiling.source_of[i] >= 0 and not tiling.is_lone(i)):
            continue
        act = next((k for k in range(i + 1, min(len(sentence), i + 1 + _MODAL_REACH)) if sentence[k].is_content), None)
        here = sentence[i : act if act is not None else i]
        there = list(_in_place(i, source, tiling))
        if tiling.source_of[i] < 0 and act is not None and tiling.source_of[act] >= 0:
            place = tiling.source_of[act]
            behind = _MODAL_REACH + 1 if language in VERB_LAST else 0
            there += source[max(0, place - _MODAL_REACH) : place + behind]
        moods = {modals[other.lower] for other in there if other.lower in modals}
        denied = _holds_marker(there, language) or _holds_marker(here, language)
        if language in VERB_LAST:
            # "Darf nicht" and "muss nicht" differ, where "may not" and "must not" are one.
            around = sentence[max(0, i - _MODAL_REACH) : i + 1 + _MODAL_REACH]
            denied = _holds_marker(there, language) != _holds_marker(around, language)
        if moods and mood not in moods and not denied:
            return True
    return False


def _holds_marker(tokens: Sequence[Token], language: str) -> bool:
    return any(token.lower in POLARITIES.get(language, {}) for token in tokens)


def _in_place(i: int, source: Sequence[Token], tiling: Tiling) -> Iterator[Token]:
    """Yield the source's words beside those that word ``i`` of the sentence stands beside, and in its slot."""
    yield from (source[j] for j in tiling.slot(i)[1])
    for k, step in ((i - 1, 1), (i + 1, -1)):
        j = tiling.source_of[k] + step if 0 <= k < len(tiling.source_of) and tiling.source_of[k] >= 0 else -1
        if 0 <= j < len(source):
            yield source[j]


def _bound_differs(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling) -> bool:
    for i, token in enumerate(sentence):
        j = tiling.source_of[i]
        mine, theirs = token.quantity, source[j].quantity if j >= 0 else None
        if mine is None or theirs is None:
            continue
        if mine.blur != theirs.blur:
            exact, at = (sentence, i) if not mine.blur else (source, j)
            beside = exact[max(0, at - _LIMIT_REACH) : at]
            if "±" in (mine.blur, theirs.blur) or not any(other.lower in APPROXIMATE for other in beside):
                return True
        if mine.bound == theirs.bound:
            continue
        if mine.bound * theirs.bound < 0:
            return True
        unbounded, at = (source, j) if mine.bound else (sentence, i)
        firm = mine.firm if mine.bound else theirs.firm
        around = unbounded[max(0, at - REACH) : at + REACH]
        if firm and not any(other.lower in _BOUND_WORDS[mine.bound or theirs.bound] for other in around):
            return True
    return False


def _limit_differs(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str) -> bool:
    """Say whether a time that the source sets as an end ("until 2020") is a beginning in the sentence, or the reverse."""
    for i, j in enumerate(tiling.source_of):
        if j < 0 or not (_is_time(sentence, i, language) or sentence[i].quantity is not None):
            continue
        mine, theirs = _limit(sentence, i, language), _limit(source, j, language)
        if not mine and _is_delay(sentence, i):
            mine = "from"
        if mine and theirs and mine != theirs:
            clauses = (sentence[max(0, i - REACH) : i], source[max(0, j - REACH) : j])
            if not any(_holds_marker(clause, language) for clause in clauses):
                return True
    return False


def _limit(tokens: Sequence[Token], i: int, language: str) -> str:
    """Return which end of a time the words before ``tokens[i]`` set, empty for neither."""
    timed = _is_time(tokens, i, language)
    for k in range(i - 1, max(-1, i - 2 - _LIMIT_REACH), -1):
        word = tokens[k].lower
        if tokens[k + 1].breaks:
            break
        if word in UNTIL or word in FROM:
            known = timed or word not in ONLY_BEFORE_TIMES
            return ("until" if word in UNTIL else "from") if known else ""
        if word not in _BESIDE_TIMES and not _is_time(tokens, k, language):
            break
    return ""


def _is_delay(tokens: Sequence[Token], i: int) -> bool:
    """Whether a number says how long after something ("5 days after"), not within how long ("in the 5 days after")."""
    quantity = tokens[i].quantity
    if quantity is None or quantity.unit not in TIMES or quantity.bound:
        return False
    if i and tokens[i - 1].lower in _STRETCHES:
        return False
    following = next((token for token in tokens[i + 1 :] if token.start >= quantity.unit_end), None)
    return following is not None and not following.breaks and following.lower == "after"


def _is_time(tokens: Sequence[Token], i: int, language: str) -> bool:
    """Whether a number, a month or a weekday says when."""
    quantity = tokens[i].quantity
    if quantity is None:
        return month_of(tokens, i, language) is not None or weekday_of(tokens, i, language) is not None
    beside = [k for k in (i - 1, i + 1) if 0 <= k < len(tokens)]
    return quantity.is_year or quantity.unit == "time" or any(month_of(tokens, k, language) for k in beside)


def _sides_changed(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling) -> bool:
    """Say whether what the source compares with something has changed places with that: "A costs more than B"."""
    for i, here in _comparisons(sentence):
        for j, there in _comparisons(source):
            if here != there:
                continue
            low = max((border for border in tiling.borders if border <= j), default=0)
            high = min((border for border in tiling.borders if border > j), default=len(source))
            before = {token.key for token in source[low:j]}
            after = {token.key for token in source[j + 1 : high]}
            moved = [
                (k < i, place < j)
                for k, place in enumerate(tiling.source_of)
                if low <= place < high and sentence[k].is_content and sentence[k].key not in before & after
            ]
            if (True, False) in moved and (False, True) in moved:
                return True
    return False


def _comparisons(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Yield the positions at which two things are compared, with what tells a comparison from its reverse."""
    for i, token in enumerate(tokens):
        following = tokens[i + 1].quantity if i + 1 < len(tokens) else None
        if token.lower in _COMPARISONS and i and following is None:
            yield i, _COMPARISONS[token.lower] or tokens[i - 1].key
