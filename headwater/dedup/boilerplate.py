"""Paragraphs that many documents share (a confidentiality notice, a footer) say nothing about any one of them.

A paragraph is a block between blank lines. It is boilerplate when enough documents have it, white space and case
aside. Paragraphs of fewer than five words are never boilerplate: headings such as "Overview" belong to their text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import groupby
from math import ceil

from headwater.edits import Edit
from headwater.hashing import digest_bytes
from headwater.policies import DedupPolicy

MIN_WORDS = 5


def paragraphs(text: str) -> list[tuple[int, int, str]]:
    """Return ``(start, end, hash)`` of each paragraph of five words and more, in order.

    ``text[start:end]`` has no white space around it; the hash ignores case and the amount of white space.
    """
    found = []
    for start, end in _blocks(text):
        words = text[start:end].split()
        if len(words) >= MIN_WORDS:
            normalised = " ".join(words).casefold()
            found.append((start, end, digest_bytes(normalised.encode("utf-8", "surrogatepass"))))
    return found


def _blocks(text: str) -> list[tuple[int, int]]:
    """Return the spans between blank lines, without the white space around them."""
    blocks: list[tuple[int, int]] = []
    start: int | None = None
    end = position = 0
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            end = position + len(line.rstrip())
            if start is None:
                start = position + len(line) - len(line.lstrip())
        elif start is not None:
            blocks.append((start, end))
            start = None
        position += len(line) + 1
    if start is not None:
        blocks.append((start, end))
    return blocks


def boilerplate_paragraphs(documents: Iterable[Collection[str]], policy: DedupPolicy) -> set[str]:
    """Return the hashes of boilerplate, given the paragraph hashes of each document.

    A paragraph counts once per document and must be in ``boilerplate_min_documents`` and in
    ``boilerplate_min_share`` of them. Pass the survivors of deduplication only.
    """
    if not policy.boilerplate_min_documents:
        return set()
    counts: Counter[str] = Counter()
    total = 0
    for hashes in documents:
        counts.update(set(hashes))
        total += 1
    # The margin keeps 0.3 * 10 documents from asking for four because of rounding.
    needed = max(policy.boilerplate_min_documents, ceil(policy.boilerplate_min_share * total - 1e-9))
    return {paragraph for paragraph, count in counts.items() if count >= needed}


def boilerplate_edits(text: str, hashes: Collection[str]) -> list[Edit]:
    """Return the edits that remove boilerplate paragraphs, each with the blank lines after it.

    A text that would be left with fewer than five words keeps its boilerplate: then that is what it says.
    """
    wanted = {start for start, _, paragraph in paragraphs(text) if paragraph in hashes} if hashes else set()
    if not wanted:
        return []
    blocks = _blocks(text)
    if sum(len(text[start:end].split()) for start, end in blocks if start not in wanted) < MIN_WORDS:
        return []
    edits: list[Edit] = []
    for removed, run in groupby(range(len(blocks)), key=lambda index: blocks[index][0] in wanted):
        if not removed:
            continue
        indexes = list(run)
        first, last = indexes[0], indexes[-1]
        if last + 1 < len(blocks):
            edits.append(Edit(blocks[first][0], blocks[last + 1][0]))
        else:
            # Nothing follows, so the blank lines before it go instead. Something is before it: not all is removed.
            edits.append(Edit(blocks[first - 1][1], blocks[last][1]))
    return edits
