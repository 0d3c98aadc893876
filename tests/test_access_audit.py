"""The audit log: who did what, in batches, never any text, never waited for, and never lost without a word."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from typer.testing import CliRunner

from headwater.audit import audited, operator
from headwater.cli import app
from headwater.corpus import Corpus
from headwater.erase import erase
from headwater.errors import LedgerError, NotFoundError
from headwater.ledger import AuditEntry, Ledger
from headwater.ledger.schema import audit, metadata
from headwater.project import Project
from serving import create_app
from serving.access import Access
from serving.access.trail import Trail
from tests.conftest import SMALL

runner = CliRunner()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path}/audit/ledger.db")) as opened:
        yield opened


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.01)


def entry(number: int, **fields: object) -> AuditEntry:
    return AuditEntry(**({"who": f"key:{number}", "action": "answer", "corpus": "works"} | fields))  # type: ignore[arg-type]


# --- the ledger's part ------------------------------------------------------------------------------------------------


def test_entries_come_back_newest_first_and_by_what_they_are(ledger: Ledger) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    made = [
        entry(1, at=start, counts={"sentences": 3}, release=4, target="a1", request_id="r"),
        entry(2, at=start + timedelta(days=1), corpus="other"),
        entry(1, at=start + timedelta(days=2), action="release.promote"),
        entry(3, at=start + timedelta(days=3), action="releases", corpus=None, outcome="failed"),
    ]
    ledger.record_audit(made)
    ledger.record_audit([])
    assert ledger.audit_entries() == made[::-1]
    assert ledger.audit_entries(corpus="works") == [made[2], made[0]]
    assert ledger.audit_entries(who="key:1", limit=1) == [made[2]]
    assert ledger.audit_entries(action="release") == [made[2]]
    assert ledger.audit_entries(since=start + timedelta(days=2)) == [made[3], made[2]]
    assert ledger.audit_entries(action="%") == []


def test_old_entries_go_and_younger_ones_stay(ledger: Ledger) -> None:
    limit = datetime(2026, 5, 1, tzinfo=UTC)
    ledger.record_audit([entry(1, at=limit - timedelta(seconds=1)), entry(2, at=limit)])
    assert ledger.expire_audit(limit) == 1
    assert [one.who for one in ledger.audit_entries()] == ["key:2"]


def test_an_action_is_entered_however_it_ends(ledger: Ledger) -> None:
    with audited(ledger, "key.create", who="key:1") as noted:
        noted.add(target="k1")
    with pytest.raises(NotFoundError), audited(ledger, "release.promote", corpus="works") as noted:
        noted.add(release=7)
        raise NotFoundError("gone")
    with pytest.raises(ZeroDivisionError), audited(ledger, "release.rollback", corpus="works"):
        _ = 1 / 0
    with pytest.raises(LedgerError), audited(ledger, "release.pin", corpus="works"):
        raise LedgerError("The ledger's database failed.")
    found = [(one.who, one.action, one.release, one.target, one.outcome) for one in ledger.audit_entries()]
    assert sorted(found, key=str) == sorted(
        [
            ("key:1", "key.create", None, "k1", "ok"),
            (operator(), "release.promote", 7, None, "refused"),
            (operator(), "release.rollback", None, None, "failed"),
            (operator(), "release.pin", None, None, "failed"),
        ],
        key=str,
    )


def test_an_audit_log_that_cant_be_written_hides_no_error(ledger: Ledger) -> None:
    drop(ledger)
    with pytest.raises(NotFoundError), audited(ledger, "release.promote"):
        raise NotFoundError("gone")
    with pytest.raises(LedgerError), audited(ledger, "release.promote"):
        pass  # done without a record: said, not swallowed


# --- on its way -------------------------------------------------------------------------------------------------------


def drop(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        audit.drop(connection)


def bring_back(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        metadata.create_all(connection, [audit])


def test_many_entries_of_many_threads_all_arrive(ledger: Ledger) -> None:
    trail = Trail(ledger, retention_days=10)
    trail.start()

    def add(first: int) -> None:
        for number in range(300):
            trail.add(entry(first + number))

    threads = [threading.Thread(target=add, args=(1000 * number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    assert trail.dropped == 0
    assert len({one.who for one in ledger.audit_entries()}) == 1500


def test_entries_are_written_soon_without_being_closed(ledger: Ledger) -> None:
    trail = Trail(ledger, retention_days=10)
    trail.start()
    trail.add(entry(1))
    until(lambda: len(ledger.audit_entries()) == 1)
    trail.close()


def test_entries_that_follow_one_another_are_written_together(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    really = ledger.record_audit
    monkeypatch.setattr(ledger, "record_audit", lambda rows: (written.append(len(rows)), really(rows)))
    monkeypatch.setattr("serving.access.trail._GATHER_SECONDS", 1.0)
    trail = Trail(ledger, retention_days=10)
    trail.start()
    for number in range(20):
        trail.add(entry(number))
        time.sleep(0.005)
    until(lambda: len(ledger.audit_entries()) == 20)
    trail.close()
    assert written == [20]


def test_refusals_that_are_repeated_within_a_minute_are_counted(ledger: Ledger) -> None:
    moment = [0.0]
    trail = Trail(ledger, retention_days=30, clock=lambda: moment[0])
    for _ in range(5):
        trail.refused(entry(1, action="access", target="admin", outcome="refused"))
    trail.refused(entry(2, action="access", target="admin", outcome="refused"))
    moment[0] = 61.0
    for _ in range(3):
        trail.refused(entry(1, action="access", target="admin", outcome="refused"))
    trail.start()
    trail.close()
    told = [(one.who, one.counts.get("attempts")) for one in ledger.audit_entries(action="access")]
    # A minute is entered when the next begins, or as soon as the writer looks.
    assert sorted(told, key=str) == sorted(
        [("key:1", None), ("key:1", 4), ("key:1", None), ("key:1", 2), ("key:2", None)], key=str
    )


def test_what_does_not_fit_is_dropped_at_once_counted_and_told(ledger: Ledger) -> None:
    trail = Trail(ledger, retention_days=10, size=20)
    started = time.monotonic()
    for number in range(50):
        trail.add(entry(number))
    assert time.monotonic() - started < 10  # nobody waited: thirty did not fit
    assert trail.dropped == 30
    trail.start()
    trail.close()
    written = ledger.audit_entries()
    assert len(written) == 21
    (told,) = [one for one in written if one.action == "audit.dropped"]
    assert (told.who, told.outcome, told.counts) == ("service", "failed", {"entries": 30})


def test_entries_wait_while_the_ledger_cant_be_written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.access.trail._RETRY_SECONDS", 0.05)
    drop(ledger)
    trail = Trail(ledger, retention_days=10)
    trail.start()
    for number in range(5):
        trail.add(entry(number))
    until(lambda: trail._queue.empty())
    bring_back(ledger)
    trail.close()
    assert trail.dropped == 0
    assert len(ledger.audit_entries()) == 5


def test_what_is_lost_at_the_end_is_told_in_the_log(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    drop(ledger)
    trail = Trail(ledger, retention_days=10)
    for number in range(3):
        trail.add(entry(number))
    trail.start()
    trail.close()
    (lost,) = [record for record in caplog.records if record.message == "audit entries were lost"]
    assert lost.fields == {"entries": 3}


def test_the_service_deletes_entries_beyond_their_time(ledger: Ledger) -> None:
    old, young = datetime.now(UTC) - timedelta(days=11), datetime.now(UTC) - timedelta(days=9)
    ledger.record_audit([entry(1, at=old), entry(2, at=young)])
    trail = Trail(ledger, retention_days=10)
    trail.start()
    until(lambda: len(ledger.audit_entries()) == 1)
    trail.close()
    assert ledger.audit_entries()[0].who == "key:2"


def test_without_a_ledger_nothing_is_kept_and_nothing_breaks() -> None:
    trail = Trail(None, retention_days=10)
    trail.start()
    trail.add(entry(1))
    trail.used("k")
    trail.close()
    assert trail.dropped == 0


# --- what is entered --------------------------------------------------------------------------------------------------


def test_reading_is_entered_with_counts_and_ids_and_without_a_word(ledger: Ledger, small_corpus: Corpus) -> None:
    _, text = ledger.create_api_key(
        "kiosk", scopes=["search", "answer", "documents", "receipts"], groups=["hr"], who="os:test"
    )
    headers = {"Authorization": f"Bearer {text}", "X-Request-ID": "request-7"}
    question = "How many days of paid leave does everyone have?"
    with TestClient(create_app(corpora={SMALL: small_corpus}, access=Access(ledger=ledger))) as client:
        found = client.post("/v1/retrieve", json={"corpus": SMALL, "query": question}, headers=headers).json()
        answer = client.post("/v1/answer", json={"corpus": SMALL, "question": question}, headers=headers).json()
        doc = found["passages"][0]["doc_id"]
        assert client.get(f"/v1/documents/{doc}", params={"corpus": SMALL}, headers=headers).status_code == 200
        assert client.get("/v1/receipts", params={"corpus": SMALL}, headers=headers).status_code == 200
    entries = {one.action: one for one in ledger.audit_entries()}
    who = f"key:{ledger.api_keys()[0].id}"
    assert set(entries) >= {"search", "answer", "document.read", "receipts.read"}
    assert {(one.who, one.corpus, one.request_id) for one in entries.values()} == {(who, SMALL, "request-7")}
    assert entries["search"].counts["passages"] == len(found["passages"])
    assert (entries["answer"].target, entries["answer"].release) == (answer["id"], answer["release"])
    assert entries["document.read"].target == doc
    with ledger._engine.connect() as connection:
        stored = str(connection.execute(sa.select(audit)).all()).lower()
    assert not any(word in stored for word in ("paid", "leave", "twenty-eight", "hr", ".md"))


def test_erasing_is_entered(indexed_copy: Project) -> None:
    from headwater.corpus import open_corpus

    with open_corpus(indexed_copy.root / "assets" / SMALL) as corpus:
        erase(corpus, "gauge.md", reason="Asked by the owner.", who="key:1")
        with pytest.raises(NotFoundError):
            erase(corpus, "nothing.md", reason="Asked by the owner.")
        found = corpus.ledger.audit_entries(action="document")
    assert [(one.who, one.outcome) for one in found] == [(operator(), "refused"), ("key:1", "ok")]
    assert all("gauge" not in str(one) for one in found)


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str, fails: bool = False) -> str:
    result = runner.invoke(app, ["audit", *arguments])
    assert (result.exit_code != 0) == fails, result.output
    return result.output


@pytest.fixture
def filled(project: Project) -> Project:
    project.home.mkdir(parents=True, exist_ok=True)
    with closing(Ledger(project.ledger_url)) as ledger:
        now = datetime.now(UTC)
        ledger.record_audit(
            [
                entry(1, at=now - timedelta(days=9), counts={"sentences": 2}, release=4),
                entry(2, at=now - timedelta(hours=3), action="release.promote", corpus="other"),
            ]
        )
    return project


def test_the_command_shows_who_did_what(filled: Project) -> None:
    shown = run()
    assert "key:1" in shown and "sentences 2" in shown and "release.promote" in shown
    found = json.loads(run("--json"))
    assert [one["who"] for one in found] == ["key:2", "key:1"]
    assert found[1]["counts"] == {"sentences": 2}


@pytest.mark.parametrize(
    ("options", "who"),
    [
        (["--corpus", "other"], ["key:2"]),
        (["--since", "1d"], ["key:2"]),
        (["--since", "2020-01-01"], ["key:2", "key:1"]),
        (["--who", "key:1"], ["key:1"]),
        (["--action", "release"], ["key:2"]),
        (["--limit", "1"], ["key:2"]),
        (["--corpus", "nothing"], []),
    ],
)
def test_the_command_chooses(filled: Project, options: list[str], who: list[str]) -> None:
    assert [one["who"] for one in json.loads(run(*options, "--json"))] == who


def test_an_empty_log_and_a_wrong_time_say_so(project: Project) -> None:
    assert "no such entry" in run()
    for moment in ("yesterday", "0001-01-01T00:00:00+14:00"):
        assert "neither a date" in " ".join(run("--since", moment, fails=True).split())
