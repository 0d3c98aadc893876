"""The ledger: numbers are never reused, the live pointer moves in one step, answers can be looked up again."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError, LeaseError, LedgerError, NotFoundError, ReleaseError
from headwater.hashing import document_id
from headwater.ledger import Ledger
from headwater.ledger.engine import create_engine
from headwater.ledger.engine import write as write_transaction
from headwater.ledger.migrate import MIGRATIONS, upgrade
from headwater.ledger.schema import HEAD, UtcDateTime, metadata
from headwater.reports import GateCheck
from headwater.types import Answer, Citation, Passage, Principal, Sentence


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/ledger.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(url: str):
    with closing(Ledger(url)) as opened:
        yield opened


def start(ledger: Ledger, corpus: str = "handbook", parent: int | None = None) -> int:
    return ledger.create_release(
        corpus, parent=parent, spec="minilm/384", table_versions={"chunks": 7}, counts={"chunks": 3}
    )


def candidate(ledger: Ledger, corpus: str = "handbook") -> int:
    number = start(ledger, corpus)
    ledger.set_state(corpus, number, "candidate")
    return number


def check(passed: bool) -> GateCheck:
    return GateCheck("known_item", passed, 0.5, 0.9, "chunks find their document", {"asked": 10})


def test_numbers_are_per_corpus_and_never_reused(ledger: Ledger) -> None:
    assert [start(ledger), start(ledger), start(ledger, "policies")] == [1, 2, 1]
    ledger.set_state("handbook", 2, "dropped")
    assert start(ledger) == 3


def test_a_release_tells_what_it_was_built_from(ledger: Ledger) -> None:
    before = datetime.now(UTC)
    first = start(ledger)
    number = start(ledger, parent=first)
    info = ledger.release("handbook", number)
    assert (info.state, info.parent, info.spec, info.reason, info.published_at) == (
        "building",
        first,
        "minilm/384",
        None,
        None,
    )
    assert (info.table_versions, info.counts, info.checks) == ({"chunks": 7}, {"chunks": 3}, ())
    assert before <= info.created_at <= datetime.now(UTC)
    assert info.created_at.utcoffset() == timedelta(0)


def test_set_state_keeps_what_it_is_not_told(ledger: Ledger) -> None:
    number = start(ledger)
    ledger.set_state("handbook", number, "rejected", reason="recall fell", checks=[check(False)], counts={"chunks": 9})
    ledger.set_state("handbook", number, "rejected")
    info = ledger.release("handbook", number)
    assert (info.state, info.reason, info.counts) == ("rejected", "recall fell", {"chunks": 9})
    assert info.checks[0]["name"] == "known_item"
    assert info.checks[0]["passed"] is False
    assert info.checks[0]["details"] == {"asked": 10}


def test_publishing_moves_the_pointer_and_retains_the_release_before(ledger: Ledger) -> None:
    assert ledger.live("handbook") is None
    first, second = candidate(ledger), candidate(ledger)
    ledger.publish("handbook", first, reason="first")
    ledger.publish("handbook", second, reason="all checks passed")
    assert ledger.live("handbook") == second
    assert [(info.number, info.state) for info in ledger.releases("handbook")] == [(2, "live"), (1, "retained")]
    published = ledger.release("handbook", second)
    assert published.reason == "all checks passed"
    assert published.published_at is not None and published.published_at.utcoffset() == timedelta(0)


def test_rolling_back_is_publishing_a_retained_release(ledger: Ledger) -> None:
    first, second = candidate(ledger), candidate(ledger)
    ledger.publish("handbook", first, reason="first")
    ledger.publish("handbook", second, reason="second")
    ledger.publish("handbook", first, reason="rollback")
    assert ledger.live("handbook") == first
    assert {info.number: info.state for info in ledger.releases("handbook")} == {1: "live", 2: "retained"}


def test_publishing_the_live_release_again_changes_nothing(ledger: Ledger) -> None:
    number = candidate(ledger)
    ledger.publish("handbook", number, reason="first")
    before = ledger.release("handbook", number)
    ledger.publish("handbook", number, reason="again")
    assert ledger.release("handbook", number) == before


@pytest.mark.parametrize("state", ["building", "rejected", "dropped"])
def test_only_a_release_that_passed_can_go_live(ledger: Ledger, state) -> None:
    live = candidate(ledger)
    ledger.publish("handbook", live, reason="first")
    number = start(ledger)
    ledger.set_state("handbook", number, state)
    with pytest.raises(ReleaseError, match=f"Release {number}.*{state}"):
        ledger.publish("handbook", number, reason="no")
    assert ledger.live("handbook") == live


def test_the_live_release_can_only_be_replaced(ledger: Ledger) -> None:
    number = candidate(ledger)
    with pytest.raises(ReleaseError):
        ledger.set_state("handbook", number, "live")
    ledger.publish("handbook", number, reason="first")
    with pytest.raises(ReleaseError):
        ledger.set_state("handbook", number, "dropped")


def test_unknown_releases_are_not_found(ledger: Ledger) -> None:
    start(ledger)
    for call in (
        lambda: ledger.release("handbook", 9),
        lambda: ledger.publish("handbook", 9, reason="no"),
        lambda: ledger.set_state("nowhere", 1, "candidate"),
    ):
        with pytest.raises(NotFoundError, match="no release"):
            call()
    assert ledger.live("nowhere") is None
    assert ledger.releases("nowhere") == []


def test_a_publish_that_fails_half_way_leaves_everything_as_it_was(url: str, ledger: Ledger) -> None:
    first, second = candidate(ledger), candidate(ledger)
    ledger.publish("handbook", first, reason="first")

    def stop(_connection, _cursor, statement, *_rest) -> None:
        if statement.startswith("UPDATE corpora"):
            raise RuntimeError("power cut")

    sa.event.listen(sa.Engine, "before_cursor_execute", stop)
    try:
        with pytest.raises(RuntimeError, match="power cut"):
            ledger.publish("handbook", second, reason="second")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", stop)
    with closing(Ledger(url)) as reopened:
        assert reopened.live("handbook") == first
        states = {info.number: info.state for info in reopened.releases("handbook")}
    assert states == {first: "live", second: "candidate"}


def test_readers_are_not_blocked_by_a_writer(url: str, ledger: Ledger) -> None:
    number = candidate(ledger)
    ledger.publish("handbook", number, reason="first")
    writer = create_engine(url)
    with write_transaction(writer) as connection:
        connection.execute(sa.text("UPDATE corpora SET live = NULL"))
        assert ledger.live("handbook") == number
    writer.dispose()


def test_publishing_the_live_release_again_changes_only_the_pin_and_a_forced_reason(ledger: Ledger) -> None:
    number = candidate(ledger)
    ledger.publish("handbook", number, reason="first")
    ledger.publish("handbook", number, reason="stay here", pin=True)
    pin = ledger.pin("handbook")
    assert pin is not None and (pin.release, pin.reason) == (number, "stay here")
    assert pin.at.utcoffset() == timedelta(0)
    assert ledger.release("handbook", number).reason == "stay here"
    ledger.publish("handbook", number, reason="again")
    assert ledger.pin("handbook") is None
    assert ledger.release("handbook", number).reason == "stay here"
    ledger.publish("handbook", number, reason="by hand", force=True)
    assert ledger.release("handbook", number).reason == "by hand"


def test_a_rollback_pins_the_corpus_until_the_next_release_goes_live(ledger: Ledger) -> None:
    first, second = candidate(ledger), candidate(ledger)
    ledger.publish("handbook", first, reason="first")
    ledger.publish("handbook", second, reason="second")
    assert ledger.pin("handbook") is None
    ledger.publish("handbook", first, reason="the second was wrong", pin=True)
    assert ledger.pointer("handbook").live == first
    pin = ledger.pin("handbook")
    assert pin is not None and (pin.release, pin.reason) == (first, "the second was wrong")
    assert ledger.pin("policies") is None
    ledger.publish("handbook", second, reason="repaired")
    assert ledger.pin("handbook") is None


def test_a_rejected_release_goes_live_only_by_force(ledger: Ledger) -> None:
    number = start(ledger)
    ledger.set_state("handbook", number, "rejected")
    ledger.publish("handbook", number, reason="looked at by hand", force=True)
    assert ledger.live("handbook") == number
    for state in ("building", "dropped"):
        other = start(ledger)
        ledger.set_state("handbook", other, state)
        with pytest.raises(ReleaseError, match=state):
            ledger.publish("handbook", other, reason="no", force=True)


def test_the_generation_grows_when_a_corpus_is_touched(ledger: Ledger) -> None:
    assert (ledger.pointer("handbook").live, ledger.pointer("handbook").generation) == (None, 0)
    ledger.touch("handbook")
    number = candidate(ledger)
    ledger.publish("handbook", number, reason="first")
    assert (ledger.pointer("handbook").live, ledger.pointer("handbook").generation) == (number, 1)
    ledger.touch("handbook")
    assert ledger.pointer("handbook").generation == 2
    assert ledger.pointer("policies").generation == 0


def test_a_release_knows_its_settings_and_how_far_permission_changes_have_reached_it(ledger: Ledger) -> None:
    versions = {"chunks": 7, "source_objects": 12}
    settings = {"embed": {"model": None, "bm25_k": 1.2}}
    number = ledger.create_release(
        "handbook", parent=None, spec="s", table_versions=versions, counts={}, settings=settings
    )
    info = ledger.release("handbook", number)
    assert (info.settings, info.readers_version, info.redacted) == (settings, 12, False)
    ledger.note_redaction("handbook", number, readers_version=15)
    ledger.note_redaction("handbook", number, redacted=True)
    ledger.note_redaction("handbook", number)
    info = ledger.release("handbook", number)
    assert (info.readers_version, info.redacted) == (15, True)
    plain = ledger.release("handbook", start(ledger))
    assert (plain.settings, plain.readers_version, plain.redacted) == ({}, None, False)
    with pytest.raises(NotFoundError):
        ledger.note_redaction("handbook", 9, redacted=True)


def test_table_versions_of_several_releases_change_together_or_not_at_all(ledger: Ledger) -> None:
    first, second = start(ledger), start(ledger)
    ledger.set_table_versions("handbook", {first: {"source_objects": 3}, second: {"chunks": 1}})
    assert ledger.release("handbook", first).table_versions == {"chunks": 7, "source_objects": 3}
    assert ledger.release("handbook", second).table_versions == {"chunks": 1}
    ledger.set_table_versions("handbook", {}, readers_versions={second: 4})
    assert ledger.release("handbook", second).readers_version == 4
    with pytest.raises(NotFoundError):
        ledger.set_table_versions("handbook", {first: {"chunks": 0}, 9: {"chunks": 0}})
    assert ledger.release("handbook", first).table_versions["chunks"] == 7


def test_the_applied_listing_is_remembered_per_corpus(ledger: Ledger) -> None:
    assert ledger.applied_listing("handbook") is None
    ledger.set_applied_listing("handbook", "d1")
    ledger.set_applied_listing("handbook", "d2")
    assert (ledger.applied_listing("handbook"), ledger.applied_listing("policies")) == ("d2", None)


def test_one_lease_per_corpus_at_a_time(ledger: Ledger) -> None:
    token = ledger.acquire_lease("handbook", "alpha:1:x", 60)
    assert ledger.acquire_lease("policies", "beta:2:y", 60) == 1
    with pytest.raises(LeaseError, match=r"alpha:1:x holds the lease, for now until \d{4}-"):
        ledger.acquire_lease("handbook", "beta:2:y", 60)
    ledger.renew_lease("handbook", token, 60)
    ledger.release_lease("handbook", token)
    assert ledger.lease_holder("handbook") is None
    assert ledger.acquire_lease("handbook", "beta:2:y", 60) > token
    assert ledger.lease_holder("handbook") == "beta:2:y"


def test_a_lease_that_expired_or_whose_holder_is_dead_is_taken_over(ledger: Ledger) -> None:
    first = ledger.acquire_lease("handbook", "alpha:1:x", -1)
    second = ledger.acquire_lease("handbook", "beta:2:y", 60)
    with pytest.raises(LeaseError, match="beta"):
        ledger.acquire_lease("handbook", "gamma:3:z", 60, dead="alpha:1:x")
    third = ledger.acquire_lease("handbook", "gamma:3:z", 60, dead="beta:2:y")
    assert first < second < third
    with pytest.raises(LeaseError, match="took over"):
        ledger.renew_lease("handbook", second, 60)
    ledger.release_lease("handbook", second)  # what was taken over is not theirs to give back
    assert ledger.lease_holder("handbook") == "gamma:3:z"


def test_a_writer_that_was_taken_over_changes_no_release(ledger: Ledger) -> None:
    number = candidate(ledger)
    old = ledger.acquire_lease("handbook", "alpha:1:x", -1)
    ledger.publish("handbook", number, reason="late, but nobody else came", lease=old)
    new = ledger.acquire_lease("handbook", "beta:2:y", 60)
    for call in (
        lambda lease: ledger.publish("handbook", number, reason="late", pin=True, lease=lease),
        lambda lease: ledger.set_state("handbook", number, "live", reason="late", lease=lease),
        lambda lease: ledger.set_table_versions("handbook", {number: {"chunks": 0}}, lease=lease),
        lambda lease: ledger.create_release(
            "handbook", parent=None, spec="s", table_versions={}, counts={}, lease=lease
        ),
    ):
        before = ledger.releases("handbook")
        with pytest.raises(LeaseError, match="beta:2:y"):
            call(old)
        assert ledger.releases("handbook") == before
        call(new)
    ledger.release_lease("handbook", new)
    with pytest.raises(LeaseError):
        ledger.publish("handbook", number, reason="late", lease=new)


def _take_lease(url: str, name: str) -> int | None:
    with closing(Ledger(url)) as ledger:
        try:
            return ledger.acquire_lease("handbook", name, 60)
        except LeaseError:
            return None


def test_of_several_processes_that_want_the_lease_one_gets_it(url: str, ledger: Ledger) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        tokens = list(pool.map(_take_lease, [url] * 8, [f"host:{n}:x" for n in range(8)]))
    assert sorted(token for token in tokens if token is not None) == [1]


def erase(ledger: Ledger, key: str = "travel.md", **changes) -> str:
    values = {
        "doc_id": "d-1",
        "revision": "r-1",
        "etag": "e-1",
        "size": 12,
        "last_modified": datetime(2026, 3, 1, tzinfo=UTC),
        "receipt": {"reason": "asked", "removed": {"chunks": 2}},
    }
    return ledger.record_erasure("handbook", key=key, **(values | changes))


def test_an_erasure_is_in_force_until_it_is_lifted(ledger: Ledger) -> None:
    name = erase(ledger)
    erase(ledger, "other.md", etag=None, size=None, last_modified=None, revision=None)
    (found,) = ledger.erasures("handbook", "travel.md")
    assert (found.id, found.doc_id, found.revision, found.etag, found.size) == (name, "d-1", "r-1", "e-1", 12)
    assert found.last_modified == datetime(2026, 3, 1, tzinfo=UTC)
    assert found.receipt == {"reason": "asked", "removed": {"chunks": 2}}
    assert found.lifted_at is None
    assert erase(ledger, etag="e-2") == name  # repeated: still one
    assert [(e.id, e.etag) for e in ledger.erasures("handbook", "travel.md")] == [(name, "e-2")]
    ledger.lift_erasures("handbook", ["travel.md", "never.md"])
    (lifted,) = ledger.erasures("handbook", "travel.md")
    assert lifted.lifted_at is not None
    assert erase(ledger) != name
    assert [e.lifted_at is None for e in ledger.erasures("handbook", "travel.md")] == [True, False]
    assert len(ledger.erasures("handbook")) == 3
    assert ledger.erasures("policies") == []


def test_answers_that_name_a_document_are_forgotten(ledger: Ledger) -> None:
    record(ledger)
    record(ledger, replace(ANSWER, id="a-2", sentences=()))  # read, not cited
    other = replace(PASSAGE, doc_id="d-2", chunk_id="c-2")
    record(ledger, replace(ANSWER, id="a-3", sentences=()), passages=[other])
    record(ledger, replace(ANSWER, id="a-4"), passages=[other])  # cited, from another passage list
    assert ledger.forget_answers("policies", "d-1") == 0
    assert ledger.forget_answers("handbook", "d-1") == 3
    assert [name for name in ("a-1", "a-2", "a-3", "a-4") if ledger.answer(name)] == ["a-3"]
    assert ledger.forget_answers("handbook", "d-1") == 0


def test_answers_whose_question_quotes_a_phrase_are_forgotten_in_every_corpus(ledger: Ledger) -> None:
    record(ledger, replace(ANSWER, question="Is it true that 100% of trains_come first?"))
    record(ledger, replace(ANSWER, id="a-2", question="Is it true that 100 of trains come first?"))
    assert ledger.forget_answers("policies", "d-9", phrases=["100% of trains_come", "nothing like it"]) == 1
    assert ledger.answer("a-1") is None and ledger.answer("a-2") is not None


def test_all_text_that_the_ledger_holds_can_be_looked_through(ledger: Ledger) -> None:
    number = start(ledger)
    ledger.set_state("handbook", number, "rejected", reason="recall fell", checks=[check(False)])
    record(ledger)
    erase(ledger)
    held = {(table, value) for table, values in ledger.texts() for value in values if value}
    for table, text in (("answers", "What comes first?"), ("releases", "known_item"), ("erasures", "travel.md")):
        assert any(name == table and text in value for name, value in held)


def test_compacting_leaves_no_byte_of_deleted_answers(tmp_path: Path) -> None:
    question = "Where is the amber lantern kept?"
    with (
        closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger,
        closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as reader,
    ):
        record(ledger, replace(ANSWER, question=question))
        assert reader.answer("a-1") is not None
        ledger.forget_answers("handbook", "d-1")
        assert question.encode() in b"".join(path.read_bytes() for path in tmp_path.iterdir())
        ledger.compact()
        assert question.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert reader.answer("a-1") is None
        record(ledger)
        assert reader.answer("a-1") is not None


def test_compacting_keeps_everything_else(ledger: Ledger) -> None:
    number = candidate(ledger)
    record(ledger)
    ledger.compact()
    assert ledger.release("handbook", number).state == "candidate"
    assert ledger.answer("a-1") is not None


def _open_and_create(url: str, count: int) -> list[int]:
    with closing(Ledger(url)) as ledger:
        return [start(ledger) for _ in range(count)]


def test_processes_that_open_and_create_at_once_never_share_a_number(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        numbers = [n for part in pool.map(_open_and_create, [url] * 4, [10] * 4) for n in part]
    assert sorted(numbers) == list(range(1, 41))


def test_everything_is_there_after_reopening(url: str, ledger: Ledger) -> None:
    number = candidate(ledger)
    ledger.publish("handbook", number, reason="first")
    before = ledger.releases("handbook")
    ledger.close()
    with closing(Ledger(url)) as reopened:
        assert reopened.live("handbook") == number
        assert reopened.releases("handbook") == before


PASSAGE = Passage(
    "c-1",
    "d-1",
    "travel.md",
    "r-1",
    4,
    "Travel",
    ("Trains",),
    2,
    100,
    140,
    "Trains come first. Planes come second.",
    0.03,
)
CITATION = Citation("d-1", 100, 118, "Trains come first.", "travel.md", "Travel", ("Trains",), 2, "r-1", "c-1")
ANSWER = Answer(
    "a-1",
    "What comes first?",
    (Sentence("Trains come first.", (CITATION,), 0.8),),
    refused=False,
    reason=None,
    release=4,
    method="extractive/1",
)


def record(ledger: Ledger, answer: Answer = ANSWER, *, passages=(PASSAGE,), **options) -> None:
    ledger.record_answer(
        "handbook",
        answer,
        passages=passages,
        principal=Principal(frozenset({"staff", "hr"}), "portal"),
        parameters={"min_support": 0.45},
        seconds=0.02,
        **{"scrub": str, **options},
    )


def test_an_answer_from_a_document_that_was_erased_meanwhile_leaves_nothing(ledger: Ledger) -> None:
    erase(ledger, PASSAGE.key, doc_id=PASSAGE.doc_id)
    record(ledger)
    assert ledger.answer("a-1") is None
    ledger.lift_erasures("handbook", [PASSAGE.key])
    record(ledger)
    assert ledger.answer("a-1") is not None


def test_an_answer_from_what_is_attached_to_an_erased_mail_leaves_nothing(ledger: Ledger) -> None:
    erase(ledger, "in/a.eml", doc_id=document_id("handbook", "in/a.eml"))
    for key in ("in/a.eml!/salary.pdf", "in/a.eml!/b.eml!/c.txt"):
        record(ledger, passages=[replace(PASSAGE, doc_id=document_id("handbook", key), key=key)])
        assert ledger.answer("a-1") is None
    other = "in/b.eml!/salary.pdf"
    record(ledger, passages=[replace(PASSAGE, doc_id=document_id("handbook", other), key=other)])
    assert ledger.answer("a-1") is not None


def test_an_answer_can_be_looked_up_with_all_that_it_takes_to_reproduce_it(ledger: Ledger) -> None:
    record(ledger)
    found = ledger.answer("a-1")
    assert found is not None
    assert (found.corpus, found.release, found.question, found.method) == (
        "handbook",
        4,
        "What comes first?",
        "extractive/1",
    )
    assert (found.principal, found.groups) == ("portal", ("hr", "staff"))
    assert (found.parameters, found.refused, found.reason, found.seconds) == ({"min_support": 0.45}, False, None, 0.02)
    assert found.passages == (
        {
            "chunk_id": "c-1",
            "doc_id": "d-1",
            "key": "travel.md",
            "revision": "r-1",
            "start": 100,
            "end": 140,
            "score": 0.03,
        },
    )
    (citation,) = found.sentences[0]["citations"]
    assert (citation["doc"], citation["revision"], citation["start"], citation["end"]) == ("d-1", "r-1", 100, 118)
    assert found.asked_at.utcoffset() == timedelta(0)
    assert ledger.answer("a-2") is None


def test_a_refusal_is_recorded_with_its_reason(ledger: Ledger) -> None:
    record(ledger, Answer("a-9", "Why?", (), True, "Nothing was found.", 4, "extractive/1"))
    found = ledger.answer("a-9")
    assert found is not None and found.refused and found.reason == "Nothing was found." and found.sentences == ()


def test_the_question_is_scrubbed_before_it_is_stored(ledger: Ledger) -> None:
    record(ledger, scrub=lambda question: question.replace("first", "<X>"))
    found = ledger.answer("a-1")
    assert found is not None and found.question == "What comes <X>?"


def test_no_document_text_is_stored(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        record(ledger)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"What comes first?" in stored
    assert b"Trains come first" not in stored


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(url: str, ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_migration_that_fails_leaves_no_half_made_schema(url: str) -> None:
    def stop(_connection, _cursor, statement, *_rest) -> None:
        if "CREATE INDEX answers_by_corpus" in statement:
            raise RuntimeError("power cut")

    sa.event.listen(sa.Engine, "before_cursor_execute", stop)
    try:
        with pytest.raises(RuntimeError, match="power cut"):
            Ledger(url)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", stop)
    with closing(Ledger(url)) as ledger:
        assert start(ledger) == 1


def test_a_ledger_of_the_first_version_is_upgraded_with_what_it_holds(url: str) -> None:
    engine = create_engine(url)
    with write_transaction(engine) as connection:
        migrate_to(connection, "0001")
        connection.execute(sa.text("INSERT INTO corpora VALUES ('handbook', 2, 1)"))
        insert = "INSERT INTO releases VALUES ('handbook', {0}, '{1}', NULL, 'minilm', '2026-01-05', {2}, NULL, '{3}', '{4}', '[]')"
        for row in (
            (1, "live", "'2026-01-06'", {"source_objects": 3, "chunks": 2}),
            (2, "building", "NULL", {}),
        ):
            connection.exec_driver_sql(insert.format(*row[:3], json.dumps(row[3]), json.dumps({"points": 8})))
    engine.dispose()
    with closing(Ledger(url)) as ledger:
        live, building = ledger.release("handbook", 1), ledger.release("handbook", 2)
        assert (live.state, live.counts, live.table_versions) == (
            "live",
            {"points": 8},
            {"source_objects": 3, "chunks": 2},
        )
        assert (live.settings, live.readers_version, live.redacted) == ({}, 3, False)
        assert building.readers_version is None
        assert (ledger.pointer("handbook").live, ledger.pointer("handbook").generation) == (1, 0)
        assert ledger.pin("handbook") is None
        assert start(ledger) == 3


def migrate_to(connection: sa.Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def test_opening_a_current_ledger_does_not_load_alembic(url: str, ledger: Ledger) -> None:
    code = "import sys; from headwater.ledger import Ledger; Ledger(sys.argv[1]); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_ledger_of_a_newer_version_is_refused(url: str, ledger: Ledger) -> None:
    engine = create_engine(url)
    with write_transaction(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigError, match="9999"):
        Ledger(url)


@pytest.mark.parametrize("url", ["not a url", "oracle+nothing://host/db", "postgresql+nosuchdriver://u:hunter2@h/db"])
def test_an_unusable_url_is_a_configuration_error_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Ledger(url)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_cannot_be_opened_is_said_in_words_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("Not a database, although there is a file of this name. " * 20)
    (tmp_path / "folder.db").mkdir()
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for url, said in (
            (f"sqlite:///{tmp_path}/text.db", "text.db can't be opened: file is not a database"),
            (f"sqlite:///{tmp_path}/folder.db", "folder.db can't be opened: unable to open database file"),
            (
                f"postgresql+psycopg://u:hunter2@127.0.0.1:{port}/ledger",
                f"127.0.0.1:{port}/ledger can't be opened: .*refused",
            ),
        ):
            with pytest.raises(LedgerError, match=said) as caught:
                Ledger(url)
            assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="can't be made"):
        Ledger(f"sqlite:///{tmp_path}/text.db/ledger.db")


def test_an_error_of_the_database_repeats_no_value(url: str, ledger: Ledger) -> None:
    engine = create_engine(url)
    with write_transaction(engine) as connection:
        connection.exec_driver_sql("DROP TABLE erasures")
    engine.dispose()
    with pytest.raises(LedgerError, match=r"failed: .*erasures") as caught:
        ledger.record_erasure(
            "handbook",
            key="hr/Ada Lovelace.pdf",
            doc_id="d",
            revision=None,
            etag=None,
            size=None,
            last_modified=None,
            receipt={},
        )
    assert "Lovelace" not in str(caught.value)


def test_an_error_of_the_database_quotes_no_row(url: str, ledger: Ledger) -> None:
    engine, key = create_engine(url), "hr/Ada_Lovelace.pdf".replace("_", " ")
    with pytest.raises(LedgerError, match="failed: ") as caught, write_transaction(engine) as connection:
        connection.execute(sa.text("INSERT INTO erasures (corpus, key) VALUES ('hr', :key)"), {"key": key})
    engine.dispose()
    assert key not in "".join(traceback.format_exception(caught.value))


def test_who_saw_personal_data_stays_known_when_older_rows_are_put_in_place(ledger: Ledger) -> None:
    def reveal(reason: str) -> None:
        ledger.record_reveal("handbook", who="os:ada", reason=reason, entities={"IBAN_CODE": 1}, documents=["d"])

    start(ledger)
    reveal("before the backup")
    with ledger.exported("handbook") as tables:
        stored = {name: list(rows) for name, rows in tables}
    reveal("since")
    for _ in range(2):  # a restore clears twice
        ledger.clear_rows("handbook")
    ledger.import_rows({name: iter(rows) for name, rows in stored.items()}, "handbook")
    assert [found.reason for found in ledger.reveals("handbook")] == ["since", "before the backup"]


READ = """
import sys
from contextlib import closing
from pathlib import Path
from headwater.ledger import Ledger

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

