"""What the stages up to ``anonymized_documents`` would do: one row is one document."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import polars as pl

from headwater.driver import wanted_fingerprints
from headwater.plan.work import FORECAST, Overlay, Work, handed_on, ok_share, only, stored, through
from headwater.source.table import SCHEMA as OBJECTS
from headwater.stages.anonymized_copies import can_screen, screen_signature
from headwater.stages.anonymized_documents import privacy_stage
from headwater.stages.document_signatures import signature_stage
from headwater.stages.duplicate_verdicts import DedupInputs, decide
from headwater.stages.injection_scans import injection_stage
from headwater.stages.name_spans import name_stage
from headwater.stages.quality_documents import decide_verdicts, quality_stage

if TYPE_CHECKING:
    from headwater.policies import CorpusPolicy
    from headwater.source import Comparison
    from headwater.stages.duplicate_clusters import OtherCorpus
    from headwater.tables import Tables

_KEPT = "ok"


def objects_after(found: Comparison) -> pl.DataFrame:
    """Return the rows that ``source_objects`` would have."""
    changed = pl.DataFrame(list(found.changed), schema=found.before.schema, orient="row")
    gone = [*found.removed, *changed["id"]]
    return pl.concat([found.before.filter(~pl.col("id").is_in(gone)).select(OBJECTS.names), changed])


def plan_quality(policy: CorpusPolicy, tables: Tables, parsed: pl.DataFrame) -> tuple[Work, pl.DataFrame]:
    """Return what ``quality_documents`` would do, changed limits applied to the signals that are stored."""
    table = tables.quality_documents
    measured, after = through(quality_stage(policy.quality), parsed, table)
    unchanged = after.filter(~pl.col("due"))
    if unchanged.is_empty():
        return measured, after
    scans = tables.injection_scans
    judged, changed = decide_verdicts(policy.quality, only(table, unchanged["id"]), scans, policy.injection)
    verdicts = judged.select("id", (pl.col("reason") == _KEPT).cast(pl.Float64).alias("kept"))
    after = after.join(verdicts, on="id", how="left", maintain_order="left")
    decided = ~pl.col("due") & pl.col("kept").is_not_null()
    after = after.with_columns(pl.when(decided).then(pl.col("kept")).otherwise(pl.col("ok")).alias("ok"))
    unscanned = 0
    if policy.injection.action != "ignore":
        scanned = through(injection_stage(), parsed, scans)[1].filter(pl.col("due"))["id"]
        doubtful = ~pl.col("due") & pl.col("id").is_in(scanned.implode())
        unscanned = after.filter(doubtful).height
        after = after.with_columns((pl.col("sure") & ~doubtful).alias("sure"))
    # A new document that carries instructions is written twice: when it is measured, and with that verdict.
    flagged = judged["instructions"].is_not_null().mean()
    again = round(measured.rows * flagged) if isinstance(flagged, float) else 0
    work = Work(
        measured.rows + changed.height + again,
        measured.removed,
        measured.exact and not unscanned and not (measured.rows and flagged),
        rewritten=changed.height + again,
    )
    return work, after.select(*FORECAST)


def plan_duplicates(
    policy: CorpusPolicy,
    corpus: str,
    tables: Tables,
    quality: pl.DataFrame,
    objects: pl.DataFrame,
    others: Sequence[OtherCorpus],
) -> tuple[Work, pl.DataFrame]:
    """Return what ``deduplicated_documents`` would do.

    Among documents whose text is known the verdicts are decided for real. A document that is new is expected to fare as
    others did; one that was edited keeps its place among the duplicates. A copy that was never judged by the privacy policy
    is expected to be accepted.
    """
    target, signatures = tables.deduplicated_documents, tables.document_signatures
    kept = handed_on(quality)
    sketched = through(signature_stage(policy.dedup), quality, signatures)[1]
    unknown = sketched.filter(pl.col("due"))["id"]
    known = kept.filter(pl.col("id").is_in(stored(signatures)["id"].implode()))
    fingerprints = known.lazy().select("id", pl.col("fingerprint").alias("new"))
    rows = (
        tables.quality_documents.scan().join(fingerprints, on="id").with_columns(fingerprint="new", state=pl.lit("ok"))
    )
    screen = _Judged(policy, corpus, tables) if can_screen(policy) else None
    inputs = DedupInputs(
        policy.dedup,
        Overlay(tables.quality_documents, rows.drop("new")),
        signatures,
        Overlay(tables.source_objects, objects.lazy()),
        others,
        screen,
    )
    valid = target.exists() and target.same_schema()
    certain = unknown.is_empty() and bool(kept["sure"].all())
    if valid and certain and target.note() == inputs.digest:
        have = target.read(["id", "fingerprint", "state"])
        ok = (pl.col("state") == "ok").cast(pl.Float64).alias("ok")
        same = have.select("id", "fingerprint", ok, pl.lit(True).alias("sure"), pl.lit(False).alias("due"))
        return Work(0, 0, exact=True), same
    have = target.read(["id", "verdict", "state"]) if valid else _NONE
    verdicts = decide(inputs).select("id", "fingerprint", "verdict", "state") if known.height else _NONE_DECIDED
    certain = certain and (screen is None or screen.sure)
    joined = (
        kept.select("id", pl.col("ok").alias("kept"), "sure")
        .join(verdicts, on="id", how="left", maintain_order="left")
        .join(have.select("id", pl.col("verdict").alias("stored")), on="id", how="left", maintain_order="left")
        .with_columns(pl.col("id").is_in(unknown.implode()).alias("unknown"))
    )
    expected = (
        pl.when(pl.col("state").is_null()).then(ok_share(_states(have), target.name)).otherwise(pl.col("state") == "ok")
    )
    joined = joined.with_columns(due=pl.col("stored").ne_missing(pl.col("verdict")) | pl.col("unknown"))
    after = joined.select(
        "id",
        # Of a text that is not known yet nobody knows the fingerprint: only that it is another.
        pl.when(pl.col("unknown")).then(pl.format("unknown {}", "id")).otherwise("fingerprint").alias("fingerprint"),
        (pl.col("kept") * expected.cast(pl.Float64)).alias("ok"),
        (pl.lit(certain) & pl.col("sure")).alias("sure"),
        "due",
    )
    removed = have.join(kept, on="id", how="anti").height
    recomputed = float(joined.filter(pl.col("due"))["kept"].sum())
    return Work(round(recomputed), removed, exact=certain), after


class _Judged:
    """What is known of documents with copies; ``sure`` says that it is all that was asked."""

    def __init__(self, policy: CorpusPolicy, corpus: str, tables: Tables) -> None:
        self.sure = True
        self.signature = screen_signature(policy, corpus)
        self._names = name_stage(policy.privacy)
        self._stage = privacy_stage(policy.privacy, corpus)
        self._table = tables.anonymized_copies

    def kept_out(self, documents: pl.DataFrame) -> list[str]:
        """Return the ids of those documents that are known to be kept out."""
        names = wanted_fingerprints(self._names, documents["fingerprint"])[0]
        wanted = documents.select("id", wanted_fingerprints(self._stage, names)[0])
        judged = wanted.join(self._table.read(["id", "fingerprint", "state"]), on=["id", "fingerprint"])
        self.sure = self.sure and judged.height == documents.height
        return judged.filter(pl.col("state") != "ok")["id"].to_list()

    def forget_others(self, ids: Collection[str]) -> None:
        """Keep everything: a plan writes nothing."""


_NONE = pl.DataFrame(schema={"id": pl.String, "verdict": pl.String, "state": pl.String})
_NONE_DECIDED = _NONE.with_columns(fingerprint=pl.lit(None, pl.String))


def _states(have: pl.DataFrame) -> pl.DataFrame:
    return have.select((pl.col("state") == "ok").cast(pl.Float64).alias("was_ok"))


def plan_privacy(
    policy: CorpusPolicy, corpus: str, tables: Tables, survivors: pl.DataFrame
) -> tuple[Work, pl.DataFrame]:
    """Return what ``anonymized_documents`` would do."""
    names = through(name_stage(policy.privacy), survivors, tables.name_spans)[1]
    return through(privacy_stage(policy.privacy, corpus), names, tables.anonymized_documents)
