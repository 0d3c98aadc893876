"""What a draft claims in numbers, dates and names, held against the source sentences that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from headwater.answering.verification.alignment import Tiling
from headwater.answering.verification.dates import (
    DateMention,
    contradicts,
    find_dates,
    is_stated,
    month_of,
    weekday_of,
)
from headwater.answering.verification.lexicon import COORDINATORS
from headwater.answering.verification.names import Casing, is_abbreviated, name_positions, same_name
from headwater.answering.verification.tokens import Token
from headwater.answering.verification.units import UNITS
from headwater.types import DropReason

_NO_NAME_ENDS = ("ly", "ing", "ed")
_IsKind = Callable[[Sequence[Token], int], bool]


@dataclass(frozen=True, slots=True)
class Context:
    """What counts beside the source sentences: words of titles, headings and the rest of the cited passages.

    ``words`` are the names among them, ``heading`` those of titles and headings alone.
    """

    casing: Casing
    heading: frozenset[str]
    words: frozenset[str]
    language: str


def same(token: Token, source: Token) -> bool:
    """Say whether a token of the draft says what a token of the source says."""
    if token.kind == source.kind == "function":
        return token.key == source.key
    if token.quantity is not None:
        return source.quantity is not None and token.quantity.agrees(source.quantity)
    return source.quantity is None and (token.key == source.key or same_name(token, source))


class ClaimCheck:
    """One draft's tokens aligned with its source's; says which claims have no ground there.

    ``turned`` are positions of what a passive moved to the other side of its verb.
    """

    def __init__(
        self,
        sentence: Sequence[Token],
        source: Sequence[Token],
        tiling: Tiling,
        context: Context,
        turned: frozenset[int] = frozenset(),
    ) -> None:
        self._turned = turned
        self._sentence = sentence
        self._source = source
        self._tiling = tiling
        self._context = context
        self._dates = find_dates(sentence, context.language)
        self._there = find_dates(source, context.language)
        self.grounded: set[int] = set()

    def reasons(self) -> set[DropReason]:
        """Return ``date``, ``number`` and ``name`` as far as a claim of that kind isn't supported.

        ``grounded`` are then the tokens that are supported without being aligned word by word.
        """
        found: set[DropReason] = set()
        units: set[int] = set()
        dated = {i for mention in self._dates for i in mention.place}
        if not all(self._date_stands(mention) for mention in self._dates):
            found.add("date")
        else:
            self.grounded |= dated
        for i, token in enumerate(self._sentence):
            if i in dated:
                continue
            if weekday_of(self._sentence, i, self._context.language) is not None:
                if not self._weekday_stands(i):
                    found.add("date")
            elif token.quantity is not None and not self._number_stands(i):
                found.add("date" if token.quantity.is_year else "number")
            elif token.quantity is not None and token.quantity.unit is not None:
                units |= self._unit_of(i)
        self.grounded |= units
        sure, maybe = name_positions(self._sentence, self._context.language, self._context.casing)
        if not all(i in dated or i in units or self._name_stands(i, True) for i in sure):
            found.add("name")
        if not all(i in dated or self._name_stands(i, False) for i in maybe):
            found.add("name")
        return found

    # --- dates --------------------------------------------------------------------------------------------------

    def _date_stands(self, mention: DateMention) -> bool:
        """Whether the source states the date, and somewhere not in the place of another one that the draft has there."""
        aligned = [i for i in mention.place if self._sentence[i].is_content]
        inside = {j for date in self._there for j in date.place}
        loose = [token for j, token in enumerate(self._source) if j not in inside]
        homes = [date.place for date in self._there if is_stated(mention, [date], loose)]
        if all(self._tiling.source_of[i] >= 0 for i in aligned) and self._in_line(aligned):
            first, last = self._tiling.source_of[aligned[0]], self._tiling.source_of[aligned[-1]]
            homes = [range(first, last + 1)]
        return any(not self._date_displaced(mention, home) for home in homes)

    def _date_displaced(self, mention: DateMention, home: range) -> bool:
        """Whether the words around a date lead to another one than that at ``home``; see :meth:`_displaced`."""
        own = frozenset(self._tiling.tile_of[i] for i in mention.place if self._tiling.source_of[i] in home)
        around, gap = self._tiling.slot_of(mention.place, own, home[0])
        held = {self._source[j].key for j in gap}
        for k in around:
            token = self._sentence[k]
            if k in mention.place or not token.is_content:
                continue
            if self._tiling.tile_of[k] not in own or not (self._is_dated(self._sentence, k) or token.key in held):
                return False
        return any(
            contradicts(mention, date)
            and any(j in date.place and j not in home for j in gap)
            and not self._listed_together(date.first, home[0], self._is_dated)
            for date in self._there
        )

    def _is_dated(self, tokens: Sequence[Token], i: int) -> bool:
        dates = self._dates if tokens is self._sentence else self._there
        return _is_number(tokens, i) or self._is_day(tokens, i) or any(i in date.place for date in dates)

    def _in_line(self, positions: Sequence[int]) -> bool:
        return len({self._tiling.tile_of[i] for i in positions}) == 1

    def _weekday_stands(self, i: int) -> bool:
        day = weekday_of(self._sentence, i, self._context.language)
        there = [j for j in range(len(self._source)) if weekday_of(self._source, j, self._context.language) == day]
        return bool(there) and not self._displaced(i, self._is_day)

    def _is_day(self, tokens: Sequence[Token], i: int) -> bool:
        return weekday_of(tokens, i, self._context.language) is not None

    # --- numbers ------------------------------------------------------------------------------------------------

    def _number_stands(self, i: int) -> bool:
        token = self._sentence[i]
        assert token.quantity is not None
        is_kind = _is_ordinal if token.kind == "function" else _is_number
        if self._tiling.source_of[i] >= 0:
            return not (
                self._displaced(i, is_kind)
                or self._cuts_a_range(i)
                or self._exchanges_a_unit(i)
                or self._drops_a_unit(i)
            )
        gap = self._tiling.slot(i)[1]
        replaced = any(is_kind(self._source, j) for j in gap if self._tiling.sentence_of[j] < 0)
        if token.quantity.weak or _is_list_number(self._sentence, i):
            # "One of", "half of", a list's own number: they only claim something where the source counts otherwise.
            return not replaced
        if any(same(token, other) for other in self._source):
            # Said twice in the draft, once in the source.
            return not replaced
        return False

    def _unit_of(self, i: int) -> set[int]:
        """Return the tokens of the unit of number ``i``, behind it or, as a currency, before it."""
        quantity = self._sentence[i].quantity
        assert quantity is not None and quantity.unit is not None
        unit = quantity.unit.partition("/")[0]
        return {
            k
            for k in range(max(0, i - 1), min(len(self._sentence), i + 5))
            if (i < k and self._sentence[k].start < quantity.unit_end) or UNITS.get(self._sentence[k].lower) == unit
        }

    def _cuts_a_range(self, i: int) -> bool:
        """Whether the source's number is one end of a range whose other end the draft leaves out, and says no bound for."""
        mine, theirs = self._sentence[i].quantity, self._source[self._tiling.source_of[i]].quantity
        if mine is None or theirs is None or not theirs.other_end or mine.bound == theirs.bound:
            return False
        return not any(token.quantity and token.quantity.values & theirs.other_end for token in self._sentence)

    def _exchanges_a_unit(self, i: int) -> bool:
        """Whether a copy has another word where a unit stands, of which one is none that is known ("5 litres", "5 firkins")."""
        j = self._tiling.source_of[i]
        mine, theirs = self._sentence[i].quantity, self._source[j].quantity
        here, there = self._sentence[i + 1 : i + 2], self._source[j + 1 : j + 2]
        if not self._tiling.near_copy or mine is None or theirs is None or (mine.unit is None) == (theirs.unit is None):
            return False
        if not here or not there or any(word.breaks or word.kind != "word" for word in (*here, *there)):
            return False
        if self._tiling.source_of[i + 1] >= 0 or self._tiling.sentence_of[j + 1] >= 0:
            return False
        after = self._tiling.source_of[i + 2] if i + 2 < len(self._sentence) else j + 2
        return after == j + 2

    def _drops_a_unit(self, i: int) -> bool:
        """Whether a copy leaves out the unit behind the source's number, and has nothing in its place."""
        j = self._tiling.source_of[i]
        mine, theirs = self._sentence[i].quantity, self._source[j].quantity
        if not self._tiling.near_copy or mine is None or theirs is None or mine.unit is not None or theirs.weak:
            return False
        unit = [k for k in range(j + 1, min(len(self._source), j + 4)) if self._source[k].start < theirs.unit_end]
        if not unit or any(self._tiling.sentence_of[k] >= 0 for k in unit):
            return False
        following = self._sentence[i + 1 : i + 2]
        return not following or following[0].breaks or self._tiling.source_of[i + 1] == unit[-1] + 1

    # --- names --------------------------------------------------------------------------------------------------

    def _name_stands(self, i: int, sure: bool) -> bool:
        token = self._sentence[i]
        if self._tiling.source_of[i] >= 0:
            return not (sure or token.capital) or i in self._turned or not self._displaced(i, self._is_name)
        if token.key in {other.key for other in self._source} and not self._replaced(i):
            return True
        if is_abbreviated(i, self._sentence, self._source):
            self.grounded.add(i)
            return True
        if not sure:
            # The first word of a sentence may be any word: it is a name if it stands where the source has one.
            if token.lower in self._context.casing.small:
                return True
            return not (self._replaced(i) or self._opens_a_copy(i))
        known = token.key in self._context.words or token.lower in self._context.words
        if known and not self._replaced(i):
            self.grounded.add(i)
            return True
        return False

    def _is_name(self, tokens: Sequence[Token], i: int) -> bool:
        return self._context.casing.is_name_like(tokens[i]) and not month_of(tokens, i, self._context.language)

    def _replaced(self, i: int) -> bool:
        """Whether the source has another name in the place of token ``i``."""
        around, gap = self._tiling.slot(i)
        if any(self._sentence[k].is_content and not self._is_name(self._sentence, k) for k in around):
            return False
        return any(
            self._is_name(self._source, j)
            and self._tiling.sentence_of[j] < 0
            and not is_abbreviated(j, self._source, self._sentence)
            for j in gap
        )

    def _opens_a_copy(self, i: int) -> bool:
        """Whether word ``i`` opens a near copy in the place of another word, and looks like no adverb or participle."""
        following = self._sentence[i + 1] if i + 1 < len(self._sentence) else None
        if not self._tiling.near_copy or following is None or following.breaks:
            return False
        gap = self._tiling.slot(i)[1]
        return bool(gap) and not self._sentence[i].lower.endswith(_NO_NAME_ENDS)

    # --- places -------------------------------------------------------------------------------------------------

    def _displaced(self, i: int, is_kind: _IsKind) -> bool:
        """Whether aligned token ``i`` stands where the source has another thing of its kind.

        Two were swapped, or one was taken from another place of the source: then what lies around ``i`` in the draft
        lies around that other thing in the source, and the words aligned in line with ``i`` do so too.
        """
        tile = self._tiling.tile_of[i]
        around, gap = self._tiling.slot(i)
        held = {self._source[j].key for j in gap}
        for k in around:
            token = self._sentence[k]
            if token.lower in UNITS:
                continue
            if token.is_content and not is_kind(self._sentence, k) and token.key not in held:
                return False
            if token.is_content and self._tiling.tile_of[k] != tile:
                return False
        home = self._tiling.source_of[i]
        return any(
            j != home
            and is_kind(self._source, j)
            and not same(self._sentence[i], self._source[j])
            and not self._listed_together(j, home, is_kind)
            for j in gap
        )

    def _listed_together(self, one: int, other: int, is_kind: _IsKind) -> bool:
        """Whether two source tokens are parts of one name, or of one list, whose order says nothing ("Ann and Bo")."""
        first, last = sorted((one, other))
        between = range(first + 1, last + 1)
        return not any(j in self._tiling.borders for j in between) and all(
            self._source[j].lower in COORDINATORS or is_kind(self._source, j) for j in between
        )


def _is_number(tokens: Sequence[Token], i: int) -> bool:
    return tokens[i].quantity is not None and tokens[i].kind == "number"


def _is_ordinal(tokens: Sequence[Token], i: int) -> bool:
    quantity = tokens[i].quantity
    return quantity is not None and quantity.ordinal


def _is_list_number(tokens: Sequence[Token], i: int) -> bool:
    return i == 0 and len(tokens) > 1 and tokens[0].start == 0 and tokens[1].breaks


def worst_first(reasons: Iterable[DropReason]) -> tuple[DropReason, ...]:
    """Return the reasons in the order in which they weigh."""
    order: tuple[DropReason, ...] = ("citation", "quote", "number", "date", "name", "negation", "unsupported", "unsafe")
    held = set(reasons)
    return tuple(reason for reason in order if reason in held)