url, how = sys.argv[1:]
with closing(Ledger(url)) as ledger:
    ledger.answer("none")  # the driver is loaded
    with ledger.exported("handbook") as tables:
        rows = {
            "exported": lambda: next(rows for name, rows in tables if name == "answers"),
            "each_answer": lambda: ledger.each_answer("handbook"),
            "texts": lambda: (value for _, values in ledger.texts() for value in values),
        }[how]()
        start, peak = resident(), 0
        for count, _ in enumerate(rows, 1):
            if count % 100 == 1:
                peak = max(peak, resident() - start)
print(count, peak)
"""


def test_a_long_table_is_not_held_in_memory_while_it_is_read_from_a_server(postgres_url: str) -> None:
    answers = 12_500
    engine = create_engine(postgres_url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO answers (id, corpus, release, question, asked_at, principal, groups, method, parameters,"
            " passages, sentences, refused, seconds) SELECT md5(i::text), 'handbook', 1, 'q', now(), 'p', '[]', 'm',"
            f" '{{}}', json_build_array(repeat('x', 8000)), '[]', false, 1 FROM generate_series(1, {answers}) i"
        )
    engine.dispose()
    for how in ("exported", "each_answer", "texts"):  # each in a process of its own, which has no memory left over
        done = subprocess.run([sys.executable, "-c", READ, postgres_url, how], check=True, capture_output=True)
        rows, grown = map(int, done.stdout.split())
        assert rows >= answers
        assert grown < 20e6, how  # of 100 MB


def test_naive_times_are_refused_and_others_become_utc() -> None:
    column = UtcDateTime()
    dialect = sa.create_engine("sqlite://").dialect
    with pytest.raises(ValueError, match="naive"):
        column.process_bind_param(datetime(2026, 1, 1), dialect)
    local = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    stored = column.process_bind_param(local, dialect)
    assert column.process_result_value(stored, dialect) == local
    assert stored == datetime(2026, 1, 1, 10)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["create", "pass", "fail", "publish", "drop"]), st.integers(1, 6)), max_size=25
    )
)
def test_after_any_history_exactly_the_pointed_release_is_live(tmp_path: Path, actions) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        corpus = f"corpus-{os.urandom(8).hex()}"
        moves = {"pass": "candidate", "fail": "rejected", "drop": "dropped"}
        published = None
        created = 0
        for action, number in actions:
            try:
                if action == "create":
                    created += 1
                    assert start(ledger, corpus) == created
                elif action == "publish":
                    ledger.publish(corpus, number, reason="step")
                    published = number
                else:
                    ledger.set_state(corpus, number, moves[action])
            except (ReleaseError, NotFoundError):
                pass
            live = [info.number for info in ledger.releases(corpus) if info.state == "live"]
            assert live == ([published] if published else [])
            assert ledger.live(corpus) == published
