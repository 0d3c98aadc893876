"""The gate: what a candidate must show before it goes live.

Each check has a figure and a threshold; all of them block. A failed gate leaves the live release as it was and
keeps the candidate, so that it can be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from headwater.receipts import end_states
from headwater.reports import GateCheck

if TYPE_CHECKING:
    from headwater.corpus import Corpus

DESCRIPTIONS: dict[str, str] = {
    "accounting": "Every listed object is in exactly one end state: indexed, duplicate, rejected or quarantined.",
    "counts_reconcile": "The index holds exactly the points that the manifest wants, with the same fingerprints.",
    "no_chunk_over_cap": "No chunk is longer than the token cap of its embedding model.",
    "no_vector_missing": "Every sampled point has a dense vector of unit length and a payload that can be cited.",
    "known_items_found": "Sentences of the corpus, asked as questions, find their own document.",
    "golden_recall": "Golden questions find the passage that holds their answer.",
    "quarantine_within_bounds": "No more objects are quarantined than the corpus allows.",
}
CHECKS: tuple[str, ...] = tuple(DESCRIPTIONS)

_SAMPLED_POINTS = 500
"""Points whose vectors are read back; spread evenly over the sorted ids."""

_LISTED = 20
"""Examples named in a check's details."""


def run_gate(corpus: Corpus, release: int, figures: Mapping[str, Any]) -> list[GateCheck]:
    """Return every check of ``release``; ``figures`` are its retrieval evaluation's."""
    states = end_states(corpus.tables).select("key", "state").collect()
    with corpus.searcher(release) as searcher:
        held = searcher.fingerprints()
        sample = sorted(held)[:: max(1, len(held) // _SAMPLED_POINTS)]
        points = searcher.retrieve(sample, with_vectors=True)
    return [
        _accounting(states),
        _counts_reconcile(corpus, release, held),
        _no_chunk_over_cap(corpus),
        _no_vector_missing(points, len(sample)),
        _known_items_found(corpus, figures),
        _golden_recall(corpus, figures),
        _quarantine(corpus, states),
    ]


def _check(name: str, passed: bool, figure: float, threshold: float, **details: Any) -> GateCheck:
    return GateCheck(name, bool(passed), float(figure), float(threshold), DESCRIPTIONS[name], details)


def _accounting(states: pl.DataFrame) -> GateCheck:
    lost = states.filter(pl.col("state").is_null())["key"]
    counts = dict(states.group_by("state").len().sort("state").iter_rows())
    repeated = states.height - states["key"].n_unique()
    return _check(
        "accounting",
        lost.is_empty() and repeated == 0,
        lost.len() + repeated,
        0,
        listed=states.height,
        states={str(state): count for state, count in counts.items()},
        without_end_state=lost.head(_LISTED).to_list(),
    )


def _counts_reconcile(corpus: Corpus, release: int, held: Mapping[str, str]) -> GateCheck:
    version = corpus.ledger.release(corpus.name, release).table_versions["index_manifest"]
    wanted = dict(corpus.tables.index_manifest.read(["id", "fingerprint"], version).iter_rows())
    missing = sorted(wanted.keys() - held.keys())
    orphans = sorted(held.keys() - wanted.keys())
    stale = sorted(name for name in wanted.keys() & held.keys() if wanted[name] != held[name])
    return _check(
        "counts_reconcile",
        not (missing or orphans or stale),
        len(missing) + len(orphans) + len(stale),
        0,
        wanted=len(wanted),
        held=len(held),
        missing=missing[:_LISTED],
        orphans=orphans[:_LISTED],
        stale=stale[:_LISTED],
    )


def _no_chunk_over_cap(corpus: Corpus) -> GateCheck:
    cap = corpus.policy.chunk.max_tokens
    longest = corpus.tables.chunks.scan().select(pl.col("tokens").max()).collect().item() or 0
    over = corpus.tables.chunks.scan().filter(pl.col("tokens") > cap).select("id").collect()["id"]
    return _check("no_chunk_over_cap", longest <= cap, longest, cap, over=over.head(_LISTED).to_list())


def _no_vector_missing(points: list[Any], sampled: int) -> GateCheck:
    bad = [point.chunk_id for point in points if not _whole(point.payload)]
    missing = sampled - len(points) + len(bad)
    return _check("no_vector_missing", missing == 0, missing, 0, sampled=sampled, points=bad[:_LISTED])


def _whole(payload: Mapping[str, Any]) -> bool:
    vector = payload.get("vector")
    if vector is None or len(vector) == 0:
        return False
    norm = float(sum(float(value) ** 2 for value in vector)) ** 0.5
    return abs(norm - 1.0) < 1e-2 and bool(payload.get("text")) and payload.get("end", 0) > payload.get("start", 0)


def _known_items_found(corpus: Corpus, figures: Mapping[str, Any]) -> GateCheck:
    floor = corpus.policy.gate.min_known_item_recall
    recall = float(figures["known_item_recall"])
    return _check("known_items_found", recall >= floor, recall, floor, queries=figures["known_item_queries"])


def _golden_recall(corpus: Corpus, figures: Mapping[str, Any]) -> GateCheck:
    floor = corpus.policy.gate.min_golden_recall
    if "golden_recall_at_10" not in figures:
        recall = float(figures["known_item_recall"])
        note = "No golden set: known-item queries stand in for it."
        return _check("golden_recall", recall >= floor, recall, floor, note=note)
    recall = float(figures["golden_recall_at_10"])
    extra = {name: value for name, value in figures.items() if not name.startswith("known_item")}
    return _check("golden_recall", recall >= floor, recall, floor, **extra)


def _quarantine(corpus: Corpus, states: pl.DataFrame) -> GateCheck:
    bound = corpus.policy.gate.max_quarantined_share
    share = states.filter(pl.col("state") == "quarantined").height / max(states.height, 1)
    return _check("quarantine_within_bounds", share <= bound, share, bound, listed=states.height)
