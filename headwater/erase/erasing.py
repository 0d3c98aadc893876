"""The order in which a document is erased, each step of which may be repeated.

First a tombstone, so that a reindex can't bring the document back halfway; then what people can see (releases), then
what is stored (lake, cache, answers), then the proof and the receipt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.answer_log.golden_file import forget_promoted
from headwater.audit import audited
from headwater.embedding.cache import forget
from headwater.erase.plan import Plan, plan_file, unfinished
from headwater.erase.probes import Probes, choose
from headwater.erase.records import ErasureReceipt, Removed, Verification
from headwater.erase.swap import rewrite_lake
from headwater.erase.traces import Traces, collect, copies, shared_hashes
from headwater.erase.vectors import forget_unused_vectors
from headwater.erase.verify import look_for, points_held
from headwater.errors import NotFoundError, SourceError
from headwater.hashing import digest, document_id
from headwater.index.server import ServerEngine, fenced
from headwater.lake_owner import check_owner
from headwater.lake_versions import delete_old_versions, old_versions
from headwater.lease import Lease, corpus_lease
from headwater.reports import NoProgress, Progress
from headwater.restore_mark import require_restored
from headwater.source.attachments import SEPARATOR
from headwater.source.keys import KeyFilter, as_listed
from headwater.source.listed import Listed
from headwater.source.listing import list_objects

if TYPE_CHECKING:
    from headwater.corpus import Corpus

STAGE = "erase"
_STEPS = 6


def erase(
    corpus: Corpus,
    key: str,
    *,
    reason: str,
    progress: Progress | None = None,
    who: str | None = None,
    restoring: bool = False,
) -> ErasureReceipt:
    """Erase the document at ``key``, and return the receipt that the ledger keeps. A mail takes its attachments along.

    Where the corpus never had that very key, the one listed key is meant that looks the same (another Unicode form).
    The object in the bucket is not touched; while it is listed as it is now, it is not indexed again. Erasing what is
    erased already gives the receipt of that. ``receipt.verified.found`` is 0 when nothing was left anywhere; otherwise
    the receipt names the places, and erasing again tries again. The audit log names ``who`` (default: who runs this
    process). ``restoring`` is for the restore that carries out an erasure again.

    Raises NotFoundError when the corpus never had such a document, LeaseError while a reindex runs, LakeError when
    another process keeps the ledger's old state open, BackupError while a restore is not finished.
    """
    if not restoring:
        require_restored(corpus.tables.folder, corpus.name)
    doc_id = document_id(corpus.name, key)
    with audited(corpus.ledger, "document.erase", corpus=corpus.name, who=who, target=doc_id) as noted:
        try:
            return _erase(corpus, key, doc_id, reason, progress or NoProgress())
        except NotFoundError:
            listed = as_listed(key, corpus.tables.source_objects.read(["key"])["key"])
            if listed == key:
                raise
            doc_id = document_id(corpus.name, listed)
            noted.add(target=doc_id)
            return _erase(corpus, listed, doc_id, reason, progress or NoProgress())


def _erase(corpus: Corpus, key: str, doc_id: str, reason: str, told: Progress) -> ErasureReceipt:
    with _lease(corpus) as lease:
        old_versions(corpus.tables.folder)  # a bucket that keeps them and does not say so is an error before all else
        _finish(corpus, lease, told)
        before = [plan for plan in unfinished(corpus.tables.folder) if plan.doc_id == doc_id]
        traces = collect(corpus.tables, doc_id)
        points = points_held(corpus, sorted(traces.chunk_ids))
        _delete_snapshots(corpus)  # a document that is nowhere else may be in one
        if not before and traces.only_tombstones and not any(points.values()):
            return _receipt_of(corpus, key)
        plan = _plan(corpus, key, reason, traces, points)
        if before:
            plan.continues(before[0])
        plan.save(corpus.tables.folder)
        return _carry_out(corpus, plan, lease, told)


def recover(corpus: Corpus) -> list[ErasureReceipt]:
    """Finish the erasures that were interrupted; to be called before anything else is written. Nothing to do is cheap."""
    if all(plan.step == "unproven" for plan in unfinished(corpus.tables.folder)):
        return []
    with _lease(corpus) as lease:
        return _finish(corpus, lease, NoProgress())


def verify_erasure(corpus: Corpus, probes: Probes) -> Verification:
    """Look for pieces of a document in lake, index, vector cache and ledger. Nothing is changed."""
    return look_for(corpus, probes)


@contextmanager
def _lease(corpus: Corpus) -> Iterator[Lease]:
    with corpus_lease(corpus.ledger, corpus.name, corpus.project.lake_path(corpus.name) / ".lock") as lease:
        check_owner(corpus.tables.folder, corpus.project)
        with fenced(corpus.engine, lease):
            yield lease


def _finish(corpus: Corpus, lease: Lease, progress: Progress) -> list[ErasureReceipt]:
    plans = [plan for plan in unfinished(corpus.tables.folder) if plan.step != "unproven"]
    return [_carry_out(corpus, plan, lease, progress) for plan in plans]


def _plan(corpus: Corpus, key: str, reason: str, traces: Traces, points: dict[int, int]) -> Plan:
    tables = corpus.tables
    listed, still_listed = _listed(corpus, key) if traces.parent is None else (None, _is_still_attached(corpus, key))
    stored = tables.source_objects.read(["doc_id", "revision", "etag", "size", "last_modified"])
    newest = stored.filter(stored["doc_id"] == traces.doc_id)
    known = newest.row(0, named=True) if newest.height else {}
    if listed is not None:
        seen = {"etag": listed.etag, "size": listed.size, "last_modified": listed.last_modified.isoformat()}
    else:
        modified = known.get("last_modified")
        seen = {"etag": known.get("etag"), "size": known.get("size")}
        seen["last_modified"] = modified.isoformat() if modified else None
    hashes = {digest(text) for text in traces.embedded} - shared_hashes(tables, traces)
    probes = choose(
        traces.doc_id,
        traces.texts,
        traces.vectors,
        chunk_ids=traces.chunk_ids,
        hashes=hashes,
        lake=tables.folder,
        attached=traces.attached,
    )
    return Plan(
        key=key,
        doc_id=traces.doc_id,
        reason=reason,
        erased_at=datetime.now(UTC).isoformat(),
        revisions=sorted(traces.revisions),
        listed={**seen, "revision": known.get("revision")},
        still_listed=still_listed,
        copies=copies(tables, traces, corpus.policy.dedup.threshold),
        probes=probes,
        rows=traces.rows,
        points={str(release): count for release, count in points.items() if count},
        attached=traces.attached,
    )


def _listed(corpus: Corpus, key: str) -> tuple[Listed | None, bool | None]:
    """Return the object as the bucket lists it now, and whether it does; (None, None) when that can't be told."""
    policy = corpus.policy.source
    keep = KeyFilter(policy.include, policy.exclude)
    try:
        for entry in list_objects(policy.uri, keep, after=key[:-1]):
            if entry.key == key:
                return entry, True
            if entry.key.encode() > key.encode():
                break
    except SourceError:
        return None, None
    return None, False


