"""Choosing what to look for: pieces of a document that nothing else in the corpus has."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from headwater.erase import arrays
from headwater.erase.search import Finder
from headwater.lake_folder import LakeFolder
from headwater.lake_reading import data_files, fetched_ahead

T = TypeVar("T")

LONG = 64
"""Characters of a long probe; the ledger is searched for these alone, because people may type a short phrase."""

SHORT = 20
"""Characters of a short probe: it survives LZ4 (which the index compresses payloads with) and statistics that keep the
first characters of a column."""

_LEAST = 12
_MIN_LONG = 40
_PER_TEXT = 6
_LIMIT = 100
"""Probes of each kind: more don't make the search surer, only longer."""

_VECTOR_BYTES = 64

_BREAKS = re.compile(r'[\x00-\x1f\x7f"\\]+')
"""Characters that JSON escapes: no probe has one."""


@dataclass
class Probes:
    """``long`` and ``short`` texts, the document's ``doc_id``, ``chunk_ids``, ``hashes`` of its cached texts, and the
    first bytes of its ``vectors`` (as hexadecimal digits). ``attached`` are the ids of what is attached to it: all of
    that is theirs, too."""

    doc_id: str
    long: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    chunk_ids: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)

    def joined(self, other: Probes) -> Probes:
        """Return everything that either looks for."""
        names = ("long", "short", "chunk_ids", "hashes", "vectors", "attached")
        return Probes(self.doc_id, **{name: sorted({*getattr(self, name), *getattr(other, name)}) for name in names})

    def data(self) -> list[bytes]:
        """Return the bytes of the vectors."""
        return [bytes.fromhex(vector) for vector in self.vectors]


def choose(
    doc_id: str,
    texts: Collection[str],
    vectors: Iterable[Any],
    *,
    chunk_ids: Iterable[str],
    hashes: Iterable[str],
    lake: LakeFolder,
    attached: Collection[str] = (),
) -> Probes:
    """Return probes from a document's texts and vectors, none of which another document's rows in ``lake`` have.

    Texts, vectors and the rest may be those of what is ``attached`` to it (ids), too.
    """
    long = _telling({piece for text in texts for piece in _pieces(text, LONG, _MIN_LONG)})
    short = _telling({piece for text in texts for piece in (*_literals(text), *_heads(text))})
    data = spread(sorted({vector.astype("<f4").tobytes()[:_VECTOR_BYTES] for vector in vectors}))
    taken = _elsewhere(Finder([*long, *short], data), lake, {doc_id, *attached})
    return Probes(
        doc_id=doc_id,
        long=[piece for piece in long if piece not in taken],
        short=[piece for piece in short if piece not in taken],
        chunk_ids=sorted(chunk_ids),
        hashes=sorted(hashes),
        vectors=sorted(vector.hex() for vector in data if vector.hex() not in taken),
        attached=sorted(attached),
    )


def _pieces(text: str, length: int, least: int) -> list[str]:
    """Return pieces of at most ``length`` characters, spread evenly over a text."""
    segments = [segment for segment in _BREAKS.split(text) if len(segment) >= least]
    windows = [
        segment[start : start + length]
        for segment in segments
        for start in range(0, max(1, len(segment) - length + 1), length)
    ]
    return windows[:: max(1, len(windows) // _PER_TEXT)][:_PER_TEXT]


def _literals(text: str) -> list[str]:
    """Return short pieces that LZ4 leaves as they are: nothing in them repeats what came before."""
    compressed = pa.compress(text.encode("utf-8", "replace"), codec="lz4_raw", asbytes=True)
    kept = [piece for piece in _windows(text) if piece.encode("utf-8", "replace") in compressed]
    return kept[:: max(1, len(kept) // _PER_TEXT)][:_PER_TEXT]


def _windows(text: str) -> list[str]:
    return [
        segment[start : start + SHORT]
        for segment in _BREAKS.split(text)
        for start in range(0, len(segment) - SHORT + 1, SHORT // 2)
    ]


def _heads(text: str) -> list[str]:
    """Return how a text begins: Delta keeps the first characters of strings in its log."""
    return [segment[:SHORT] for segment in _BREAKS.split(text)[:2] if len(segment) >= _LEAST]


def _telling(pieces: set[str]) -> list[str]:
    """Return pieces that are more than white space, at most the limit of them."""
    return spread(sorted(piece for piece in pieces if len(piece.strip()) >= _LEAST))


def spread(pieces: Sequence[T]) -> list[T]:
    """Return at most the limit of the pieces, evenly chosen."""
    return list(pieces[:: max(1, -(-len(pieces) // _LIMIT))])


def _elsewhere(finder: Finder, lake: LakeFolder, doc_ids: Collection[str]) -> set[str]:
    """Return the pieces that rows of other documents have, in any version of any table."""
    found: set[str] = set()
    for file in fetched_ahead(data_files(lake)):
        try:
            for batch in arrays.batches(file):
                others = batch.filter(pc.invert(arrays.of_documents(batch, doc_ids)))
                for column in others.columns:
                    found |= finder.in_array(column)
        except pa.ArrowInvalid:  # half a file, left by a killed writer
            continue
    return found
