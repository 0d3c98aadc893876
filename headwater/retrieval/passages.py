"""Results to passages: neighbours put together, and one passage of those that say the same.

Chunks of one document are joined when they follow one another in its text, in one section, and begin on one page. The text between two chunks is white space that the index holds (``lead``), so a joined passage is the
document's text from its start to its end, to the character. All parts are results of the same search of the same
release: nothing comes in that the searcher may not read, or that the filters leave out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from headwater.index.contract import Hit
from headwater.types import PageBreak

NEAR_DUPLICATE = 0.8
"""Jaccard of word 5-shingles from which two texts count as the same: the line's own threshold for documents."""

_SHINGLE = 5
_SIMILAR_LENGTH = 0.75
"""Texts whose lengths differ by more can't reach :data:`NEAR_DUPLICATE`, or barely."""

_SIMILAR_SCORE = 0.05
"""Fused scores (0..1) of texts that are nearly the same lie closer; so most pairs need no look at their words."""

_SIMILAR_WORDS = 0.7
"""Jaccard of their different words, which is quick to see, that texts near :data:`NEAR_DUPLICATE` don't fall below: a
word that differs takes five shingles along."""

_WORD = re.compile(r"\w+")


@dataclass(slots=True)
class Group:
    """A passage in the making: ``hits`` in reading order, ``lead`` the best of them, ``same`` what says the same."""

    lead: Hit
    hits: list[Hit]
    text: str
    same: list[tuple[Hit, float]] = field(default_factory=list)
    words: frozenset[str] | None = None

    @property
    def start(self) -> int:
        """First character in the document's text."""
        return int(self.hits[0].payload["start"])

    @property
    def end(self) -> int:
        """Character after the last one."""
        return int(self.hits[-1].payload["end"])

    @property
    def page_breaks(self) -> tuple[PageBreak, ...]:
        """The pages that begin inside the passage."""
        found = {PageBreak(**one) for hit in self.hits for one in hit.payload.get("page_breaks") or ()}
        return tuple(sorted(found, key=lambda one: one.start))


def singles(hits: Sequence[Hit]) -> list[Group]:
    """Return every hit as a passage of its own."""
    return [Group(hit, [hit], hit.payload["text"]) for hit in hits]


def collapse(groups: Sequence[Group]) -> list[Group]:
    """Return the groups, best first, without those that say the same as a better one, which keeps them as ``same``."""
    kept: list[Group] = []
    for group in groups:
        size = len(group.text)
        least, most = _SIMILAR_LENGTH * size, size / _SIMILAR_LENGTH
        of_like_size = (better for better in kept if least <= len(better.text) <= most)
        found = next(((better, like) for better in of_like_size if (like := _alike(better, group)) is not None), None)
        if found is None:
            kept.append(group)
        else:
            found[0].same.append((group.lead, found[1]))
    return kept


def merge(groups: Sequence[Group], most: int) -> list[Group]:
    """Return the groups, best first, with neighbours joined into the better one, to at most ``most`` characters."""
    by_place: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups:
        _join_into(by_place.setdefault(_place(group), []), group, most)
    kept = {id(group) for neighbours in by_place.values() for group in neighbours}
    return [group for group in groups if id(group) in kept]


def _place(group: Group) -> tuple[Any, ...]:
    """Return what neighbours have in common."""
    payload = group.lead.payload
    return payload.get("doc_id"), payload.get("revision"), tuple(payload.get("section") or ()), payload.get("page")


def _join_into(kept: list[Group], group: Group, most: int) -> None:
    """Put ``group`` behind ``kept``, the groups of one place, best first, or join it to one of them."""
    into = next((other for other in kept if _join(other, group, most)), None)
    if into is None:
        kept.append(group)
        return
    # Joining one may close the gap to another: then those two are joined as well.
    while other := next((one for one in kept if one is not into and _join(into, one, most)), None):
        better, worse = (into, other) if kept.index(into) < kept.index(other) else (other, into)
        better.hits, better.text, better.same = into.hits, into.text, into.same
        kept.remove(worse)
        into = better


def _join(into: Group, group: Group, most: int) -> bool:
    """Put ``group`` before or behind ``into`` if it belongs there; return whether it was put."""
    first, second = (into, group) if into.start <= group.start else (group, into)
    text = _joined(first, second)
    if text is None or len(text) > most:
        return False
    into.hits, into.text = [*first.hits, *second.hits], text
    into.same += group.same
    return True


def _joined(first: Group, second: Group) -> str | None:
    gap = second.start - first.end
    if gap < 0:  # chunks may overlap by policy; one that lies within another is no neighbour
        return first.text + second.text[-gap:] if second.end > first.end and second.start > first.start else None
    lead = second.hits[0].payload.get("lead")
    return first.text + lead + second.text if lead is not None and len(lead) == gap else None


def _alike(better: Group, worse: Group) -> float | None:
    """Return how alike the texts of two results are, of like size, None when they are not the same in all but a few words."""
    one, other = better.text, worse.text
    if one == other:
        return 1.0
    if better.lead.score - worse.lead.score > _SIMILAR_SCORE:
        return None
    if _jaccard(_words(better), _words(worse)) < _SIMILAR_WORDS:
        return None
    jaccard = _jaccard(_shingles(one), _shingles(other))
    return jaccard if jaccard >= NEAR_DUPLICATE else None


def _words(group: Group) -> frozenset[str]:
    if group.words is None:
        group.words = frozenset(group.text.lower().split())
    return group.words


def _jaccard(ours: Set[Any], theirs: Set[Any]) -> float:
    shared = len(ours & theirs)
    return shared / max(1, len(ours) + len(theirs) - shared)


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return {tuple(words[place : place + _SHINGLE]) for place in range(max(1, len(words) - _SHINGLE + 1))}
