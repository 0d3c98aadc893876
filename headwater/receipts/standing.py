"""Which revisions the live release holds, and why it does not hold those that it doesn't.

A release pins the versions of the lake tables that it was built from. A document's revision is in it when the
document has wanted points in its version of ``index_manifest``, and that revision in its ``source_objects``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from headwater.ledger import Ledger, ReleaseInfo
    from headwater.ledger.records import Pin
    from headwater.tables import Tables

_WAIT = "Wait for the reindex to finish."


@dataclass(frozen=True, slots=True)
class Standing:
    """How the releases of a corpus stand towards its newest tables.

    ``held`` has a row (doc_id, held_revision) per document of the live release; None means that live was built from
    the newest manifest, so it holds every revision that was recorded as indexed. ``reason``, ``message`` and
    ``advice`` are for a document that is indexed but not in live; empty where there can be none.
    """

    live: int | None
    held: pl.LazyFrame | None
    reason: str
    message: str
    advice: str


def release_standing(corpus: str, tables: Tables, ledger: Ledger) -> Standing:
    """Return how the releases of ``corpus`` stand; LakeError when the live release's tables can't be read."""
    number = ledger.live(corpus)
    live = ledger.release(corpus, number) if number is not None else None
    if live is not None and live.table_versions.get("index_manifest") == tables.index_manifest.version():
        return Standing(live.number, None, "", "", "")
    words = _why_not_live(live, ledger.releases(corpus), ledger.pin(corpus))
    if live is None:
        return Standing(None, pl.LazyFrame(schema={"doc_id": pl.String, "held_revision": pl.String}), *words)
    return Standing(live.number, _held(tables, live), *words)


def _held(tables: Tables, live: ReleaseInfo) -> pl.LazyFrame:
    points = tables.index_manifest.scan(live.table_versions["index_manifest"]).select("doc_id").unique()
    objects = tables.source_objects.scan(live.table_versions["source_objects"])
    return objects.select("doc_id", pl.col("revision").alias("held_revision")).join(points, on="doc_id", how="semi")


def _why_not_live(live: ReleaseInfo | None, releases: list[ReleaseInfo], pin: Pin | None) -> tuple[str, str, str]:
    number = live.number if live else 0
    newest = next((r for r in releases if r.number > number and r.state in ("candidate", "rejected")), None)
    failed = ""
    if newest is not None and newest.state == "rejected":
        checks = ", ".join(str(check["name"]) for check in newest.checks if not check["passed"])
        failed = f"release {newest.number}, which holds it, failed the gate ({checks or newest.reason})."
    if pin is not None:
        message = (
            f"The document is processed, but can't be searched: on {pin.at:%Y-%m-%d} the corpus was set back to "
            f"release {pin.release}, which does not hold it."
        )
        advice = "Ask the people who run this system when newer releases go live again."
        return "pinned", f"{message} Besides, {failed}" if failed else message, advice
    if failed:
        return (
            "gate_failed",
            f"The document is processed, but can't be searched yet: {failed}",
            "Tell the people who run this system; it can be searched once a release that holds it has passed.",
        )
    return "not_live", "The document is processed, but the release that holds it is not live yet.", _WAIT
