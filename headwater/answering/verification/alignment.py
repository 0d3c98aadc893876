"""Which words of a sentence stand where in its source: greedy string tiling, the longest common run first.

After Wise, "String similarity via greedy string tiling and Running Karp-Rabin matching" (1993). A clause that was moved
is still found as one run, which a longest common subsequence would miss.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater.answering.verification.tokens import Token

FUNCTION_RUN = 3
"""A run of function words alone is aligned from this length on."""

NEAR_COPY = 0.7
"""A sentence that shares this share of its words with one source sentence, and as much of that, is a near copy of it."""

FAVOUR = 3
"""A run in the source sentence that the draft rests on first of all counts as so many words longer."""

SLOT = 6
"""Words between two aligned runs, at most, that are taken for what was put in the place of one another."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """``source_of[i]`` is the source token aligned to token ``i`` of the sentence, or -1; ``sentence_of`` the reverse.

    ``tile_of[i]`` numbers the runs, and ``loose`` are the runs of names and numbers alone: these are found wherever they
    stand, so their place says more than their presence. ``borders`` are the source positions at which a source sentence
    begins. ``near_copy``: the sentence is a source sentence but for a few words, so that each place in it has its
    counterpart.
    """

    source_of: list[int]
    sentence_of: list[int]
    tile_of: list[int]
    loose: frozenset[int]
    borders: frozenset[int]
    near_copy: bool = False

    def slot(self, i: int) -> tuple[range, list[int]]:
        """Return the unaligned tokens around sentence token ``i`` and the source positions in whose place they stand.

        ``i`` itself may be aligned, to somewhere else; both are empty where no aligned run lies next to it.
        """
        return self.slot_of(range(i, i + 1), frozenset({self.tile_of[i]}), self.source_of[i])

    def slot_of(self, thing: range, own: frozenset[int], home: int) -> tuple[range, list[int]]:
        """Return the same for several tokens that are one thing: ``own`` are the runs that lead to it in the source,
        where it begins at ``home`` (-1: nowhere). What of it is aligned by another run counts as unaligned."""
        left, right = thing[0] - 1, thing[-1] + 1
        while left >= 0 and self._is_open(left, own) and thing[0] - left <= SLOT:
            left -= 1
        while right < len(self.source_of) and self._is_open(right, own) and right - thing[-1] <= SLOT:
            right += 1
        before = self.source_of[left] if left >= 0 else -1
        after = self.source_of[right] if right < len(self.source_of) else -1
        ahead = self._free(before + 1, 1, thing, own) if before >= 0 else []
        back = self._free(after - 1, -1, thing, own) if after >= 0 else []
        around = range(left + 1, right)
        if not self.near_copy and before >= 0 and after >= 0:
            # What stands between two words of the draft was put in the place of what stands between them in the source.
            return around, ahead if ahead and before + len(ahead) + 1 == after else []
        if self._in_order(before, home, after):
            return around, []
        return around, ahead + [j for j in back if j not in ahead]

    def _free(self, start: int, step: int, thing: range, own: frozenset[int]) -> list[int]:
        """Return source positions from ``start`` on that no run holds, but for those aligned word by word elsewhere."""
        found: list[int] = []
        j = start
        while 0 <= j < len(self.sentence_of) and len(found) < SLOT:
            if step > 0 and j in self.borders:
                break
            if not self._is_free(j, thing, own):
                break
            found.append(j)
            if step < 0 and j in self.borders:
                break
            j += step
        return found

    def _in_order(self, before: int, home: int, after: int) -> bool:
        """Whether a word stands between its neighbours in the source as it does in the sentence, others left out."""
        if home < 0 or (before >= 0 and before > home) or (after >= 0 and after < home):
            return False
        low = before if before >= 0 else home
        high = after if after >= 0 else home
        return not any(border in self.borders for border in range(low + 1, high + 1))

    def _is_open(self, k: int, own: frozenset[int]) -> bool:
        return self.source_of[k] < 0 or self.tile_of[k] in own

    def _is_free(self, j: int, thing: range, own: frozenset[int]) -> bool:
        other = self.sentence_of[j]
        return other < 0 or (self.tile_of[other] not in own and (other in thing or self.tile_of[other] in self.loose))

    def is_lone(self, i: int) -> bool:
        """Whether token ``i`` is aligned by itself, out of line with its neighbours."""
        tile = self.tile_of[i]
        return tile >= 0 and not any(0 <= k < len(self.tile_of) and self.tile_of[k] == tile for k in (i - 1, i + 1))


def tile(
    sentence: Sequence[Token],
    source: Sequence[Token],
    borders: frozenset[int],
    same: Callable[[Token, Token], bool],
    favoured: range = range(0),
) -> Tiling:
    """Align ``sentence`` to ``source``, each token to at most one; runs don't cross ``borders``.

    A run holds a content word, or :data:`FUNCTION_RUN` others. ``same`` says whether two tokens with different keys are equal all the same;
    equal keys are asked too, since equal numbers can differ in unit. ``favoured`` are source positions that go first
    among runs of similar length. Takes time in proportion to the product of the
    lengths.
    """
    n, m = len(sentence), len(source)
    positions: dict[str, list[int]] = {}
    for j, token in enumerate(source):
        positions.setdefault(token.key, []).append(j)
    special = [j for j, token in enumerate(source) if token.quantity is not None or token.capital]
    equal: dict[tuple[int, int], None] = {}
    for i, token in enumerate(sentence):
        candidates = positions.get(token.key, [])
        if token.quantity is not None or token.capital:
            candidates = sorted({*candidates, *special})
        for j in candidates:
            if same(token, source[j]):
                equal[i, j] = None
    runs: list[tuple[int, int, int, int]] = []
    for i, j in equal:
        if (i - 1, j - 1) in equal and j not in borders:
            continue
        length = 1
        while (i + length, j + length) in equal and j + length not in borders:
            length += 1
        runs.append((-length - FAVOUR * (j in favoured), i, j, length))
    heapq.heapify(runs)
    source_of, sentence_of, tile_of = [-1] * n, [-1] * m, [-1] * n
    count = 0
    loose = set()
    while runs:
        _, i, j, length = heapq.heappop(runs)
        pieces = _free_pieces(i, j, length, source_of, sentence_of)
        if pieces != [(i, j, length)]:
            for a, b, rest in pieces:
                heapq.heappush(runs, (-rest - FAVOUR * (b in favoured), a, b, rest))
            continue
        if length < FUNCTION_RUN and not any(token.is_content for token in sentence[i : i + length]):
            continue
        for k in range(length):
            source_of[i + k], sentence_of[j + k], tile_of[i + k] = j + k, i + k, count
        if not any(token.is_content and not token.is_name_or_number for token in sentence[i : i + length]):
            loose.add(count)
        count += 1
    shared = sum(j in favoured for j in source_of)
    near_copy = shared >= NEAR_COPY * max(n, len(favoured))
    return Tiling(source_of, sentence_of, tile_of, frozenset(loose), borders, near_copy)


def _free_pieces(
    i: int, j: int, length: int, source_of: list[int], sentence_of: list[int]
) -> list[tuple[int, int, int]]:
    pieces: list[tuple[int, int, int]] = []
    begin: int | None = None
    for k in range(length + 1):
        free = k < length and source_of[i + k] < 0 and sentence_of[j + k] < 0
        if free and begin is None:
            begin = k
        elif not free and begin is not None:
            pieces.append((i + begin, j + begin, k - begin))
            begin = None
    return pieces
