"""Checks of what a release holds: complete, equal to the lake, free of personal data, and of a plausible size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from headwater import privacy
from headwater.gate.subject import LISTED, Finding, Subject

_VECTOR_TOLERANCE = 1e-4
"""Largest difference per number between the lake's vector and the index's; both are float32 copies of one another,
but a server may normalise them again."""

_ADDED = ("page_breaks", "table_header")
"""Columns of the embeddings that a release made by an earlier version of Headwater doesn't have."""

_COMPARED = (
    *("doc_id", "key", "revision", "title", "section", "page", "start", "end", "text", "content_type", "readers"),
    *("language", "date", "modified", "authors", "keywords", "meta", *_ADDED),
)

_READ_FOR_NAMES = 100
"""Sampled chunks in which a model looks for names: a second of work."""

_FEW_DOCUMENTS = 2
"""Below this many lost documents the share says nothing: deleting one of two files is an everyday edit."""


def accounting(subject: Subject) -> Finding:
    """Every listed object has exactly one end state."""
    states = subject.states
    lost = states.filter(pl.col("state").is_null())["key"]
    counts = dict(states.group_by("state").len().sort("state").iter_rows())
    repeated = states.height - states["key"].n_unique()
    details = {
        "listed": states.height,
        "states": {str(state): count for state, count in counts.items()},
        "without_end_state": lost.head(LISTED).to_list(),
    }
    return Finding(lost.is_empty() and repeated == 0, lost.len() + repeated, 0, details)


def counts_reconcile(subject: Subject) -> Finding:
    """The manifest and the engine name the same points with the same fingerprints."""
    version = subject.info.table_versions["index_manifest"]
    wanted = dict(subject.corpus.tables.index_manifest.read(["id", "fingerprint"], version).iter_rows())
    held = subject.held
    missing = sorted(wanted.keys() - held.keys())
    orphans = sorted(held.keys() - wanted.keys())
    stale = sorted(name for name in wanted.keys() & held.keys() if wanted[name] != held[name])
    wrong = len(missing) + len(orphans) + len(stale)
    details = {
        "wanted": len(wanted),
        "held": len(held),
        "missing": missing[:LISTED],
        "orphans": orphans[:LISTED],
        "stale": stale[:LISTED],
    }
    return Finding(wrong == 0, wrong, 0, details)


def content_matches(subject: Subject) -> Finding:
    """The sampled points say what the lake says at the release's versions."""
    versions, tables = subject.info.table_versions, subject.corpus.tables
    embeddings = tables.embeddings.scan(versions["embeddings"])
    added = [name for name in _ADDED if name in embeddings.collect_schema()]
    wanted = (
        embeddings.filter(pl.col("id").is_in(list(subject.sampled)))
        .select("id", "doc_id", "title", "section", "page", "start", "end", "text", "vector", *added)
        .join(
            tables.source_objects.scan(versions["source_objects"]).select("doc_id", "key", "revision", "readers"),
            on="doc_id",
        )
        .join(tables.parsed_documents.scan(versions["parsed_documents"]).select("doc_id", "content_type"), on="doc_id")
        .join(
            tables.anonymized_documents.scan(versions["anonymized_documents"]).select("doc_id", "metadata"), on="doc_id"
        )
        .collect()
    )
    expected = {row["id"]: row | json.loads(row["metadata"] or "{}") for row in wanted.iter_rows(named=True)}
    different: dict[str, list[str]] = {}
    for point in subject.points:
        row = expected.get(point.chunk_id)
        if row is None:
            different[point.chunk_id] = ["not in the lake"]
            continue
        fields = [name for name in _COMPARED if _plain(point.payload.get(name)) != _plain(row.get(name))]
        vector = np.asarray(point.payload["vector"], dtype=np.float32)
        stored = np.asarray(row["vector"], dtype=np.float32)
        if vector.shape != stored.shape or not np.allclose(vector, stored, atol=_VECTOR_TOLERANCE):
            fields.append("vector")
        if fields:
            different[point.chunk_id] = fields
    details = {"sampled": len(subject.sampled), "different": dict(list(different.items())[:LISTED])}
    return Finding(not different, len(different), 0, details)


def _plain(value: Any) -> Any:
    """Return a value in one form: a missing list is an empty one."""
    return [] if value is None else sorted(value, key=str) if isinstance(value, list) else value


def no_vector_missing(subject: Subject) -> Finding:
    """Every sampled point can be found and cited."""
    bad = [point.chunk_id for point in subject.points if not _whole(point.payload)]
    missing = len(subject.sampled) - len(subject.points) + len(bad)
    return Finding(missing == 0, missing, 0, {"sampled": len(subject.sampled), "points": bad[:LISTED]})


