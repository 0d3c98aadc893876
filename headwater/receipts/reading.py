"""Reading receipts: the recorded ones, held against what the bucket's table and the live release hold now.

A receipt is right at any moment, also while a reindex is at work: it is what the last finished reindex recorded,
or ``pending`` when the object has changed since. Which release holds the revision is looked up when asked, so a
published release or a rollback rewrites no receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import polars as pl

from headwater.errors import LakeError
from headwater.receipts.standing import Standing, release_standing
from headwater.receipts.states import END_STATES, EndState, end_states
from headwater.receipts.words import explain, explain_copy, sentence
from headwater.source.keys import begins_with, is_key

if TYPE_CHECKING:
    from headwater.ledger import Ledger
    from headwater.tables import Tables

T = TypeVar("T")

_FLAG = "some of its text reads like instructions to a language model; that part is never quoted"

ReceiptState = EndState | Literal["pending"]
RECEIPT_STATES: tuple[ReceiptState, ...] = (*END_STATES, "pending")


MAX_DUPLICATES = 100
"""Keys of copies in the receipt of the one that was kept: a template may have thousands."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an owner can read about one object.

    ``state`` is the end state, or ``pending`` until a reindex has finished with this revision. ``reason`` is a stable
    code, ``message`` says it in plain words and ``advice`` what to do (empty when there is nothing to do).
    ``since`` is when this end state was first reached for this revision, None while pending; ``modified`` is the
    object's own time. ``release`` is the live release if it holds this revision, else None, and then ``message`` says
    why. ``survivor`` is the key of the copy that was kept, ``similarity`` their Jaccard. ``requeued`` says when and why
    the object was asked to be processed again. ``parent`` is the key of the mail that it is attached to, ``attachments``
    are the keys of what is attached to it, and ``duplicates`` those of its copies that were left out for it, the first
    :data:`MAX_DUPLICATES` of them; the message says what the parser noted, such as pages without text.
    """

    key: str
    doc_id: str
    state: ReceiptState
    reason: str
    message: str
    advice: str
    revision: str
    size: int
    survivor: str | None
    similarity: float | None
    chunks: int
    release: int | None
    since: datetime | None
    modified: datetime
    requeued: str | None
    parent: str | None = None
    attachments: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """Some receipts in order of key. ``states`` counts all that the caller may see under the prefix, by state;
    ``after`` is the key that the next page starts after, None on the last; ``release`` is the live release."""

    receipts: list[Receipt]
    states: Mapping[str, int]
    after: str | None
    release: int | None


def read_receipts(
    corpus: str,
    tables: Tables,
    ledger: Ledger,
    key: str | None = None,
    *,
    prefix: str = "",
    state: ReceiptState | None = None,
) -> list[Receipt]:
    """Return the receipts of all listed objects, or of the one at ``key`` in any Unicode form, in order of key."""
    return page_of_receipts(corpus, tables, ledger, key=key, prefix=prefix, state=state, limit=None).receipts


def page_of_receipts(
    corpus: str,
    tables: Tables,
    ledger: Ledger,
    *,
    key: str | None = None,
    prefix: str = "",
    state: ReceiptState | None = None,
    after: str | None = None,
    limit: int | None = 100,
    readers: Collection[str] | None = None,
) -> ReceiptPage:
    """Return at most ``limit`` receipts with keys behind ``after``, under ``prefix`` and in ``state``.

    ``readers`` are the groups of the caller, who learns of no object (nor of a survivor) that none of them may read;
    None sees everything. Raises LakeError when the tables can't be read.
    """

    def look() -> ReceiptPage:
        return _page(corpus, tables, ledger, key, prefix, state, after, limit, readers)

    return _settled(look)


def _settled(look: Callable[[], T]) -> T:
    """Look twice if need be: an erasure may just have rewritten the history that was about to be read."""
    try:
        return look()
    except (LakeError, FileNotFoundError, pl.exceptions.PolarsError):
        return look()


def _page(
    corpus: str,
    tables: Tables,
    ledger: Ledger,
    key: str | None,
    prefix: str,
    state: ReceiptState | None,
    after: str | None,
    limit: int | None,
    readers: Collection[str] | None,
) -> ReceiptPage:
    standing = release_standing(corpus, tables, ledger)
    lake = _lake(tables, readers)
    objects = lake.objects
    if key is not None:
        objects = objects.filter(is_key(key))
    elif prefix:
        objects = objects.filter(begins_with(prefix))
    seen = _stated(objects, lake.recorded).select("doc_id", "key", "state").collect()
    counts = dict(seen.group_by("state").len().iter_rows())
    if state is not None:
        seen = seen.filter(pl.col("state") == state)
    if after is not None:
        seen = seen.filter(pl.col("key") > after)
    shown = seen if limit is None else seen.bottom_k(limit, by="key")
    rows = _receipt_rows(lake, standing, shown["doc_id"]).sort("key")
    receipts = [receipt_of(row, standing) for row in rows.iter_rows(named=True)]
    return ReceiptPage(
        receipts=receipts,
        states={name: counts.get(name, 0) for name in RECEIPT_STATES if name in END_STATES or name in counts},
        after=receipts[-1].key if receipts and len(receipts) < seen.height else None,
        release=standing.live,
    )


def count_states(tables: Tables) -> dict[str, int]:
    """Return how many listed objects are in each state; the end states always, ``pending`` if there are any."""

    def look() -> dict[str, int]:
        lake = _lake(tables, None)
        return dict(_stated(lake.objects, lake.recorded).group_by("state").len().collect().iter_rows())

    counts = _settled(look)
    return {name: counts.get(name, 0) for name in RECEIPT_STATES if name in END_STATES or name in counts}


def keys_in_state(tables: Tables, state: ReceiptState) -> pl.Series:
    """Return the keys of the listed objects in ``state``."""
    lake = _lake(tables, None)
    return _stated(lake.objects, lake.recorded).filter(pl.col("state") == state).select("key").collect()["key"]


def receipt_rows(tables: Tables, standing: Standing) -> pl.DataFrame:
    """Return one row per listed object, in no order, with all that :func:`receipt_of` needs.

    ``held`` says whether live holds this revision, ``older`` whether it holds another revision of the document.
    """
    return _receipt_rows(_lake(tables, None), standing, None)


def receipt_of(row: Mapping[str, Any], standing: Standing) -> Receipt:
    """Return a row of :func:`receipt_frame` as a receipt."""
    code, state = str(row["reason"]), row["state"]
    if state == "indexed" and not row["held"]:
        code, message, advice = standing.reason, standing.message, standing.advice
    elif row["survivor_stop"] is not None:
        message, advice = explain_copy(code, row["survivor_stop"], row["survivor_error"])
    else:
        message, advice = explain(code)
    if row["error"]:
        message = f"{message} {sentence(str(row['error']))}"
    if row["note"]:
        message = f"{message} {sentence(str(row['note']))}"
    if row["older"]:
        message = f"{message} Release {standing.live}, which is live, still answers from an earlier revision of it."
    elif row["held"] and state != "indexed":
        message = f"{message} Release {standing.live}, which is live, still answers from it."
    return Receipt(
        key=row["key"],
        doc_id=row["doc_id"],
        state=state,
        reason=code,
        message=message,
        advice=advice,
        revision=row["revision"],
        size=row["size"],
        survivor=row["survivor_key"],
        similarity=row["similarity"] if row["survivor_key"] is not None else None,
        chunks=row["chunks"],
        release=standing.live if row["held"] else None,
        since=row["since"],
        modified=row["modified"],
        requeued=row["requeued"],
        parent=row["parent_key"],
        attachments=tuple(row["attachments"] or ()),
        duplicates=tuple(row["duplicates"] or ()),
    )


@dataclass(frozen=True, slots=True)
class _Lake:
    """What receipts are read from, each table as it was when this was made: two looks see the same rows.

    ``objects`` are those that the readers may see, ``recorded`` what the last finished reindex recorded of each,
    ``notes`` what its parser noted and ``flags`` what gave an instruction to a model away, where there was any.
    """

    objects: pl.LazyFrame
    recorded: pl.LazyFrame
    notes: pl.LazyFrame
    flags: pl.LazyFrame


def _lake(tables: Tables, readers: Collection[str] | None) -> _Lake:
    return _Lake(_objects(tables, readers), _recorded(tables), _parsers_notes(tables), _flagged(tables))


def _objects(tables: Tables, readers: Collection[str] | None) -> pl.LazyFrame:
    scanned = tables.source_objects.scan()
    # A lake that an earlier version of Headwater wrote lacks these columns until its next reindex.
    there = scanned.collect_schema()
    later = [
        pl.col(name) if name in there else pl.lit(None, pl.String).alias(name)
        for name in ("requeued", "parent", "note")
    ]
    if readers is not None:
        scanned = scanned.filter(pl.col("readers").list.set_intersection(sorted(readers)).list.len() > 0)
    return scanned.select(
        "doc_id",
        "key",
        "revision",
        "size",
        pl.col("last_modified").alias("modified"),
        *later,
        pl.col("fingerprint").alias("now"),
    )


def _receipt_rows(lake: _Lake, standing: Standing, ids: pl.Series | None) -> pl.DataFrame:
    """Return the rows of the objects with these ids, or of all; of all others no more than the columns asked for."""

    def those(frame: pl.LazyFrame, name: str = "doc_id", ids: pl.Series | None = ids) -> pl.LazyFrame:
        return frame if ids is None else frame.filter(pl.col(name).is_in(ids.implode()))

    frame = _current(those(lake.objects), those(lake.recorded), those(lake.notes), those(lake.flags))
    if standing.held is None:
        indexed = (pl.col("recorded_state") == "indexed").fill_null(False)
        same = (pl.col("recorded_revision") == pl.col("revision")).fill_null(False)
        frame = frame.with_columns((indexed & same).alias("held"), (indexed & ~same).alias("older"))
    else:
        same = (pl.col("held_revision") == pl.col("revision")).fill_null(False)
        there = pl.col("held_revision").is_not_null()
        frame = frame.join(those(standing.held), on="doc_id", how="left").with_columns(
            same.alias("held"), (there & ~same).alias("older")
        )
    rows = frame.collect()
    near = None if ids is None else pl.concat([rows["survivor"], rows["parent"]]).drop_nulls().unique()
    keys = those(lake.objects, ids=near).select("doc_id", "key").collect()
    stopped = _stopped_survivors(lake, rows["survivor"].drop_nulls().unique())
    attached = (
        those(lake.objects, "parent")
        .group_by(pl.col("parent").alias("doc_id"))
        .agg(pl.col("key").sort().alias("attachments"))
    )
    copied = those(lake.recorded, "survivor").filter(pl.col("state") == "duplicate")
    copies = None if ids is None else copied.select("doc_id").collect()["doc_id"]
    copies_of = (
        _stated(those(lake.objects, ids=copies), copied)
        .filter(pl.col("state") == "duplicate")
        .group_by(pl.col("survivor").alias("doc_id"))
        .agg(pl.col("key").sort().head(MAX_DUPLICATES).alias("duplicates"))
    )
    return (
        rows.join(keys.rename({"doc_id": "survivor", "key": "survivor_key"}), on="survivor", how="left")
        .join(stopped, on="survivor", how="left")
        .join(keys.rename({"doc_id": "parent", "key": "parent_key"}), on="parent", how="left")
        .join(attached.collect(), on="doc_id", how="left")
        .join(copies_of.collect(), on="doc_id", how="left")
    )


def _stopped_survivors(lake: _Lake, ids: pl.Series) -> pl.DataFrame:
    """Return those of the survivors with these ids that a later stage kept out of the index, and why."""
    wanted = pl.col("doc_id").is_in(ids.implode())
    known = _stated(lake.objects.filter(wanted), lake.recorded.filter(wanted)).filter(
        pl.col("state").is_in(["rejected", "quarantined"])
    )
    why = lake.recorded.filter(wanted).select(
        pl.col("doc_id"), pl.col("reason").alias("survivor_stop"), pl.col("error").alias("survivor_error")
    )
    joined = known.select("doc_id").join(why, on="doc_id")
    return joined.rename({"doc_id": "survivor"}).collect()


_IS_CURRENT = (pl.col("source_fingerprint") == pl.col("now")).fill_null(False)


def _stated(objects: pl.LazyFrame, recorded: pl.LazyFrame) -> pl.LazyFrame:
    """Add each object's state and, of what was recorded of it as it is now, the survivor."""
    known = recorded.select("doc_id", "survivor", "source_fingerprint", pl.col("state").alias("recorded_state"))
    return objects.join(known, on="doc_id", how="left").with_columns(
        pl.when(_IS_CURRENT).then("recorded_state").otherwise(pl.lit("pending")).alias("state"),
        pl.when(_IS_CURRENT).then("survivor").alias("survivor"),
    )


