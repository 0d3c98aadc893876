"""The ledger itself. Every public method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from headwater.errors import NotFoundError, ReleaseError
from headwater.hashing import digest
from headwater.ledger.engine import create_engine, write
from headwater.ledger.migrate import upgrade
from headwater.ledger.records import AnswerRecord, ReleaseInfo, ReleaseState
from headwater.ledger.schema import answers, corpora, releases
from headwater.reports import GateCheck
from headwater.types import Answer, Citation, Passage, Principal, Sentence

_NEXT: Mapping[str, frozenset[str]] = {
    "building": frozenset({"candidate", "rejected", "dropped"}),
    "candidate": frozenset({"rejected", "dropped"}),
    "rejected": frozenset({"candidate", "dropped"}),
    "retained": frozenset({"dropped"}),
    "live": frozenset(),
    "dropped": frozenset(),
}
"""Which states :meth:`Ledger.set_state` may move a release to. Into and out of ``live`` only by publishing."""

_PUBLISHABLE = frozenset({"candidate", "retained", "live"})


class Ledger:
    """Releases and answers of all corpora, in SQLite or PostgreSQL. Safe to use from several threads and processes."""

    def __init__(self, url: str) -> None:
        """Open the database at ``url`` (SQLAlchemy's form), creating it or bringing its schema up to date.

        Raises ConfigError for an unusable URL, a missing driver, or a ledger of a newer Headwater.
        """
        self._engine = create_engine(url)
        upgrade(self._engine)

    def create_release(
        self,
        corpus: str,
        *,
        parent: int | None,
        spec: str,
        table_versions: Mapping[str, int],
        counts: Mapping[str, int],
    ) -> int:
        """Enter a new release in state ``building`` and return its number.

        Numbers start at 1 for each corpus, only grow, and are never given out twice, not even after a drop.
        """
        with write(self._engine) as connection:
            insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
            connection.execute(insert(corpora).values(corpus=corpus, last_release=0).on_conflict_do_nothing())
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
    ) -> None:
        """Move a release to ``state``; what is None stays as it was. The state it already has is allowed.

        Raises NotFoundError for an unknown release and ReleaseError for a move that the life of a release does
        not have, such as into or out of ``live`` (that is :meth:`publish`).
        """
        with write(self._engine) as connection:
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

    def publish(self, corpus: str, number: int, *, reason: str) -> None:
        """Make ``number`` the live release, in one transaction; the one that was live becomes ``retained``.

        Publishing a retained release is a rollback. Publishing the live one changes nothing. Raises NotFoundError
        for an unknown release and ReleaseError unless it is a candidate, retained or live.
        """
        with write(self._engine) as connection:
            state = _locked_state(connection, corpus, number)
            if state not in _PUBLISHABLE:
                raise ReleaseError(
                    f"Release {number} of corpus {corpus!r} is {state}; only a candidate or a retained release can go live."
                )
            if state == "live":
                return
            connection.execute(
                releases.update()
                .where(releases.c.corpus == corpus, releases.c.state == "live")
                .values(state="retained")
            )
            connection.execute(
                releases.update()
                .where(_is(corpus, number))
                .values(state="live", published_at=datetime.now(UTC), reason=reason)
            )
            connection.execute(corpora.update().where(corpora.c.corpus == corpus).values(live=number))

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

    def record_answer(
        self,
        corpus: str,
        answer: Answer,
        *,
        passages: Sequence[Passage],
        principal: Principal,
        parameters: Mapping[str, Any],
        seconds: float,
        scrub: Callable[[str], str] | None = None,
    ) -> None:
        """Store what is needed to reproduce ``answer``; no passage, sentence or quote text is kept.

        ``parameters`` must be JSON values. ``scrub`` is applied to the question before it is stored.
        """
        with write(self._engine) as connection:
            connection.execute(
                answers.insert().values(
                    id=answer.id,
                    corpus=corpus,
                    release=answer.release,
                    question=_storable(scrub(answer.question) if scrub else answer.question),
                    asked_at=datetime.now(UTC),
                    principal=principal.name,
                    groups=sorted(principal.groups),
                    method=answer.method,
                    parameters=dict(parameters),
                    passages=[_passage(passage) for passage in passages],
                    sentences=[_sentence(sentence) for sentence in answer.sentences],
                    refused=answer.refused,
                    reason=answer.reason,
                    seconds=seconds,
                )
            )

    def answer(self, answer_id: str) -> AnswerRecord | None:
        """Return the record of one answer, None when there is none of that id."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(answers).where(answers.c.id == answer_id)).mappings().first()
        if row is None:
            return None
        lists = {name: tuple(row[name]) for name in ("groups", "passages", "sentences")}
        return AnswerRecord(**{**row, **lists})

    def close(self) -> None:
        """Close all connections. The ledger must not be used afterwards."""
        self._engine.dispose()


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL, neither database takes lone surrogates (a terminal's undecodable bytes)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def _is(corpus: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(releases.c.corpus == corpus, releases.c.number == number)


def _no_release(corpus: str, number: int) -> NotFoundError:
    return NotFoundError(f"Corpus {corpus!r} has no release {number}. List them with: headwater releases {corpus}")


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


def _passage(passage: Passage) -> dict[str, Any]:
    names = ("chunk_id", "doc_id", "key", "revision", "start", "end", "score")
    return {name: getattr(passage, name) for name in names}


def _sentence(sentence: Sentence) -> dict[str, Any]:
    return {
        "support": sentence.support,
        "digest": digest(sentence.text),
        "citations": [_citation(citation) for citation in sentence.citations],
    }


def _citation(citation: Citation) -> dict[str, Any]:
    names = ("doc", "key", "revision", "chunk_id", "start", "end", "page")
    return {name: getattr(citation, name) for name in names}