def _whole(payload: Mapping[str, Any]) -> bool:
    vector = payload.get("vector")
    if vector is None or len(vector) == 0:
        return False
    norm = float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))
    return abs(norm - 1.0) < 1e-2 and bool(payload.get("text")) and payload.get("end", 0) > payload.get("start", 0)


def no_chunk_over_cap(subject: Subject) -> Finding:
    """The longest chunk fits into the model."""
    cap = subject.corpus.policy.chunk.max_tokens
    chunks = subject.corpus.tables.chunks.scan(subject.info.table_versions["chunks"])
    longest = chunks.select(pl.col("tokens").max()).collect().item() or 0
    over = chunks.filter(pl.col("tokens") > cap).select("id").collect()["id"]
    return Finding(longest <= cap, longest, cap, {"over": over.head(LISTED).to_list()})


def no_personal_data(subject: Subject) -> Finding:
    """The scan of the chunks found no more than the corpus lets through."""
    bound = subject.corpus.policy.gate.max_leaks
    if not subject.corpus.policy.privacy.enabled:
        return Finding(True, 0, bound, {"note": "privacy.enabled is false: the chunks were not scanned."})
    scans = subject.corpus.tables.leak_scans.scan().filter(pl.col("id").is_in(list(subject.held)))
    rows = scans.select("id", "state", "findings", "entities").collect()
    leaking = rows.filter(pl.col("findings") > 0)
    unscanned = len(subject.held) - rows.filter(pl.col("state") == "ok").height
    found = int(leaking["findings"].sum())
    details = {
        "scanned": rows.height,
        "unscanned": unscanned,
        "chunks": dict(leaking.head(LISTED).select("id", "entities").iter_rows()),
        "people": _people(subject),
    }
    return Finding(found <= bound and unscanned == 0, found, bound, details)


def _people(subject: Subject) -> dict[str, Any]:
    """Return in how many sampled new chunks the model still reads a person's name: to be looked at, not to stop anything.

    A chunk can end within a sentence, and the model may read half of one otherwise than the whole. Chunks that the live
    release holds as they are were looked at when it was made.
    """
    held: dict[str, str] = {}
    live = subject.info if subject.info.state == "live" else subject.live
    if live is not None:
        manifest = subject.corpus.tables.index_manifest.scan(live.table_versions["index_manifest"])
        held = dict(manifest.select("id", "fingerprint").collect().iter_rows())
    new = sorted(name for name, fingerprint in subject.held.items() if held.get(name) != fingerprint)
    new = new[:: max(1, len(new) // _READ_FOR_NAMES)]
    if not new:
        return {"sampled": 0, "with_names": 0, "chunks": []}
    with subject.corpus.searcher(subject.info.number) as searcher:
        points = searcher.retrieve(new)
    found = privacy.names_left(
        [str(point.payload.get("text") or "") for point in points], subject.corpus.policy.privacy
    )
    named = [point.chunk_id for point, count in zip(points, found, strict=True) if count]
    return {"sampled": len(points), "with_names": len(named), "chunks": named[:LISTED]}


def size_change(subject: Subject) -> Finding:
    """Documents and chunks beside the live release's."""
    gate = subject.corpus.policy.gate
    if subject.live is None:
        return Finding(True, 0, gate.max_shrink, {"note": "There is no other live release to compare with."})
    manifest = subject.corpus.tables.index_manifest
    here, there = (
        manifest.scan(info.table_versions["index_manifest"]).select("doc_id").collect()["doc_id"]
        for info in (subject.info, subject.live)
    )
    before = set(there)
    lost = before - set(here)
    share = len(lost) / max(len(before), 1)
    growth = here.len() / max(there.len(), 1)
    shrunk = share > gate.max_shrink and len(lost) >= _FEW_DOCUMENTS
    grown = gate.max_growth is not None and there.len() > 0 and growth > gate.max_growth
    details: dict[str, Any] = {
        "live": subject.live.number,
        "documents": Counter({"live": len(before), "candidate": len(set(here)), "lost": len(lost)}),
        "chunks": {"live": there.len(), "candidate": here.len(), "ratio": growth, "max_growth": gate.max_growth},
    }
    if shrunk and subject.removals_confirmed:
        details["note"] = "A person confirmed that many documents are gone."
        shrunk = False
    if grown and not shrunk:
        return Finding(False, growth, float(gate.max_growth or 0), details)
    return Finding(not shrunk, share, gate.max_shrink, details)


def quarantine_within_bounds(subject: Subject) -> Finding:
    """The share of quarantined objects."""
    bound = subject.corpus.policy.gate.max_quarantined_share
    states = subject.states
    share = states.filter(pl.col("state") == "quarantined").height / max(states.height, 1)
    return Finding(share <= bound, share, bound, {"listed": states.height})