def _current(objects: pl.LazyFrame, recorded: pl.LazyFrame, notes: pl.LazyFrame, flags: pl.LazyFrame) -> pl.LazyFrame:
    """Add all that was recorded of each object, or that it is pending."""
    known = recorded.select(
        "doc_id",
        "since",
        "similarity",
        "chunks",
        "error",
        "reason",
        pl.col("fingerprint").alias("recorded"),
        pl.col("revision").alias("recorded_revision"),
    )
    asked = pl.col("requeued").is_not_null() & (pl.col("recorded_revision") == pl.col("revision"))
    waiting = pl.when(asked).then(pl.lit("requeued")).otherwise(pl.lit("not_processed"))
    # Of a document that is searchable all the same; of any other the reason says enough.
    flag = pl.when((pl.col("recorded_state") == "indexed") & pl.col("instructions").is_not_null()).then(pl.lit(_FLAG))
    return (
        _stated(objects, recorded)
        .join(known, on="doc_id", how="left")
        .join(flags, on="doc_id", how="left")
        .join(notes, on="doc_id", how="left")
        .with_columns(
            pl.when(_IS_CURRENT & (pl.col("parsed").is_not_null() | flag.is_not_null()))
            .then(pl.concat_str(["note", "parsed", flag], separator="; ", ignore_nulls=True))
            .otherwise("note")
            .alias("note"),
            pl.when(_IS_CURRENT).then("reason").otherwise(waiting).alias("reason"),
            pl.when(_IS_CURRENT).then("chunks").otherwise(0).alias("chunks"),
            *(pl.when(_IS_CURRENT).then(name).alias(name) for name in ("error", "since", "similarity", "recorded")),
        )
    )


