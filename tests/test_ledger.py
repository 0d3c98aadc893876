"""The ledger: numbers are never reused, the live pointer moves in one step, answers can be looked up again."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError, NotFoundError, ReleaseError
from headwater.ledger import Ledger
from headwater.ledger.engine import create_engine
from headwater.ledger.engine import write as write_transaction
from headwater.ledger.migrate import MIGRATIONS
from headwater.ledger.schema import HEAD, UtcDateTime, metadata
from headwater.reports import GateCheck
from headwater.types import Answer, Citation, Passage, Principal, Sentence

POSTGRES = os.environ.get("HEADWATER_TEST_POSTGRES_URL")
"""An empty PostgreSQL database to run these tests on too."""


@pytest.fixture(params=["sqlite", "postgres"] if POSTGRES else ["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/home/ledger.db"
        return
    engine = create_engine(POSTGRES)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    yield POSTGRES


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


def record(ledger: Ledger, answer: Answer = ANSWER, **options) -> None:
    ledger.record_answer(
        "handbook",
        answer,
        passages=[PASSAGE],
        principal=Principal(frozenset({"staff", "hr"}), "portal"),
        parameters={"min_support": 0.45},
        seconds=0.02,
        **options,
    )


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