def _is_still_attached(corpus: Corpus, key: str) -> bool | None:
    """Return whether the mail that ``key`` is attached to is listed; None when that can't be told."""
    parts = key.split(SEPARATOR)
    known = [_listed(corpus, SEPARATOR.join(parts[:count]))[1] for count in range(1, len(parts))]
    return None if None in known else any(known)


def _carry_out(corpus: Corpus, plan: Plan, lease: Lease, progress: Progress) -> ErasureReceipt:
    lake = corpus.tables.folder
    progress.start(STAGE, _STEPS)
    if plan.step == "planned":
        _record(corpus, plan, {"reason": plan.reason, "unfinished": True, "source": corpus.policy.source.uri})
        _forget_points(corpus, plan, lease)
    progress.advance(STAGE, 1)
    rewrite_lake(corpus, plan, lease)
    progress.advance(STAGE, 1)
    plan.vectors += forget(corpus.project.cache_path() / "embeddings", plan.probes.hashes)
    forget_unused_vectors(corpus.project)  # those of revisions that the lake had lost before, whose hashes nobody knows
    progress.advance(STAGE, 1)
    for doc_id in plan.owners:
        plan.answers += corpus.ledger.forget_answers(corpus.name, doc_id, phrases=plan.probes.long)
    if corpus.policy.gate.golden is not None:
        forget_promoted(Path(corpus.policy.gate.golden), {plan.key, *plan.attached.values()})
    corpus.answer_cache.clear()
    corpus.ledger.compact()
    progress.advance(STAGE, 1)
    plan.step = "removed"
    plan.save(lake)  # with the counts
    delete_old_versions(lake)
    receipt = _receipt(corpus, plan, look_for(corpus, plan.probes))
    progress.advance(STAGE, 1)
    _record(corpus, plan, receipt.as_json())
    if receipt.verified.found:
        plan.step = "unproven"
        plan.save(lake)
    else:
        lake.delete([plan_file(plan.doc_id)])
        delete_old_versions(lake)  # the plan's own, which hold pieces of the text
    corpus.refresh()
    progress.advance(STAGE, 1)
    return receipt


