"""What people do with releases: go back, let one through, compare two, and clear away old ones.

Going live is one row in the ledger, so all of these take effect at once and rewrite nothing; only a revoked permission
is written into the releases that are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from headwater.answer_log.retention import expire_answers
from headwater.audit import audited
from headwater.erase.vectors import forget_unused_vectors
from headwater.errors import LeaseError, ReleaseError
from headwater.lake import Table
from headwater.lease import Lease
from headwater.ledger import ReleaseInfo
from headwater.receipts import record_receipts
from headwater.source import EVERYONE
from headwater.source.attachments import decider

if TYPE_CHECKING:
    from headwater.corpus import Corpus

KEPT = ("live", "retained", "candidate", "rejected")
"""States of releases that can be opened."""

What = Literal["added", "removed", "content", "permissions", "processing"]


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One document that differs between two releases.

    ``what``: ``added``, ``removed``, ``content`` (other bytes), ``permissions`` (other readers), or ``processing``
    (same bytes and readers; another code version, parameter or neighbour decided otherwise).
    """

    key: str
    what: What


@dataclass(frozen=True, slots=True)
class QuestionChange:
    """A golden question whose passage moved; rank from 1, None where it is not among the first ten."""

    id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """What release ``after`` has otherwise than ``before``; ``chunks`` are (before, after).

    ``questions`` is None when one of the two was never evaluated with the golden set.
    """

    before: int
    after: int
    documents: tuple[DocumentChange, ...]
    questions: tuple[QuestionChange, ...] | None
    chunks: tuple[int, int]

    def keys(self, what: What) -> list[str]:
        """Return the keys of one kind of change."""
        return [change.key for change in self.documents if change.what == what]


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed: releases, files of the lake that no kept release needs, and answers that are
    older than the corpus keeps them."""

    releases: tuple[int, ...]
    files: int
    answers: int = 0


def rollback(corpus: Corpus, release: int | None = None, *, reason: str, who: str | None = None) -> int:
    """Make a retained release live again and pin the corpus to it; return its number.

    Default: the newest retained release older than live. One transaction in the ledger, whatever the release's size;
    it waits for no reindex. Until a release is promoted, reindexes build and check candidates but leave live alone.
    The audit log names ``who`` (default: who runs this process). Raises ReleaseError when there is nothing to go back
    to, or ``release`` is not retained.
    """
    with audited(corpus.ledger, "release.rollback", corpus=corpus.name, who=who) as noted:
        noted.add(release=release)
        number = _rollback(corpus, release, reason)
        noted.add(release=number)
    return number


def _rollback(corpus: Corpus, release: int | None, reason: str) -> int:
    live = corpus.ledger.live(corpus.name)
    retained = [info.number for info in corpus.releases() if info.state == "retained"]
    known = ", ".join(map(str, retained)) or "none"
    if release is None:
        release = max((number for number in retained if live is not None and number < live), default=None)
        if release is None:
            raise ReleaseError(f"Corpus {corpus.name!r} has no retained release older than live (retained: {known}).")
    elif release not in retained:
        raise ReleaseError(f"Release {release} of {corpus.name!r} is not retained (retained: {known}).")
    corpus.ledger.publish(corpus.name, release, reason=f"Rolled back: {reason}", pin=True)
    _switched(corpus, release)
    return release


def promote(corpus: Corpus, release: int, *, reason: str, force: bool = False, who: str | None = None) -> None:
    """Make a release live: a candidate that passed the gate, a retained one, or (with ``force``) one that failed.

    Ends a pin that a rollback left; promoting the live release does just that. ``reason`` is kept with the release, the
    audit log names ``who`` (default: who runs this process). Raises ReleaseError for a candidate that failed the gate,
    or has not been through it, without ``force``.
    """
    with audited(corpus.ledger, "release.promote", corpus=corpus.name, who=who) as noted:
        noted.add(release=release, counts={"forced": int(force)})
        _promote(corpus, release, reason, force)


def _promote(corpus: Corpus, release: int, reason: str, force: bool) -> None:
    info = corpus.ledger.release(corpus.name, release)
    failed = [f"{c['name']} = {c['figure']:g} (threshold {c['threshold']:g})" for c in info.checks if not c["passed"]]
    ungated = info.state == "candidate" and (not info.checks or bool(failed))
    if (info.state == "rejected" or ungated) and not force:
        why = f"failed the gate: {'; '.join(failed)}" if failed else "has not been through the gate"
        raise ReleaseError(
            f"Release {release} of {corpus.name!r} {why}. Look at it with `headwater diff {corpus.name} "
            f"{corpus.ledger.live(corpus.name) or ''} {release}`; to promote it all the same, add --force and a reason."
        )
    if not reason.strip():
        raise ReleaseError("Say why: a reason is kept with the release.")
    over = f" over the gate ({', '.join(c['name'] for c in info.checks if not c['passed'])})" if failed else ""
    corpus.ledger.publish(corpus.name, release, reason=f"Promoted{over}: {reason}", force=force)
    _switched(corpus, release)


def _switched(corpus: Corpus, release: int) -> None:
    """Tell everybody else that ``release`` is live: the engine's followers, and the files beside the bucket.

    Both are written by the corpus' writer alone; a reindex that is at work does it when it ends.
    """
    corpus.refresh()
    with suppress(LeaseError), corpus.writing() as lease:
        lease.check()
        corpus.engine.publish(release)
        record_receipts(corpus.name, corpus.tables, corpus.ledger, corpus.policy.source)


def diff(corpus: Corpus, before: int, after: int) -> ReleaseDiff:
    """Compare two releases that are kept: documents added, changed and removed, and questions that changed rank.

    Raises NotFoundError for unknown releases and ReleaseError for dropped ones.
    """
    first, second = (_kept(corpus, number) for number in (before, after))
    left, right = (_documents(corpus, info) for info in (first, second))
    joined = left.join(right, on="doc_id", how="full", coalesce=True, suffix="_after")
    changes = [
        DocumentChange(row["key"] or row["key_after"], what)
        for row in joined.iter_rows(named=True)
        if (what := _change(row)) is not None
    ]
    return ReleaseDiff(
        before=before,
        after=after,
        documents=tuple(sorted(changes, key=lambda change: (change.what, change.key))),
        questions=_questions(corpus, before, after),
        chunks=(int(left["chunks"].sum()), int(right["chunks"].sum())),
    )


def _kept(corpus: Corpus, number: int) -> ReleaseInfo:
    info = corpus.ledger.release(corpus.name, number)
    if info.state not in KEPT:
        kept = ", ".join(str(other.number) for other in corpus.releases() if other.state in KEPT)
        raise ReleaseError(f"Release {number} of {corpus.name!r} is {info.state}; kept are: {kept}.")
    return info


def _documents(corpus: Corpus, info: ReleaseInfo) -> pl.DataFrame:
    """Return one row per document of a release: key, revision, readers, its points' fingerprints and their number."""
    tables, versions = corpus.tables, info.table_versions
    points = (
        tables.index_manifest.scan(versions["index_manifest"])
        .group_by("doc_id")
        .agg(pl.col("fingerprint").sort().str.join("").alias("points"), pl.len().alias("chunks"))
    )
    objects = tables.source_objects.scan(versions["source_objects"]).select("doc_id", "key", "revision", "readers")
    return points.join(objects, on="doc_id", how="left").collect()


