"""The table of receipts: what the last finished reindex said of every object, and since when."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from headwater.driver import CORE, change_batches
from headwater.hashing import digest
from headwater.receipts.files import FileCounts, write_files
from headwater.receipts.states import DECIDING, end_states
from headwater.reports import NoProgress, Progress, StageReport

if TYPE_CHECKING:
    from headwater.ledger import Ledger
    from headwater.policies import SourcePolicy
    from headwater.tables import Tables

STAGE = "receipts"
CODE_VERSION = "2"

RECEIPTS = pa.schema(
    [
        *CORE,
        ("key", pa.string()),
        ("revision", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("since", pa.timestamp("us", tz="UTC")),
        ("survivor", pa.string()),
        ("similarity", pa.float64()),
        ("chunks", pa.int64()),
        ("requeued", pa.string()),
        ("source_fingerprint", pa.string()),
    ]
)
"""``state`` is the end state. ``source_fingerprint`` is that of the row of ``source_objects`` that the receipt is
about: a receipt whose object has another one by now is out of date."""

_CONTENT = [name for name in RECEIPTS.names if name not in ("id", "fingerprint", "since")]


def record_receipts(
    corpus: str, tables: Tables, ledger: Ledger, source: SourcePolicy, progress: Progress | None = None
) -> StageReport:
    """Bring the receipts up to date with the stage tables, and the files beside the bucket with the receipts.

    To be called under the writer's lease when every stage has run, whatever the gate then said, and after a release
    was published by hand (the files say what can be searched). Only receipts that changed are written, and only
    files whose content changed; without a change in the stage tables those are not even read. A bucket that can't be
    written to is reported in ``details`` (``files_failed``, ``file_error``) and raises nothing.
    """
    started = time.perf_counter()
    report_to = progress or NoProgress()
    recomputed, removed = _bring_up_to_date(tables)
    files = write_files(corpus, tables, ledger, source, report_to) if source.write_receipts else FileCounts()
    counts = tables.receipts.scan().group_by("state").len().sort("state").collect()
    states = {str(state): int(count) for state, count in counts.iter_rows()}
    return StageReport(
        stage=STAGE,
        rows=sum(states.values()),
        recomputed=recomputed,
        removed=removed,
        quarantined=states.get("quarantined", 0),
        seconds=time.perf_counter() - started,
        reasons=states,
        version=tables.receipts.version(),
        details=files.details(),
    )


def _bring_up_to_date(tables: Tables) -> tuple[int, int]:
    table = tables.receipts
    inputs = digest(STAGE, CODE_VERSION, *(getattr(tables, name).version() for name in DECIDING))
    rebuild = not table.exists() or not table.same_schema()
    if not rebuild and table.note() == inputs:
        return 0, 0
    wanted = end_states(tables).filter(pl.col("state").is_not_null()).collect()
    columns = pl.Schema(pl.from_arrow(RECEIPTS.empty_table()).schema)  # type: ignore[union-attr]
    have = pl.DataFrame(schema=columns) if rebuild else table.scan().collect()
    before = have.select(pl.all().name.suffix("_before"))
    joined = wanted.join(before, left_on="doc_id", right_on="doc_id_before", how="left")
    differs = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in _CONTENT if name != "doc_id"
    )
    same_end = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}_before")) for c in ("revision", "state", "reason"))
    # One moment for the whole run: objects that reached their end state together say so.
    moment = pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC"))
    changed = joined.filter(pl.col("id_before").is_null() | differs).with_columns(
        pl.col("doc_id").alias("id"), pl.when(same_end).then("since_before").otherwise(moment).alias("since")
    )
    changed = changed.with_columns(
        pl.Series("fingerprint", [digest(*row) for row in changed.select(*_CONTENT, "since").iter_rows()], pl.String)
    )
    vanished = have.join(wanted, on="doc_id", how="anti")["id"].to_list()
    rows = changed.select(RECEIPTS.names).to_arrow().cast(RECEIPTS).to_batches()
    if rebuild:
        table.replace(rows, inputs)
    elif changed.height or vanished:
        table.change(change_batches(RECEIPTS, rows, vanished), inputs)
    return changed.height, len(vanished)
