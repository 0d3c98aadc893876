"""Documents that have copies to what the privacy stage would make of each: whether it would keep it out of the index.

``deduplicated_documents`` asks before it chooses among copies, so that none survives of which nothing is served while
another one could have been. Only a policy that can refuse documents is asked, and only about documents that have copies.
In: what the privacy stage would read of them, were they to survive. Out: two tables, ``copy_name_spans`` and
``anonymized_copies``, whose rows are those of ``name_spans`` and ``anonymized_documents``: what one of the two stages found
out about a text, the other one takes from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import polars as pl
import pyarrow as pa

from headwater import privacy
from headwater.driver import Stage, Upstream, change_batches
from headwater.hashing import digest
from headwater.lake import Table
from headwater.policies import CorpusPolicy, DedupPolicy
from headwater.stages.anonymized_documents import privacy_stage
from headwater.stages.columns import DOCUMENT
from headwater.stages.deduplicated_documents import without_repeats
from headwater.stages.name_spans import WithNames, name_stage
from headwater.tables import Tables

Run = Callable[[Stage, Upstream, Table, Table], object]
"""Brings a table (the third) up to date with an upstream, and takes rows from a fourth that has them."""

_READ = pa.schema([("id", pa.string()), ("doc_id", pa.string()), *DOCUMENT, ("metadata", pa.string())])


def can_screen(policy: CorpusPolicy) -> bool:
    """Return whether there is anything to ask: copies are looked for, and the privacy policy can refuse documents."""
    return policy.dedup.enabled and privacy.can_reject(policy.privacy)


def screen_signature(policy: CorpusPolicy, corpus: str) -> str:
    """Return what, beside a document, decides whether it is kept out."""
    return digest(name_stage(policy.privacy).signature, privacy_stage(policy.privacy, corpus).signature)


class PrivacyScreen:
    """Has the privacy stage judge documents that have copies; ``run`` must leave rows that it is not asked about."""

    def __init__(self, policy: CorpusPolicy, corpus: str, tables: Tables, run: Run) -> None:
        self._policy = policy
        self._corpus = corpus
        self._tables = tables
        self._run = run

    @property
    def signature(self) -> str:
        """What, beside a document, decides what is told of it."""
        return screen_signature(self._policy, self._corpus)

    def kept_out(self, documents: pl.DataFrame) -> Collection[str]:
        """Return the ids of documents of which the privacy stage would hand nothing on, for whatever reason."""
        policy, tables = self._policy, self._tables
        copies = _Copies(documents, tables.quality_documents, policy.dedup)
        self._run(name_stage(policy.privacy), copies, tables.copy_name_spans, tables.name_spans)
        named = _CopiesWithNames(copies, tables.copy_name_spans)
        stage = privacy_stage(policy.privacy, self._corpus)
        self._run(stage, named, tables.anonymized_copies, tables.anonymized_documents)
        return tables.anonymized_copies.scan().filter(pl.col("state") != "ok").select("id").collect()["id"].to_list()

    def forget_others(self, ids: Collection[str]) -> None:
        """Remove what is known of documents that were not asked about."""
        forget_copies(self._tables, ids)


def forget_copies(tables: Tables, kept: Collection[str] = ()) -> None:
    """Remove what is known of documents with copies, but for those with the ids ``kept``."""
    for table in (tables.copy_name_spans, tables.anonymized_copies):
        if table.exists():
            stale = sorted(set(table.read(["id"])["id"]).difference(kept))
            if stale:
                table.change(change_batches(table.schema, [], stale))


class _Copies:
    """What the privacy stage would read of documents if they survived: an upstream of that stage.

    ``documents`` have id, fingerprint and the hashes of the boilerplate paragraphs in them.
    """

    def __init__(self, documents: pl.DataFrame, quality: Table, policy: DedupPolicy) -> None:
        self._documents = documents
        self._quality = quality
        self._policy = policy

    def scan(self) -> pl.LazyFrame:
        """Return ids, states and fingerprints."""
        return self._documents.lazy().select("id", pl.lit("ok").alias("state"), "fingerprint")

    def batches(self, columns: Sequence[str], ids: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield the rows with these ids, at most ``rows`` at a time."""
        boilerplate = dict(self._documents.select("id", "paragraphs").iter_rows())
        known = [name for name in ids if name in boilerplate]
        for batch in self._quality.batches([*_READ.names], known, rows):
            documents = [
                {**source, **without_repeats(self._policy, source, boilerplate[source["id"]], ())}
                for source in batch.to_pylist()
            ]
            yield pa.Table.from_pylist(documents, schema=_READ).select(list(columns))


class _CopiesWithNames(WithNames):
    """Copies beside the names in them; of those only that are asked about."""

    def scan(self) -> pl.LazyFrame:
        """Return ids, states and fingerprints."""
        return super().scan().join(self._survivors.scan().select("id"), on="id", how="semi")
