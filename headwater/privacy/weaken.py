"""A regular expression weakened to what Hyperscan can scan for: it matches wherever the original matches, and more.

The scan reads a *skeleton* of the text, one byte for each character: ASCII as it is, any other word character as
``_``, and everything else as byte 0x80. :func:`weaken` rewrites a pattern of the ``regex`` module for such skeletons
so that the span of every match of the original in a text is a match of the result in its skeleton. Each rule below
either keeps a construct's meaning or widens it: look-arounds inside go, because leaving a condition out widens, and
those at the ends become part of the match. What has no rule is :class:`Underivable`, and its recogniser then reads
every text.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import regex  # type: ignore[import-untyped]

WORD, OTHER = "_", "\\x80"

# Characters that equal an ASCII letter when case is ignored: a text with one is not scanned but read by everyone.
ODD = regex.compile("[\u0130\u017f\u212a]")

_SAME = frozenset("WSbBnrtfv")  # escapes that mean the same on a skeleton, or more
_OUTSIDE = {"d": "[0-9_]", "w": r"\w", "s": r"[\s\x80]", "D": r"[\D_]", "A": "", "Z": "", "z": ""}
_INSIDE = {"d": "0-9_", "w": r"\w", "s": r"\s\x80", "D": r"\D_", "W": r"\W", "S": r"\S"}
_NEGATED = {"d": r"\d", "w": r"\w", "s": r"\s", "D": r"\D", "W": r"\W", "S": r"\S"}
_QUANTIFIER = regex.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_LOOK_AROUNDS = ("(?=", "(?!", "(?<=", "(?<!")
_GROUP = regex.compile(r"\((?:\?(?::|i\)|i:|P?<\w+>))?(?!\?|\*)")


class Underivable(ValueError):
    """The pattern has a construct without a rule."""


@cache
def _table() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return the byte of every code point, by what the ``regex`` module counts as a word character."""
    table = np.full(0x110000, 0x80, dtype=np.uint8)
    table[:0x80] = np.arange(0x80)
    # Surrogates are no characters; the caller has replaced them.
    points = np.array([point for point in range(0x80, 0x110000) if not 0xD800 <= point < 0xE000], dtype=np.uint32)
    everything = points.tobytes().decode("utf-32-le")
    for match in regex.finditer(r"\w+", everything):
        table[points[match.start() : match.end()]] = ord(WORD)
    return table


def skeleton(text: str) -> bytes:
    """Return one byte for each character of ``text`` (without lone surrogates)."""
    if text.isascii():
        return text.encode("ascii")
    return _table()[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)].tobytes()


def weaken(pattern: str) -> str:
    """Return the weakened pattern, for Hyperscan on skeletons. Raises :class:`Underivable`."""
    written: list[str] = []
    groups: list[str | None] = []  # what each numbered group matches, once it has ended
    opened: list[tuple[int | None, int]] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            letter = pattern[position + 1 : position + 2]
            written.append(_repeat(groups, letter) if letter.isdecimal() else _escape(letter, _OUTSIDE))
            position += 2
        elif character == "[":
            text, position = _class(pattern, position)
            written.append(text)
        elif pattern.startswith(_LOOK_AROUNDS, position):
            end = _end_of_group(pattern, position)
            if pattern[end : end + 1] in ("*", "+", "?", "{"):
                raise Underivable("a repeated look-around")
            # What must stand before the whole match, or after it, is scanned for with it.
            if pattern.startswith("(?<=", position) and position == 0:
                written.append(f"(?:{weaken(pattern[position + 4 : end - 1])})")
            elif pattern.startswith("(?=", position) and end == len(pattern):
                written.append(f"(?:{weaken(pattern[position + 3 : end - 1])})")
            position = end
        elif character == "(":
            group = _GROUP.match(pattern, position)
            if not group:
                raise Underivable(pattern[position : position + 4])
            written.append("(" if "<" in group[0] else group[0])
            position = group.end()
            if not group[0].endswith(")"):
                numbered = ":" not in group[0]
                opened.append((len(groups) if numbered else None, len(written)))
                groups += [None] * numbered
        elif character == ")" and opened:
            number, begin = opened.pop()
            if number is not None:
                groups[number] = "".join(written[begin:])
            written.append(character)
            position += 1
        elif character == "{":
            counted = _QUANTIFIER.match(pattern, position)
            if not counted or not (counted[1] or counted[3]):
                raise Underivable("a brace that counts nothing")
            written.append(f"{{{counted[1] or 0}{counted[2] or ''}{counted[3] or ''}}}")
            position = _after_quantifier(pattern, counted.end())
        elif character in "*+?":
            written.append(character)
            position = _after_quantifier(pattern, position + 1)
        else:
            written.append(character if character.isascii() else _stand_in(character))
            position += 1
    return "".join(written)


