"""Who stands for whom: the survivors among a corpus' documents and those that other corpora hold already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater import dedup
from headwater.lake import Table
from headwater.policies import DedupPolicy

READ_ROWS = 8192
"""Signatures read at a time: 8 MiB of them."""


@dataclass(frozen=True, slots=True)
class OtherCorpus:
    """The tables of a corpus whose documents are left out of this one.

    ``kept`` is the last table of documents there: one that its privacy policy keeps out is in no index of it.
    """

    name: str
    kept: Table
    signatures: Table
    objects: Table

    def documents(self) -> pl.DataFrame:
        """Return id, key, readers and text hash of the documents that it keeps, sorted by key."""
        survivors = self.kept.scan().filter(pl.col("state") == "ok").select("id")
        texts = self.signatures.scan().filter(pl.col("state") == "ok").select("id", "text_hash")
        joined = survivors.join(texts, on="id").join(self.objects.scan().select("id", "key", "readers"), on="id")
        return joined.sort("key").collect()


@dataclass(frozen=True, slots=True)
class StandIns:
    """One entry per document: the id of the document that stands for it and their Jaccard (None, None where it stands
    for itself), the name of the other corpus which that document is in, and whether it is removed as an equal text.
    """

    survivors: list[str | None]
    similarities: list[float | None]
    corpora: list[str | None]
    exact: npt.NDArray[np.bool_]


def stand_ins(
    policy: DedupPolicy,
    frame: pl.DataFrame,
    signatures: Table,
    others: Sequence[OtherCorpus],
    elsewhere: Sequence[pl.DataFrame],
    rank: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
) -> StandIns:
    """Return who stands for each document of ``frame`` (id, readers, text_hash).

    ``elsewhere`` are the documents of ``others``; they win over all of ours, those of the first corpus over those of the
    next. ``rank`` (n,) orders ours, and those that are not ``usable`` (n,) stand for nobody and have no stand-in.
    """
    count = frame.height
    own = np.arange(count)
    if not policy.enabled or not usable.any():
        return StandIns([None] * count, [None] * count, [None] * count, np.zeros(count, np.bool_))
    every = pl.concat([frame.select("id", "readers"), *(rows.select("id", "readers") for rows in elsewhere)])
    groups = every["readers"].list.join("\n").rank("dense").to_numpy().astype(np.int64)
    texts = [text if fine else None for text, fine in zip(frame["text_hash"], usable, strict=True)]
    exact = dedup.exact_representatives([text or str(row) for row, text in enumerate(texts)], rank, groups[:count])
    distinct = np.flatnonzero((exact == own) & usable)
    rows = np.concatenate([distinct, np.arange(count, every.height)])
    tables = [signatures, *(other.signatures for other in others)]
    borders = np.cumsum([0, len(distinct), *(part.height for part in elsewhere)])
    ids = [every["id"].gather(rows[start:end]) for start, end in pairwise(borders)]

    def shingles(members: npt.NDArray[np.int64]) -> dedup.ShingleSets:
        wanted = [members[(members >= start) & (members < end)] - start for start, end in pairwise(borders)]
        return dedup.ShingleSets.joined(
            [_shingles(table, names.gather(places)) for table, names, places in zip(tables, ids, wanted, strict=True)]
        )

    near = dedup.find_survivors(
        np.concatenate([_hashes(table, names) for table, names in zip(tables, ids, strict=True)]),
        shingles,
        np.concatenate([rank[distinct], np.arange(every.height - count)]),
        groups[rows],
        policy.threshold,
        np.arange(len(rows)) >= len(distinct),
    )
    survivor, similarity = np.arange(every.height), np.ones(every.height)
    survivor[rows], similarity[rows] = rows[near.survivor], near.similarity
    # A copy has the survivor of its representative.
    survivor, similarity = survivor[exact], similarity[exact]
    names = [other.name for other, part in zip(others, elsewhere, strict=True) for _ in range(part.height)]
    stood_for = (survivor != own).tolist()
    chosen = every["id"].gather(survivor).to_list()
    return StandIns(
        survivors=[name if gone else None for name, gone in zip(chosen, stood_for, strict=True)],
        similarities=[value if gone else None for value, gone in zip(similarity.tolist(), stood_for, strict=True)],
        corpora=[names[place - count] if place >= count else None for place in survivor.tolist()],
        exact=(exact != own) & (survivor == exact),
    )


def _hashes(signatures: Table, ids: pl.Series) -> npt.NDArray[np.uint32]:
    """Return the signatures of the documents, in the order of ``ids``, reading a few at a time."""
    result = np.full((len(ids), dedup.PERMUTATIONS), 0xFFFFFFFF, np.uint32)
    where = ids.to_frame("id").with_row_index("row")
    for part in signatures.scan().select("id", "signature").collect_batches(chunk_size=READ_ROWS) if len(ids) else ():
        found = part.join(where, on="id")
        if found.height:
            flat = found["signature"].list.explode().to_numpy()
            result[found["row"].to_numpy()] = flat.astype(np.uint32).reshape(found.height, dedup.PERMUTATIONS)
    return result


def _shingles(signatures: Table, ids: pl.Series) -> dedup.ShingleSets:
    """Return the shingle sets of the documents, in the order of ``ids``."""
    frames = [pl.DataFrame(schema={"id": pl.String, "shingles": pl.List(pl.Int64)})]
    wanted = ids.to_frame("id")
    if len(ids):
        parts = signatures.scan().select("id", "shingles").collect_batches(chunk_size=READ_ROWS)
        frames += [part.join(wanted, on="id", how="semi") for part in parts]
    rows = wanted.join(pl.concat(frames), on="id", how="left", maintain_order="left")
    return dedup.ShingleSets.from_arrow(rows["shingles"].fill_null([]).to_arrow())