def _change(row: Mapping[str, object]) -> What | None:
    if row["points"] is None:
        return "added"
    if row["points_after"] is None:
        return "removed"
    if row["points"] == row["points_after"]:
        return None
    if row["revision"] != row["revision_after"]:
        return "content"
    return "permissions" if row["readers"] != row["readers_after"] else "processing"


def _questions(corpus: Corpus, before: int, after: int) -> tuple[QuestionChange, ...] | None:
    table = corpus.tables.retrieval_evaluation
    stored = dict(table.read(["id", "questions"]).iter_rows())
    if str(before) not in stored or str(after) not in stored:
        return None
    ranks = [json.loads(stored[str(number)])["ranks"] for number in (before, after)]
    if not ranks[0] or not ranks[1]:
        return None
    return tuple(
        QuestionChange(name, ranks[0][name], ranks[1][name])
        for name in sorted(ranks[0].keys() & ranks[1].keys())
        if ranks[0][name] != ranks[1][name]
    )


def apply_permissions(corpus: Corpus, lease: Lease) -> list[int]:
    """Take away, in every kept release, what readers lost since it was made; return the releases that were looked at.

    Called as soon as the bucket was listed, and again before an index is built, under the writer's lease: it needs the
    rows of ``source_objects`` alone, and the index only where somebody lost something. A document's readers in an older
    release are at most those that it had there and those that it has now: nobody gains. A document that is no longer
    listed keeps its readers. Killed at any point, the next call does the rest: ``readers_version`` is noted last.
    """
    objects = corpus.tables.source_objects
    newest = objects.version()
    due = [info for info in corpus.releases() if info.state in KEPT and info.readers_version not in (None, newest)]
    if not due:
        return []
    current = objects.read(["doc_id", "readers"])
    sealed: set[int] | None = None
    changed = []
    # Live last: on a server the next release then starts from the newest state, which costs no writes.
    for info in sorted(due, key=lambda info: (info.state == "live", info.number)):
        readers = narrowed(corpus, info, current)
        if readers:
            sealed = set(corpus.engine.releases()) if sealed is None else sealed
            if info.number not in sealed:
                continue
            lease.check()
            corpus.ledger.note_redaction(corpus.name, info.number, redacted=True)
            corpus.engine.redact(info.number, readers=readers)
            corpus.ledger.touch(corpus.name)
            changed.append(info.number)
        corpus.ledger.note_redaction(corpus.name, info.number, readers_version=newest)
    if changed:
        corpus.refresh()
    return changed


