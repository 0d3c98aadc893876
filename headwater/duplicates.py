"""The duplicates that each search result stands for, as its release holds them, for those who may see them.

Which documents a release merged never changes, so it is read once per release. Who may read a duplicate is asked of
``source_objects`` as it is now: a revocation, a deletion and an erasure show at the next search (half a second
later at most with a lake in a bucket). A search costs two file system calls and a look-up per document.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.errors import LakeError
from headwater.lake import Stamp
from headwater.lake_folder import LocalFolder
from headwater.ledger import Ledger
from headwater.tables import Tables
from headwater.types import Duplicate

LOG = logging.getLogger("headwater.duplicates")

_RELEASES = 8
"""Releases whose lists are kept in memory; a corpus answers from one or two at a time."""

_REMOTE_SECONDS = 0.5
"""How long what a lake in a bucket said is good for; as long as which release is live."""

_MERGED = ("exact_duplicate", "near_duplicate")


@dataclass(frozen=True, slots=True)
class _Lists:
    """The duplicates of one release: rows of ``frame`` (doc_id, key, similarity), in places by survivor.

    Row ``i`` may be read by ``groups[readers[i]]``; the first of them is nobody.
    """

    places: Mapping[str, tuple[int, int]]
    frame: pl.DataFrame
    stamp: Stamp
    readers: npt.NDArray[np.int32]
    groups: tuple[frozenset[str], ...]


class DuplicateLists:
    """Answers for the releases of one corpus. Thread-safe."""

    def __init__(self, corpus: str, tables: Tables, ledger: Ledger) -> None:
        self._corpus = corpus
        self._merged = tables.deduplicated_documents
        self._objects = tables.source_objects
        self._ledger = ledger
        self._lock = threading.Lock()
        self._lists: dict[int, _Lists] = {}
        # A bucket takes tens of milliseconds to answer, so it isn't asked at every search.
        self._pause = 0.0 if isinstance(self._objects.folder, LocalFolder) else _REMOTE_SECONDS
        self._looked: dict[int, float] = {}

    def of(
        self, release: int, doc_ids: Collection[str], readers: frozenset[str] | None
    ) -> dict[str, tuple[Duplicate, ...]]:
        """Return the duplicates of each document that has any, most similar first.

        ``readers`` are the caller's groups: a duplicate that none of them may read now is left out; None sees all. No
        search fails for this: where the lake can't be read, as in the middle of an erasure, there are none.
        """
        try:
            lists = self._current(release)
        except (LakeError, OSError, pl.exceptions.PolarsError) as error:
            LOG.warning("duplicates of %s can't be read: %s", self._corpus, type(error).__name__)
            return {}
        found = {}
        for doc_id in set(doc_ids):
            start, stop = lists.places.get(doc_id, (0, 0))
            rows = lists.frame.slice(start, stop - start).rows() if stop > start else ()
            shown = tuple(
                Duplicate(*row)
                for row, group in zip(rows, lists.readers[start:stop].tolist(), strict=True)
                if readers is None or readers & lists.groups[group]
            )
            if shown:
                found[doc_id] = shown
        return found

    def forget(self) -> None:
        """Read everything anew at the next search: releases were changed in place."""
        with self._lock:
            self._lists.clear()

    def _current(self, release: int) -> _Lists:
        # Mostly nothing changed: looking needs no lock, and searches would queue for one.
        lists = self._lists.get(release)
        if lists is not None and time.monotonic() - self._looked.get(release, float("-inf")) < self._pause:
            return lists
        if lists is not None and lists.stamp.holds(self._objects.folder):
            self._looked[release] = time.monotonic()
            return lists
        with self._lock:
            lists = self._lists.get(release)
            if lists is None or not lists.stamp.holds(self._objects.folder):
                stamp = self._objects.stamp()
                same_log = lists is not None and lists.stamp.log == stamp.log
                lists = self._readers_of(lists if lists is not None and same_log else self._read(release, stamp), stamp)
                self._lists.pop(release, None)
                while len(self._lists) >= _RELEASES:
                    self._lists.pop(next(iter(self._lists)))
                self._lists[release] = lists
            self._looked[release] = time.monotonic()
            return lists

    def _read(self, release: int, stamp: Stamp) -> _Lists:
        versions = self._ledger.release(self._corpus, release).table_versions
        frame = pl.DataFrame(
            schema={"doc_id": pl.String, "key": pl.String, "similarity": pl.Float64, "survivor": pl.String}
        )
        if self._merged.name in versions and self._objects.name in versions:
            objects = self._objects.scan(versions[self._objects.name]).select("doc_id", "key")
            merged = self._merged.scan(versions[self._merged.name]).filter(pl.col("reason").is_in(_MERGED))
            frame = (
                merged.select("doc_id", "similarity", "survivor")
                .join(objects, on="doc_id")
                .select(frame.columns)
                .sort("survivor", -pl.col("similarity"), "key")
                .collect()
            )
        runs = frame["survivor"].rle().struct.unnest() if frame.height else pl.DataFrame({"len": [], "value": []})
        ends = runs["len"].cast(pl.Int64).cum_sum().to_list()
        places = dict(zip(runs["value"].to_list(), zip([0, *ends], ends, strict=False), strict=True))
        return _Lists(places, frame.drop("survivor"), stamp, np.empty(0, np.int32), ())

    def _readers_of(self, lists: _Lists, stamp: Stamp) -> _Lists:
        """Return the lists with who may read each duplicate now."""
        if not lists.frame.height:
            return replace(lists, stamp=stamp)
        now = self._objects.scan(stamp.version).select("doc_id", pl.col("readers").list.sort()).collect()
        now = now.with_columns(pl.col("readers").list.join("\n").rank("dense").cast(pl.Int32).alias("code"))
        groups = [[], *now.unique("code").sort("code")["readers"].to_list()]
        joined = lists.frame.select("doc_id").join(
            now.select("doc_id", "code"), on="doc_id", how="left", maintain_order="left"
        )
        readers = joined["code"].fill_null(0).to_numpy().astype(np.int32)
        return replace(lists, stamp=stamp, readers=readers, groups=tuple(frozenset(names) for names in groups))
