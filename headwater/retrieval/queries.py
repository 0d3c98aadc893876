"""Queries made from a corpus' own chunks, whose right document is known: what a corpus can be measured by itself.

Two kinds, because each alone misleads. A *recalled* query is half the words of a sentence: as of somebody who remembers
the document; its words stand in the chunk, which favours BM25. A *held-out* query is a sentence or part of one that the
chunk is then compared without: it is about the chunk, in other words than the chunk's. docs/retrieval.md compares what
they say with what people's own queries say.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headwater.hashing import digest
from headwater.sentences import split_sentences

_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]{1,4}|\w+")
"""Where words are not set apart (Thai, Lao, Japanese, Chinese), four characters stand for one."""

_MIN_WORDS = 6
"""A sentence of fewer words says too little to be looked for."""

_RECALLED_WORDS = 8
_HELD_OUT_WORDS = 12
"""Longest queries of either kind; people's have four to fifteen words in the collections measured."""

_MIN_REST = 8
"""Words that have to be left of a chunk for it to be found without its sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """A chunk to make queries from: ``embedded`` is what was embedded of it, title and section included."""

    chunk_id: str
    doc_id: str
    text: str
    embedded: str


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A query whose right document is that of ``source``; ``rest`` is the chunk without it, for a held-out query."""

    query: str
    source: Source
    rest: str | None = None


def known_items(sources: Iterable[Source], count: int) -> Iterator[KnownItem]:
    """Yield at most ``count`` queries, of either kind in turn. The same sources give the same queries."""
    made = 0
    for source in sources:
        for item in (_recalled(source), _held_out(source)):
            if item is not None and made < count:
                made += 1
                yield item
        if made >= count:
            return


def _recalled(source: Source) -> KnownItem | None:
    words = _WORD.findall(_sentence(source, "recalled"))
    if len(words) < _MIN_WORDS:
        return None
    chance = random.Random(digest("recalled", source.chunk_id))
    kept = [word for word in words if chance.random() < 0.5][:_RECALLED_WORDS]
    return KnownItem(" ".join(kept), source) if len(kept) >= 2 else None


def _held_out(source: Source) -> KnownItem | None:
    piece = _sentence(source, "held out")
    if len(_WORD.findall(piece)) > len(_WORD.findall(source.text)) // 2:  # one sentence is all there is: a part of it
        piece = _beginning(piece)
    rest = source.embedded.replace(piece, " ") if piece else ""
    if len(_WORD.findall(rest)) < _MIN_REST:
        return None
    words = _WORD.findall(piece)[:_HELD_OUT_WORDS]
    return KnownItem(" ".join(words), source, rest) if len(words) >= 2 else None


def _sentence(source: Source, purpose: str) -> str:
    """Return one of the chunk's sentences, or its text when it has none of enough words."""
    spans = split_sentences(source.text)
    found = [source.text[start:end] for start, end in spans]
    found = [sentence for sentence in found if len(_WORD.findall(sentence)) >= _MIN_WORDS]
    return random.Random(digest(purpose, source.chunk_id)).choice(found) if found else source.text


def _beginning(text: str) -> str:
    """Return the first third of a text, within the length of a query: where a text says what it is about."""
    words = list(_WORD.finditer(text))
    count = min(_HELD_OUT_WORDS, len(words) // 3)
    return text[words[0].start() : words[count - 1].end()] if count else ""