def _parsers_notes(tables: Tables) -> pl.LazyFrame:
    """Return what was noted while a document was parsed, by document, where anything was; never what stands in it."""
    noted = tables.parsed_documents.scan().filter(pl.col("metadata").str.contains('"notes": ["', literal=True))
    notes = pl.col("metadata").str.json_path_match("$.notes").str.json_decode(pl.List(pl.String))
    return noted.select("doc_id", notes.list.join("; ").alias("parsed"))


def _flagged(tables: Tables) -> pl.LazyFrame:
    """Return what gave an instruction to a model away, by document; nothing of a lake that an earlier version wrote."""
    scanned = tables.quality_documents.scan()
    column = pl.col("instructions") if "instructions" in scanned.collect_schema() else pl.lit(None, pl.String)
    return scanned.select("doc_id", column.alias("instructions"))


def _recorded(tables: Tables) -> pl.LazyFrame:
    if tables.receipts.exists():
        return tables.receipts.scan()
    # No reindex has recorded any yet, in a lake that an earlier version of Headwater wrote.
    return (
        end_states(tables)
        .filter(pl.col("state").is_not_null())
        .with_columns(
            pl.lit(None, pl.Datetime("us", "UTC")).alias("since"), pl.col("source_fingerprint").alias("fingerprint")
        )
    )
