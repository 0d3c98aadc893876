"""Names: which words of a sentence are names, and whether the source has them too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headwater.answering.verification.dates import month_of, weekday_of
from headwater.answering.verification.tokens import Token

CAPITAL_NOUNS = frozenset({"de", "lb"})
"""Languages that write every noun with a capital: there a capital says nothing."""

_DEMONYM_ENDS = frozenset({"", "a", "e", "y", "o", "en", "ia", "s"})
_DEMONYM_SUFFIXES = frozenset({"n", "an", "ian", "ean", "ese", "ish", "i", "ic", "s"})
_SHORTEST_ROOT = 4


@dataclass(frozen=True, slots=True)
class Casing:
    """How words are written in the sources: which stand in lower case, and which with a capital within a sentence."""

    small: frozenset[str]
    inner_capital: frozenset[str]

    @classmethod
    def of(cls, tokens: Iterable[Token]) -> Casing:
        """Read the casing of the words of ``tokens``."""
        small, inner = set(), set()
        for token in tokens:
            if token.kind == "word" and not token.joined:
                if not token.capital:
                    small.add(token.lower)
                elif not token.initial:
                    inner.add(token.lower)
        return cls(frozenset(small), frozenset(inner))

    def is_name_like(self, token: Token) -> bool:
        """Whether ``token``, at the beginning of a sentence or not, is written as a name is."""
        if token.kind == "id":
            return True
        if token.kind != "word" or not token.capital:
            return False
        return not token.initial or token.lower in self.inner_capital or token.lower not in self.small


def name_positions(tokens: Sequence[Token], language: str, casing: Casing) -> tuple[list[int], list[int]]:
    """Return the positions of names in a sentence, and of words that open it and may be names."""
    sure: list[int] = []
    maybe: list[int] = []
    for i, token in enumerate(tokens):
        if token.kind == "id":
            sure.append(i)
            continue
        if token.kind != "word" or month_of(tokens, i, language) or weekday_of(tokens, i, language) is not None:
            continue
        if not token.capital:
            if token.lower in casing.inner_capital and token.lower not in casing.small:
                sure.append(i)
            continue
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        paired = (
            following is not None
            and following.kind == "word"
            and following.capital
            and not following.breaks
            and not following.initial
        )
        if language in CAPITAL_NOUNS or (token.initial and not paired):
            maybe.append(i)
        else:
            sure.append(i)
    return sure, maybe


def same_name(token: Token, source: Token) -> bool:
    """Say whether two names with different keys are one: a country and its people ("Canada", "Canadian")."""
    if not (token.capital and source.capital):
        return False
    a, b = token.lower, source.lower
    root = 0
    while root < min(len(a), len(b)) and a[root] == b[root]:
        root += 1
    if root < _SHORTEST_ROOT:
        return False
    return (a[root:] in _DEMONYM_ENDS and b[root:] in _DEMONYM_SUFFIXES) or (
        b[root:] in _DEMONYM_ENDS and a[root:] in _DEMONYM_SUFFIXES
    )


def is_abbreviated(position: int, tokens: Sequence[Token], source: Sequence[Token]) -> bool:
    """Say whether the source spells out the acronym ``tokens[position]``, or abbreviates the name that it is part of."""
    token = tokens[position]
    if len(token.lower) > 1 and _spelled(token.lower, source):
        return True
    first = last = position
    while first > 0 and _in_name(tokens[first - 1]) and position - first < 5:
        first -= 1
    while last + 1 < len(tokens) and _in_name(tokens[last + 1]) and last - position < 5:
        last += 1
    initials = "".join(part.lower[0] for part in tokens[first : last + 1] if part.kind == "word")
    return len(initials) > 1 and any(other.lower == initials and other.capital for other in source)


def _in_name(token: Token) -> bool:
    return token.capital or token.lower in ("of", "the", "and", "for")


def _spelled(acronym: str, source: Sequence[Token]) -> bool:
    words = [token for token in source if token.kind == "word"]
    for i in range(len(words) - len(acronym) + 1):
        run = words[i : i + len(acronym)]
        if all(w.lower[:1] == c for w, c in zip(run, acronym, strict=True)) and all(w.capital for w in run[1:]):
            return True
    return False
