"""Runs of sentences that several documents share, word for word: one document keeps them, the others may do without.

C4 "discarded all but one of any three-sentence span occurring more than once in the data set" (Raffel et al. 2020,
section 2.2). Here the one that keeps a run is the best-ranked document, a run is only compared among documents with the
same readers, and sentences of fewer than five words (headings, labels, cells) neither make a run nor break one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from hashlib import blake2b
from itertools import groupby

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.dedup.boilerplate import MIN_WORDS
from headwater.edits import Edit
from headwater.sentences import split_sentences

_WORDS = re.compile(r"\w+")
_STEP = np.uint64(0x9E3779B97F4A7C15)


def sentence_hashes(text: str) -> list[int]:
    """Return one signed 64-bit hash per sentence of ``split_sentences(text)``; 0 for one of fewer than five words.

    Case, punctuation and white space don't count.
    """
    hashes = []
    for start, end in split_sentences(text):
        words = _WORDS.findall(text[start:end].lower())
        digest = blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        hashes.append(int.from_bytes(digest, "little", signed=True) if len(words) >= MIN_WORDS else 0)
    return hashes


def repeated_sentences(
    documents: Sequence[Collection[int]],
    order_rank: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    window: int,
) -> list[list[int]]:
    """Return, per document, the indexes of the sentences that are in a run which a better-ranked one has, too.

    ``documents`` are lists of :func:`sentence_hashes`; a run is ``window`` sentences in a row; ``order_rank`` (n,) is
    lowest for the document to keep it, ``groups`` (n,) is equal for documents with the same readers.
    """
    counts = np.fromiter(map(len, documents), np.int64, len(documents))
    hashes = np.fromiter((value for document in documents for value in document), np.int64, int(counts.sum()))
    owner = np.repeat(np.arange(len(documents)), counts)
    index = np.arange(len(hashes)) - np.repeat(np.cumsum(counts) - counts, counts)
    long = hashes != 0
    hashes, owner, index = hashes[long], owner[long], index[long]
    result: list[list[int]] = [[] for _ in documents]
    runs = len(hashes) - window + 1
    if runs < 1:
        return result
    combined = np.zeros(runs, np.uint64)
    for step in range(window):
        combined = (combined ^ hashes.view(np.uint64)[step : step + runs]) * _STEP
        combined ^= combined >> np.uint64(32)
    inside = owner[:runs] == owner[window - 1 :]
    frame = pl.DataFrame({"run": combined, "group": groups[owner[:runs]], "rank": order_rank[owner[:runs]]})
    first = frame.filter(pl.Series(inside)).group_by("run", "group").agg(pl.col("rank").min().alias("first"))
    holder = frame.join(first, on=["run", "group"], how="left", maintain_order="left")["first"]
    repeated = inside & (holder < frame["rank"]).fill_null(False).to_numpy()
    marked = np.zeros(len(hashes), np.bool_)
    for step in range(window):
        marked[step : step + runs] |= repeated
    for document, sentence in zip(owner[marked].tolist(), index[marked].tolist(), strict=True):
        result[document].append(sentence)
    return result


def sentences_left(text: str, removed: Sequence[Edit], indexes: Collection[int]) -> list[int]:
    """Return ``indexes`` as those of the text without the ``removed`` paragraphs, less those that went with them."""
    result = []
    gone = 0
    wanted = set(indexes)
    for index, (start, end) in enumerate(split_sentences(text)):
        if any(edit.start <= start and end <= edit.end for edit in removed):
            gone += 1
        elif index in wanted:
            result.append(index - gone)
    return result


def sentence_edits(text: str, indexes: Collection[int]) -> list[Edit]:
    """Return the edits that remove these sentences of ``split_sentences(text)``, each run of them with the white space
    on one side. A text that would be left with fewer than five words keeps them.
    """
    sentences = split_sentences(text) if indexes else []
    gone = set(indexes)
    left = sum(len(text[start:end].split()) for i, (start, end) in enumerate(sentences) if i not in gone)
    if left < MIN_WORDS:
        return []
    edits = []
    for removed, run in groupby(range(len(sentences)), key=lambda index: index in gone):
        if not removed:
            continue
        places = list(run)
        first, last = places[0], places[-1]
        start, end = sentences[first][0], sentences[last][1]
        before = sentences[first - 1][1] if first else 0
        opens_line = first == 0 or "\n" in text[before:start]
        if last + 1 < len(sentences) and opens_line:
            edits.append(Edit(start, sentences[last + 1][0]))
        else:  # what follows the run, a blank line say, goes on following what is before it
            edits.append(Edit(before, end))
    return edits