def _repeat(groups: list[str | None], digit: str) -> str:
    """Return what a back-reference may match: anything that its group may."""
    number = int(digit) - 1
    body = groups[number] if 0 <= number < len(groups) else None
    if body is None:
        raise Underivable(f"\\{digit}")
    return f"(?:{body})"


def _after_quantifier(pattern: str, position: int) -> int:
    """Skip what makes a quantifier lazy or possessive: neither says which spans can match, or only fewer."""
    return position + 1 if pattern[position : position + 1] in ("?", "+") else position


def _stand_in(character: str) -> str:
    return WORD if regex.match(r"\w", character) else OTHER


def _escape(letter: str, rules: dict[str, str]) -> str:
    if letter in rules:
        return rules[letter]
    if letter and letter.isascii() and (letter in _SAME or not letter.isalnum()):
        return "\\" + letter
    raise Underivable(f"\\{letter}")  # code points, properties and whatever is new


def _class(pattern: str, position: int) -> tuple[str, int]:
    """Return the character class at ``position``, weakened, and where it ends."""
    start = position = position + 1
    negated = pattern.startswith("^", position)
    position += negated
    first = position
    items: list[str] = []
    while position < len(pattern) and (pattern[position] != "]" or position == first):
        if pattern.startswith(("[:", "[["), position) or pattern[position : position + 2] in ("--", "&&", "||", "~~"):
            raise Underivable("a set operation")
        item, end = _member(pattern, position, negated)
        if pattern[end : end + 1] == "-" and pattern[end + 1 : end + 2] not in ("]", ""):
            high, end = _member(pattern, end + 1, negated)
            item = _range(item, high, negated)
        items.append(item)
        position = end
    if position >= len(pattern):
        raise Underivable(f"a class that does not end: {pattern[start:]}")
    text = "".join(items)
    if negated:
        return f"(?:[^{text}]|[_\\x80])" if text else r"[\x00-\xff]", position + 1
    return f"[{text}]", position + 1


def _member(pattern: str, position: int, negated: bool) -> tuple[str, int]:
    character = pattern[position]
    if character == "\\":
        letter = pattern[position + 1 : position + 2]
        if letter in ("b", "B"):
            raise Underivable("a backspace")
        return _escape(letter, _NEGATED if negated else _INSIDE), position + 2
    if character.isascii():
        return ("\\" + character if character in "[]^" else character), position + 1
    return ("" if negated else _stand_in(character)), position + 1


def _range(low: str, high: str, negated: bool) -> str:
    if len(low.lstrip("\\")) == 1 and len(high.lstrip("\\")) == 1 and WORD not in (low, high):
        return f"{low}-{high}"
    if negated:
        raise Underivable("a range of other than ASCII characters")
    return rf"{low}-\x7f_\x80" if len(low.lstrip("\\")) == 1 and low != WORD else r"_\x80"


def _end_of_group(pattern: str, position: int) -> int:
    """Return where the group at ``position`` ends."""
    depth = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif character == "[":
            position = _class(pattern, position)[1] - 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    raise Underivable("a group that does not end")