def _forget_points(corpus: Corpus, plan: Plan, lease: Lease) -> None:
    """Take the document out of every release, and drop what a killed run left half-built."""
    for info in corpus.releases():
        if info.state == "building":
            corpus.engine.drop(info.number)
            reason = "The run that built it did not finish."
            corpus.ledger.set_state(corpus.name, info.number, "dropped", reason=reason, lease=lease.token)
    _delete_snapshots(corpus)  # also those that were taken after an erasure that is finished here began
    known = {info.number for info in corpus.releases()}
    for release in corpus.engine.releases():
        lease.check()
        if str(release) in plan.points and release in known:
            # Noted before it is done: killed in between, a release is only compared more carefully than it had to be.
            corpus.ledger.note_redaction(corpus.name, release, redacted=True)
        count = corpus.engine.redact(release, forget=plan.owners)
        if count and str(release) not in plan.points:
            plan.points[str(release)] = count
            if release in known:
                corpus.ledger.note_redaction(corpus.name, release, redacted=True)
    corpus.ledger.touch(corpus.name)


def _delete_snapshots(corpus: Corpus) -> None:
    """Delete what a server keeps beside its collections: each snapshot holds every document of its time."""
    if isinstance(corpus.engine, ServerEngine):
        corpus.engine.delete_snapshots()


def _record(corpus: Corpus, plan: Plan, receipt: dict[str, object]) -> None:
    corpus.ledger.record_erasure(
        corpus.name,
        key=plan.key,
        doc_id=plan.doc_id,
        revision=plan.listed["revision"],
        etag=plan.listed["etag"],
        size=plan.listed["size"],
        last_modified=plan.last_modified,
        receipt=receipt,
    )


def _receipt(corpus: Corpus, plan: Plan, verified: Verification) -> ErasureReceipt:
    return ErasureReceipt(
        corpus=corpus.name,
        key=plan.key,
        doc_id=plan.doc_id,
        revisions=tuple(plan.revisions),
        reason=plan.reason,
        erased_at=datetime.fromisoformat(plan.erased_at),
        removed=Removed(plan.rows, plan.versions, plan.points, plan.vectors, plan.answers),
        verified=verified,
        copies=tuple(plan.copies),
        still_listed=plan.still_listed,
        attached=tuple(sorted(plan.attached.values())),
        source=corpus.policy.source.uri,
    )


def _receipt_of(corpus: Corpus, key: str) -> ErasureReceipt:
    """Return the receipt of the erasure that has been; NotFoundError when there was none."""
    for record in corpus.ledger.erasures(corpus.name, key):
        if "verified" in record.receipt:
            return ErasureReceipt.from_json(record.receipt)
    raise NotFoundError(
        f"Corpus {corpus.name!r} has no document at {key!r}, in no release and no version of its tables. "
        f"List its objects with: headwater receipts {corpus.name}"
    )