def narrowed(corpus: Corpus, info: ReleaseInfo, current: pl.DataFrame) -> dict[str, list[str]]:
    """Return the readers that documents of a release have left, where they are fewer than when it was made."""
    versions = info.table_versions
    made = _made_with(corpus, versions["source_objects"], current)
    inside = corpus.tables.index_manifest.scan(versions["index_manifest"]).select("doc_id").unique().collect()
    joined = made.join(current, left_on="decides", right_on="doc_id", suffix="_now").join(
        inside, on="doc_id", how="semi"
    )
    rows = joined.select("doc_id", "readers", "readers_now").iter_rows()
    left = ((name, set(then), _left(set(then), set(now))) for name, then, now in rows)
    return {name: sorted(readers) for name, then, readers in left if readers != then}


def _made_with(corpus: Corpus, version: int, current: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id, readers, and ``decides``: the object whose readers of now (in ``current``) count for it.

    What was attached to a mail goes by that mail's readers of now where it isn't listed itself any more.
    """
    objects = corpus.tables.source_objects
    names = objects.scan(version).collect_schema().names()
    if "parent" not in names:  # of before attachments were documents
        return objects.read(["doc_id", "readers"], version).with_columns(decides="doc_id")
    made = objects.read(["doc_id", "readers", "parent"], version)
    parents = dict(made.filter(pl.col("parent").is_not_null()).select("doc_id", "parent").iter_rows())
    now = set(current["doc_id"])
    decides = [decider(name, parents, now) for name in made["doc_id"]]
    return made.select("doc_id", "readers", pl.Series("decides", decides, pl.String))


def _left(then: set[str], now: set[str]) -> set[str]:
    """Return who could read then and can read now; everyone's mark stands for every group."""
    if EVERYONE in then:
        return now
    return then if EVERYONE in now else then & now


def drop_old(corpus: Corpus, lease: Lease) -> list[int]:
    """Drop retained releases beyond the policy's number, and candidates older than live; return their numbers."""
    live = corpus.ledger.live(corpus.name) or 0
    releases = corpus.releases()
    retained = [info.number for info in releases if info.state == "retained"]
    stale = [info.number for info in releases if info.state in ("candidate", "rejected") and info.number < live]
    dropped = [*retained[corpus.policy.index.retain :], *stale]
    for number in dropped:
        # First the ledger: nobody is sent to a release that is going.
        reason = "Beyond the number of releases to keep."
        corpus.ledger.set_state(corpus.name, number, "dropped", reason=reason, lease=lease.token)
        corpus.engine.drop(number)
    return dropped


def collect_garbage(corpus: Corpus) -> Collected:
    """Drop releases that are not to be kept, what unfinished runs left, lake files that no kept release needs, and
    answers beyond their time.

    Files younger than an hour stay, because somebody may be reading them. Raises LeaseError while a reindex runs.
    """
    with audited(corpus.ledger, "release.gc", corpus=corpus.name) as noted, corpus.writing() as lease:
        dropped = drop_old(corpus, lease)
        known = {info.number for info in corpus.releases() if info.state in KEPT}
        orphans = [number for number in corpus.engine.releases() if number not in known]
        for number in orphans:
            lease.check()
            corpus.engine.drop(number)
        files = sum(table.vacuum(_pinned(corpus, table)) for table in corpus.tables.all() if table.exists())
        forget_unused_vectors(corpus.project)
        found = Collected(tuple(sorted({*dropped, *orphans})), files, expire_answers(corpus))
        noted.add(counts={"releases": len(found.releases), "files": found.files, "answers": found.answers})
        return found


def _pinned(corpus: Corpus, table: Table) -> set[int]:
    """Return the versions of a table that kept releases need."""
    kept = [info for info in corpus.releases() if info.state in KEPT]
    versions = {info.table_versions[table.name] for info in kept if table.name in info.table_versions}
    if table.name == "source_objects":
        versions |= {info.readers_version for info in kept if info.readers_version is not None}
    return versions
