"""Releases: their life from building to dropped, and the pointer that says which one is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from headwater.errors import NotFoundError, ReleaseError
from headwater.ledger.base import LedgerPart, ensure_corpus
from headwater.ledger.engine import write
from headwater.ledger.leases import require_lease
from headwater.ledger.records import Pin, Pointer, ReleaseInfo, ReleaseState
from headwater.ledger.schema import corpora, releases
from headwater.reports import GateCheck

_NEXT: Mapping[str, frozenset[str]] = {
    "building": frozenset({"candidate", "rejected", "dropped"}),
    "candidate": frozenset({"rejected", "dropped"}),
    "rejected": frozenset({"candidate", "dropped"}),
    "retained": frozenset({"dropped"}),
    "live": frozenset(),
    "dropped": frozenset(),
    "restoring": frozenset(),
}
"""Which states :meth:`Ledger.set_state` may move a release to. Into and out of ``live`` only by publishing, out of
``restoring`` only by :meth:`Releases.open_restored`."""

_PUBLISHABLE = frozenset({"candidate", "retained", "live"})


class Releases(LedgerPart):
    """The releases of all corpora.

    Methods that change what readers may come to see take ``lease``, the token of the writer's lease, and raise
    LeaseError in the same transaction when it is not the current one any more; None asks for no lease.
    """

    def create_release(
        self,
        corpus: str,
        *,
        parent: int | None,
        spec: str,
        table_versions: Mapping[str, int],
        counts: Mapping[str, int],
        settings: Mapping[str, Any] | None = None,
        lease: int | None = None,
    ) -> int:
        """Enter a new release in state ``building`` and return its number.

        Numbers start at 1 for each corpus, only grow, and are never given out twice, not even after a drop.
        ``settings`` are JSON values; permission changes count as applied up to the ``source_objects`` it is built from.
        """
        with write(self._engine) as connection:
            require_lease(connection, corpus, lease)
            ensure_corpus(connection, corpus)
            # The update locks the corpus's row until commit, so the value read next is ours alone.
            connection.execute(
                corpora.update().where(corpora.c.corpus == corpus).values(last_release=corpora.c.last_release + 1)
            )
            number = int(
                connection.execute(sa.select(corpora.c.last_release).where(corpora.c.corpus == corpus)).scalar_one()
            )
            connection.execute(
                releases.insert().values(
                    corpus=corpus,
                    number=number,
                    state="building",
                    parent=parent,
                    spec=spec,
                    created_at=datetime.now(UTC),
                    table_versions=dict(table_versions),
                    counts=dict(counts),
                    checks=[],
                    settings=dict(settings or {}),
                    readers_version=table_versions.get("source_objects"),
                    redacted=False,
                )
            )
        return number

    def set_state(
        self,
        corpus: str,
        number: int,
        state: ReleaseState,
        *,
        reason: str | None = None,
        checks: Sequence[GateCheck] | None = None,
        counts: Mapping[str, int] | None = None,
        lease: int | None = None,
    ) -> None:
        """Move a release to ``state``; what is None stays as it was. The state it already has is allowed.

        Raises NotFoundError for an unknown release and ReleaseError for a move that the life of a release does
        not have, such as into or out of ``live`` (that is :meth:`publish`).
        """
        with write(self._engine) as connection:
            require_lease(connection, corpus, lease)
            current = _locked_state(connection, corpus, number)
            if state != current and state not in _NEXT[current]:
                raise ReleaseError(
                    f"Release {number} of corpus {corpus!r} is {current} and can't become {state} this way; "
                    "publish a release to change which one is live."
                )
            values: dict[str, Any] = {"state": state}
            if reason is not None:
                values["reason"] = reason
            if checks is not None:
                values["checks"] = [_check(check) for check in checks]
            if counts is not None:
                values["counts"] = dict(counts)
            connection.execute(releases.update().where(_is(corpus, number)).values(**values))

    def publish(
        self,
        corpus: str,
        number: int,
        *,
        reason: str,
        force: bool = False,
        pin: bool = False,
        unless_pinned: bool = False,
        lease: int | None = None,
    ) -> bool:
        """Make ``number`` the live release, in one transaction; the one that was live becomes ``retained``.

        Publishing a retained release is a rollback. ``pin`` pins the corpus to the release (see :meth:`pin`); without
        it a pin there is goes, or with ``unless_pinned`` nothing happens and the answer is False. Publishing the live
        release changes the pin alone, and its reason if pinned or forced.
        Raises NotFoundError for an unknown release and ReleaseError unless it is a candidate, retained or live;
        ``force`` takes a rejected one, too.
        """
        with write(self._engine) as connection:
            require_lease(connection, corpus, lease)
            state = _locked_state(connection, corpus, number)
            if unless_pinned and _pinned(connection, corpus):
                return False
            if state not in _PUBLISHABLE and not (force and state == "rejected"):
                allowed = "a candidate, a retained or a rejected" if force else "a candidate or a retained"
                raise ReleaseError(
                    f"Release {number} of corpus {corpus!r} is {state}; only {allowed} release can go live."
                )
            moment = datetime.now(UTC)
            if state != "live":
                connection.execute(
                    releases.update()
                    .where(releases.c.corpus == corpus, releases.c.state == "live")
                    .values(state="retained")
                )
                connection.execute(
                    releases.update()
                    .where(_is(corpus, number))
                    .values(state="live", published_at=moment, reason=reason)
                )
            elif force or pin:
                connection.execute(releases.update().where(_is(corpus, number)).values(reason=reason))
            pinned = {"pinned": number, "pin_reason": reason, "pinned_at": moment}
            values = pinned if pin else dict.fromkeys(pinned)
            connection.execute(corpora.update().where(corpora.c.corpus == corpus).values(live=number, **values))
        return True

    def open_restored(
        self, corpus: str, states: Mapping[int, ReleaseState], live: int | None, *, lease: int | None = None
    ) -> None:
        """Give restored releases their ``states`` and make ``live`` what readers see, in one transaction.

        A new generation begins: whoever holds a release open opens it again.
        """
        with write(self._engine) as connection:
            require_lease(connection, corpus, lease)
            for number, state in states.items():
                connection.execute(releases.update().where(_is(corpus, number)).values(state=state))
            connection.execute(
                corpora.update()
                .where(corpora.c.corpus == corpus)
                .values(live=live, generation=corpora.c.generation + 1)
            )

    def pin(self, corpus: str) -> Pin | None:
        """Return the release that the corpus is pinned to by a rollback, None when it is not."""
        query = sa.select(corpora.c.pinned, corpora.c.pin_reason, corpora.c.pinned_at)
        with self._engine.connect() as connection:
            row = connection.execute(query.where(corpora.c.corpus == corpus)).first()
        return None if row is None or row[0] is None else Pin(*row)

    def pointer(self, corpus: str) -> Pointer:
        """Return the live release and the generation. One read by primary key."""
        query = sa.select(corpora.c.live, corpora.c.generation).where(corpora.c.corpus == corpus)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return Pointer(None, 0) if row is None else Pointer(*row)

    def touch(self, corpus: str) -> None:
        """Start a new generation: whoever holds releases of the corpus open must reopen them."""
        with write(self._engine) as connection:
            ensure_corpus(connection, corpus)
            connection.execute(
                corpora.update().where(corpora.c.corpus == corpus).values(generation=corpora.c.generation + 1)
            )

    def note_redaction(
        self, corpus: str, number: int, *, redacted: bool | None = None, readers_version: int | None = None
    ) -> None:
        """Record how a release was changed in place; what is None stays. NotFoundError for an unknown release."""
        values = {"redacted": redacted, "readers_version": readers_version}
        with write(self._engine) as connection:
            _locked_state(connection, corpus, number)
            known = {name: value for name, value in values.items() if value is not None}
            if known:
                connection.execute(releases.update().where(_is(corpus, number)).values(**known))

    def set_table_versions(
        self,
        corpus: str,
        versions: Mapping[int, Mapping[str, int]],
        *,
        readers_versions: Mapping[int, int] | None = None,
        lease: int | None = None,
    ) -> None:
        """Set the lake versions of releases (release -> table -> version); tables that are not named keep theirs.

        ``readers_versions`` sets those of releases in the same transaction. Raises NotFoundError, and changes nothing,
        for an unknown release.
        """
        readers = readers_versions or {}
        with write(self._engine) as connection:
            require_lease(connection, corpus, lease)
            for number in sorted({*versions, *readers}):
                _locked_state(connection, corpus, number)
                stored = connection.execute(
                    sa.select(releases.c.table_versions).where(_is(corpus, number))
                ).scalar_one()
                values: dict[str, Any] = {"table_versions": {**stored, **versions.get(number, {})}}
                if number in readers:
                    values["readers_version"] = readers[number]
                connection.execute(releases.update().where(_is(corpus, number)).values(**values))

    def applied_listing(self, corpus: str) -> str | None:
        """Return the digest of the bucket listing that the last finished reindex worked on."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(corpora.c.applied_listing).where(corpora.c.corpus == corpus)).scalar()

    def set_applied_listing(self, corpus: str, digest: str | None) -> None:
        """Set the digest of the bucket listing that a finished reindex worked on."""
        with write(self._engine) as connection:
            ensure_corpus(connection, corpus)
            connection.execute(corpora.update().where(corpora.c.corpus == corpus).values(applied_listing=digest))

    def live(self, corpus: str) -> int | None:
        """Return the number of the live release, None when there is none. One read by primary key."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(corpora.c.live).where(corpora.c.corpus == corpus)).scalar()

    def release(self, corpus: str, number: int) -> ReleaseInfo:
        """Return one release; NotFoundError if the corpus has none of that number."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(releases).where(_is(corpus, number))).mappings().first()
        if row is None:
            raise _no_release(corpus, number)
        return _release(dict(row))

    def releases(self, corpus: str) -> list[ReleaseInfo]:
        """Return all releases of a corpus in all states, newest first."""
        query = sa.select(releases).where(releases.c.corpus == corpus).order_by(releases.c.number.desc())
        with self._engine.connect() as connection:
            return [_release(dict(row)) for row in connection.execute(query).mappings()]


def _is(corpus: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(releases.c.corpus == corpus, releases.c.number == number)


def _no_release(corpus: str, number: int) -> NotFoundError:
    return NotFoundError(f"Corpus {corpus!r} has no release {number}. List them with: headwater releases {corpus}")


def _pinned(connection: sa.Connection, corpus: str) -> bool:
    query = sa.select(corpora.c.pinned).where(corpora.c.corpus == corpus)
    return connection.execute(query).scalar() is not None


def _locked_state(connection: sa.Connection, corpus: str, number: int) -> str:
    # All changes of a corpus's releases queue behind its row (PostgreSQL; in SQLite there is one writer anyway).
    connection.execute(sa.select(corpora.c.corpus).where(corpora.c.corpus == corpus).with_for_update())
    state = connection.execute(sa.select(releases.c.state).where(_is(corpus, number))).scalar()
    if state is None:
        raise _no_release(corpus, number)
    return str(state)


def _release(row: Mapping[str, Any]) -> ReleaseInfo:
    return ReleaseInfo(**{**row, "checks": tuple(row["checks"])})


def _check(check: GateCheck) -> dict[str, Any]:
    return {**asdict(check), "details": dict(check.details)}
