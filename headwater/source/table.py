"""The ``source_objects`` table: one row per listed object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from headwater.driver import CORE, change_batches
from headwater.errors import NotFoundError
from headwater.hashing import digest
from headwater.lake import Table
from headwater.source.attachments import NO_MAIL

STAGE = "source_objects"
CODE_VERSION = "1"

SCHEMA = pa.schema(
    [
        *CORE,
        ("key", pa.string()),
        ("revision", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("last_modified", pa.timestamp("us", tz="UTC")),
        ("readers", pa.list_(pa.string())),
        # The sidecar that readers come from, as it was listed when it was read; null without one.
        ("sidecar", pa.string()),
        # Why and when a person asked for the object to be processed again; null if nobody did.
        ("requeued", pa.string()),
        # The mail that it is attached to; null for what lies in the bucket itself.
        ("parent", pa.string()),
        # By what its attachments were looked for, see attachments.mark_of; null when its bytes were not read.
        ("expanded", pa.string()),
        # What can't be seen from state and reason: attachments that could not be read. Null otherwise.
        ("note", pa.string()),
    ]
)


def fingerprint(key: str, revision: str, requeued: str | None) -> str:
    """Return what decides the rows of the next stage: key, content and, once somebody asked, the wish for new ones."""
    return digest(STAGE, CODE_VERSION, key, revision, *([requeued] if requeued is not None else []))


def stored_rows(table: Table) -> pl.DataFrame:
    """Return all rows with :data:`SCHEMA`'s columns. Those that an older version did not write yet are null (texts)."""
    frame = table.scan()
    names = frame.collect_schema().names()
    return frame.select(
        pl.col(f.name) if f.name in names else pl.lit(None, pl.String).alias(f.name) for f in SCHEMA
    ).collect()


def write_rows(table: Table, rows: Sequence[dict[str, Any]], removed: Sequence[str], kept: pl.DataFrame) -> None:
    """Upsert ``rows`` and delete the ids ``removed``, in one commit.

    ``kept`` are the other rows: a table with older columns is written anew with them.
    """
    batches = pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()
    if table.exists() and table.same_schema():
        table.change(change_batches(SCHEMA, batches, removed))
        return
    gone = {*removed, *(row["id"] for row in rows)}
    others = kept.filter(~pl.col("id").is_in(list(gone))).to_arrow().cast(SCHEMA)
    table.replace([*others.to_batches(), *batches])


def requeue_objects(table: Table, keys: Sequence[str] | None, mark: str, state: str | None = None) -> int:
    """Have objects processed again from their bytes at the next reindex; return how many.

    ``keys`` None means all of them; ``state`` keeps those whose row in this table has it. ``mark`` says when and why,
    and must differ from earlier ones. It lasts until the object's bytes change. Raises NotFoundError for a key that is
    not in the table.
    """
    frame = stored_rows(table)
    chosen = frame if keys is None else frame.filter(pl.col("key").is_in(list(keys)))
    missing = sorted(set(keys or ()) - set(chosen["key"]))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NotFoundError(f"No object {missing[0]!r}{more} is known. Look at the keys with: headwater receipts NAME")
    if state is not None:
        chosen = chosen.filter(pl.col("state") == state)
    rows = [
        {
            **row,
            "requeued": mark,
            "fingerprint": fingerprint(row["key"], row["revision"], mark),
            # Without what it was expanded by, a mail is opened anew.
            "expanded": NO_MAIL if row["expanded"] == NO_MAIL else None,
        }
        for row in chosen.iter_rows(named=True)
    ]
    if rows:
        write_rows(table, rows, [], frame)
    return len(rows)
