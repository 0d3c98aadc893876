"""What one stage would have to do, and how its rows would stand afterwards, without doing it.

Rows are forecast as a frame with ``id``, the ``fingerprint`` that the row would have, ``ok`` (how likely it would be
handed on: 0 or 1 where that is known), ``sure`` (whether it is known) and ``due`` (whether the stage would compute it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from headwater.driver import OUTDATED, Stage, wanted_fingerprints
from headwater.lake import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

NEW_OK = {"parsed_documents": 0.994, "quality_documents": 0.995, "deduplicated_documents": 0.974}
"""Share of rows that a stage hands on, where the corpus has none of its own to tell: all, but for these. Measured on a
handbook in Markdown (889 files)."""

FORECAST = {"id": pl.String, "fingerprint": pl.String, "ok": pl.Float64, "sure": pl.Boolean, "due": pl.Boolean}


@dataclass(frozen=True, slots=True)
class Work:
    """Rows that a stage would compute and rows that would leave its table; ``exact`` when they can't come out otherwise.

    Of the rows, ``rewritten`` are written again with what is known of them: no text is read, no model needed.
    """

    rows: int
    removed: int
    exact: bool
    rewritten: int = 0


class Overlay(Table):
    """A table as it would read during the run: other rows, read from a frame. It is never written."""

    def __init__(self, table: Table, frame: pl.LazyFrame) -> None:
        super().__init__(table.folder, table.schema)
        self._frame = frame

    def exists(self) -> bool:
        """Return True: the run would have written it by then."""
        return True

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """Return the frame."""
        return self._frame


def forecast(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with ``id``, ``fingerprint`` and ``state`` as a forecast that is certain."""
    ok = (pl.col("state") == "ok").cast(pl.Float64).alias("ok")
    return frame.select("id", "fingerprint", ok, pl.lit(True).alias("sure"), pl.lit(False).alias("due"))


def stored(table: Table, owner: str = "id") -> pl.DataFrame:
    """Return ``id`` (of the upstream row), ``stored`` (its fingerprint) and ``was_ok`` for the rows of a stage's table."""
    if not table.exists():
        return pl.DataFrame(schema={"id": pl.String, "stored": pl.String, "was_ok": pl.Float64})
    was_ok = (pl.col("state") == "ok").any().cast(pl.Float64).alias("was_ok")
    rows = table.scan().select(pl.col(owner).alias("id"), "fingerprint", "state")
    return rows.group_by("id").agg(pl.col("fingerprint").first().alias("stored"), was_ok).collect()


def ok_share(have: pl.DataFrame, stage: str) -> float:
    """Return the share of stored rows that a stage handed on: what is expected of rows that were never seen."""
    share = have["was_ok"].mean()
    return float(share) if isinstance(share, float) else NEW_OK.get(stage, 1.0)


def handed_on(upstream: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that reach the next stage, or may."""
    return upstream.filter(pl.col("ok") > 0)


def through(stage: Stage, upstream: pl.DataFrame, target: Table) -> tuple[Work, pl.DataFrame]:
    """Return what a row-wise stage would do with the forecast rows of ``upstream``, and its own rows' forecast.

    A row that would be computed again is expected to fare as before, and a new one as the stage's rows do on average.
    """
    rows = handed_on(upstream)
    wanted = rows.with_columns(*wanted_fingerprints(stage, rows["fingerprint"])).drop("due")
    have = stored(target, stage.owner)
    kept = target.exists() and target.same_schema()
    due = pl.lit(not kept) | OUTDATED
    after = wanted.join(have, on="id", how="left", maintain_order="left").with_columns(
        due.alias("due"),
        pl.when(pl.col("stored") == pl.col("conditional"))
        .then("conditional")
        .otherwise("fingerprint")
        .alias("fingerprint"),
    )
    work = _work(after, have if kept else have.clear())
    after = after.with_columns(
        (pl.col("ok") * pl.col("was_ok").fill_null(ok_share(have, stage.name))).alias("ok"),
        (pl.col("sure") & ~pl.col("due")).alias("sure"),
    )
    return work, after.select(*FORECAST)


def _work(after: pl.DataFrame, have: pl.DataFrame) -> Work:
    due = after.filter(pl.col("due"))
    # A row that may not be handed on any more leaves the table with that likelihood.
    gone = have.join(after, on="id", how="anti").height + _sum(1 - after.filter(pl.col("stored").is_not_null())["ok"])
    certain = bool(after["sure"].all())
    return Work(round(_sum(due["ok"])), round(gone) if have.height else 0, exact=certain)


def _sum(values: pl.Series) -> float:
    return float(values.sum())


def only(table: Table, ids: Iterable[str] | pl.Series) -> Overlay:
    """Return the table with the rows of these ids alone."""
    wanted = pl.LazyFrame({"id": ids}, schema={"id": pl.String})
    return Overlay(table, table.scan().join(wanted, on="id", how="semi"))


def without(table: Table, ids: pl.Series, column: str = "doc_id") -> Table:
    """Return the table without the rows that have one of these in ``column``."""
    if not table.exists():
        return table
    left = ids.rename(column).to_frame().lazy()
    return Overlay(table, table.scan().join(left, on=column, how="anti"))
