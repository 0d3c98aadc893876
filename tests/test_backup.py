"""Backup, restore and disaster: the live release answers as before, and what is not whole is not put in place."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from headwater.api_keys import split_key
from headwater.backup import backup, check, restore
from headwater.backup.packing import packed, unpack
from headwater.backup.places import Place
from headwater.cli import app
from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.errors import BackupError, ConfigError, LakeError, LeaseError, NotFoundError, ReleaseError
from headwater.index.edge import EdgeEngine
from headwater.lake_folder import LakeFolder
from headwater.lake_owner import OWNER_FILE
from headwater.ledger import Ledger
from headwater.ledger.migrate import status
from headwater.ledger.schema import HEAD, erasures
from headwater.pipeline import Pipeline
from headwater.project import Project, project_at
from headwater.rebuild import rebuild_releases
from headwater.releases import apply_permissions, collect_garbage, promote, rollback
from headwater.restore_mark import MARK_FILE, remove_mark
from headwater.snapshots import restore_snapshot, take_snapshot
from headwater.types import Principal
from tests.conftest import SMALL, SMALL_ACCESS, SMALL_FILES, use_project, write_corpus
from tests.qdrant_server import qdrant_server
from tests.release_engines import QUIET, memory_engine

CHECKOUT = Path(__file__).parent.parent
QUESTIONS = ("How long does the battery last?", "How many days of paid leave?", "What does the opera cost?")
HR = Principal(frozenset({"hr"}))
GAUGE = "gauge.md"
TRAVEL = "policies/travel.html"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two releases, the older of which was narrowed and lost a document to an erasure."""
    root = tmp_path_factory.mktemp("backup") / "project"
    with pytest.MonkeyPatch.context() as patch:
        project = use_project(root, patch)
        folder = write_corpus(root, SMALL, SMALL_FILES, access=SMALL_ACCESS)
        with opened(project) as corpus:
            Pipeline(corpus, workers=1).run()
            gauge = folder / "documents" / "gauge.md"
            gauge.write_text(gauge.read_text().replace("nine years", "eleven years"))
            (folder / "documents" / "policies" / "travel.html.acl.json").write_text('{"groups": ["hr"]}')
            Pipeline(corpus, workers=1).run()
            erase(corpus, "hr/pay.md", reason="asked for")
            corpus.answer(QUESTIONS[0])
    return root


@pytest.fixture
def project(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root = tmp_path / "project"
    shutil.copytree(indexed, root)
    return use_project(root, monkeypatch)


@pytest.fixture(scope="module")
def saved(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of that project; read it, or copy it."""
    target = tmp_path_factory.mktemp("saved") / "backup"
    with pytest.MonkeyPatch.context() as patch:
        backup(use_project(indexed, patch), str(target))
    return target


def opened(project: Project) -> Corpus:
    return open_corpus(project.root / "assets" / SMALL)


def lose_all(project: Project) -> None:
    shutil.rmtree(project.home)


def passages(corpus: Corpus, release: int | None = None) -> list[Any]:
    return [
        (question, passage.chunk_id, passage.score, passage.text)
        for question in QUESTIONS
        for principal in (None, HR)
        for passage in corpus.search(question, 10, principal=principal, release=release)
    ]


def state(project: Project) -> dict[str, Any]:
    """Return everything that a restore has to bring back."""
    with opened(project) as corpus:
        answers = [corpus.answer(question, principal=HR) for question in QUESTIONS]
        return {
            "passages": {number: passages(corpus, number) for number in (1, 2)},
            "answers": [(a.refused, a.release, a.reason, a.sentences) for a in answers],
            "receipts": corpus.receipts(),
            "releases": corpus.releases(),
            "erasures": corpus.ledger.erasures(SMALL),
            "status": corpus.status(),
        }


def secret_of(text: str) -> tuple[str, str]:
    found = split_key(text)
    assert found is not None
    return found


def new_release(corpus: Corpus) -> int:
    return corpus.ledger.create_release(SMALL, parent=None, spec="x", table_versions={}, counts={})


def keys_found(project: Project, question: str = "How long does the battery last?") -> set[str]:
    with opened(project) as corpus:
        return {p.key for release in (None, 1) for p in corpus.search(question, 30, principal=HR, release=release)}


@pytest.mark.slow
def test_after_backup_wipe_and_restore_everything_is_as_before_and_nothing_is_left_to_do(
    indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = use_project(indexed, monkeypatch)  # where it is: to a copy of the documents, all would be new
    before = state(project)
    report = backup(project, str(tmp_path / "backup"))
    assert report.corpora == (SMALL,) and report.files == len(check(str(tmp_path / "backup")).files)
    lose_all(project)
    restored = restore(project, str(tmp_path / "backup"))
    assert restored.live == {SMALL: 2} and not restored.rebuilt and not restored.erased
    assert state(project) == before
    with opened(project) as corpus:
        actions = [entry.action for entry in corpus.ledger.audit_entries()]
        assert "document.erase" in actions and "backup.restore" in actions
        done = Pipeline(corpus, workers=1).run()
        # The erased object's own row says from now on that it stays out; nothing else is computed.
        assert done.release == 2 and {stage.stage for stage in done.stages if stage.recomputed} <= {"source_objects"}


def change_byte(folder: Path) -> None:
    file = next(folder.glob("lake/*/embeddings/*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(folder: Path) -> None:
    file = next(folder.glob("index/*/2/release.json.zst"))
    file.write_bytes(file.read_bytes()[:-1])


def lose_file(folder: Path) -> None:
    (folder / "ledger" / SMALL / "releases.jsonl").unlink()


def change_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"live": 2', '"live": 1'))


def interrupt(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "backup.started").touch()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (change_byte, r"embeddings/.* is not what was written"),
        (cut, r"release\.json\.zst is not what was written"),
        (lose_file, r"releases\.jsonl is missing"),
        (change_manifest, r"manifest\.json is damaged"),
        (interrupt, "was interrupted"),
        (shutil.rmtree, "holds no backup"),
    ],
)
def test_a_backup_that_is_not_whole_is_recognised_before_anything_is_changed(
    project: Project, saved: Path, tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    copy = tmp_path / "backup"
    shutil.copytree(saved, copy)
    harm(copy)
    lose_all(project)
    with pytest.raises(BackupError, match=message):
        restore(project, str(copy))
    with pytest.raises(BackupError, match=message):
        check(str(copy))
    assert not (project.home / "lake" / SMALL / "chunks").exists()


def rewritten(saved: Path, copy: Path, revision: str, change: Callable[[str, dict[str, Any]], bool]) -> None:
    """Copy a backup as another version would have made it: ``change`` edits a row of a table, False leaves the table out."""
    shutil.copytree(saved, copy)
    manifest = json.loads((copy / "manifest.json").read_text())["backup"]
    for file in sorted(copy.glob("ledger/*/*.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        key = file.relative_to(copy).as_posix()
        if not all(change(file.stem, row) for row in rows or [{}]):
            file.unlink()
            del manifest["files"][key]
            continue
        content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        file.write_bytes(content)
        manifest["files"][key] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    newer = revision > HEAD
    manifest |= {"schema_revision": revision, "version": "9.1.0" if newer else "0.0.9"}
    if newer:
        manifest["made_of"] = "what this version does not know"
    write_stored_manifest(copy, manifest)


def write_stored_manifest(folder: Path, body: dict[str, Any]) -> None:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"sha256": digest, "backup": body}))


def add_column(table: str, row: dict[str, Any]) -> bool:
    if table == "releases":
        row["weather"] = "fair"
    return True


def lose_column(table: str, row: dict[str, Any]) -> bool:
    if table == "answers":
        row.pop("question", None)
    return True


def lose_value(table: str, row: dict[str, Any]) -> bool:
    if table == "corpora":
        row["last_release"] = None
    return True


def lose_time(table: str, row: dict[str, Any]) -> bool:
    if table == "releases":
        row["created_at"] = "yesterday"
    return True


def keep(_table: str, _row: dict[str, Any]) -> bool:
    return True


@pytest.mark.parametrize(
    ("revision", "change", "message"),
    [
        ("0815", keep, r"Headwater 9\.1\.0, in a form .*schema 0815.*Install Headwater 9\.1\.0 or a newer version"),
        (HEAD, add_column, r"ledger/works/releases\.jsonl can't be restored\. Row 1: .*releases has no column weather"),
        (HEAD, lose_column, r"ledger/works/answers\.jsonl can't be restored\. Row 1: .*answers lacks question"),
        (HEAD, lose_value, r"ledger/works/corpora\.jsonl can't be restored\. Row 1: .*corpora lacks last_release"),
        (HEAD, lose_time, r"ledger/works/releases\.jsonl can't be restored\. Row 1: .*created_at .*is no time"),
    ],
)
def test_a_backup_whose_rows_the_ledger_could_not_take_is_refused_before_anything_is_changed(
    project: Project, saved: Path, tmp_path: Path, revision: str, change: Callable[..., bool], message: str
) -> None:
    rewritten(saved, tmp_path / "backup", revision, change)
    refused_and_unchanged(project, tmp_path / "backup", message)


def test_a_backup_with_a_table_that_this_version_does_not_have_is_refused_before_anything_is_changed(
    project: Project, saved: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "backup"
    rewritten(saved, copy, HEAD, keep)
    body = json.loads((copy / "manifest.json").read_text())["backup"]
    (copy / "ledger" / SMALL / "tides.jsonl").write_bytes(b"")
    body["files"][f"ledger/{SMALL}/tides.jsonl"] = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    write_stored_manifest(copy, body)
    refused_and_unchanged(project, copy, r"ledger/works/tides\.jsonl can't be restored\. .*no ledger table tides")


def refused_and_unchanged(project: Project, place: Path, message: str) -> None:
    with opened(project) as corpus:
        before = (corpus.releases(), list(corpus.ledger.each_answer(SMALL)))
    files = {path: path.stat().st_mtime_ns for path in (project.home / "lake").rglob("*") if path.is_file()}
    for refused in (partial(restore, project, str(place), force=True), partial(check, str(place))):
        with pytest.raises(BackupError, match=message) as caught:
            refused()
        assert "Nothing was changed" in str(caught.value)
    with opened(project) as corpus:
        assert (corpus.releases(), list(corpus.ledger.each_answer(SMALL))) == before
        assert {path: path.stat().st_mtime_ns for path in (project.home / "lake").rglob("*") if path.is_file()} == files
        with corpus.writing():
            pass


SINCE = {"0005": {"feedback"}, "0006": {"api_keys", "audit"}, "0007": {"stage_costs"}}
"""Tables of the ledger, by the revision that brought them."""

ANSWERS_BEFORE_0005 = {
    *("id", "corpus", "release", "question", "asked_at", "principal", "groups", "method"),
    *("parameters", "passages", "sentences", "refused", "reason", "seconds"),
}


@pytest.mark.parametrize("revision", ["0004", "0006"])
def test_a_backup_of_an_older_version_is_restored_and_what_was_not_kept_then_has_its_default(
    project: Project, saved: Path, tmp_path: Path, revision: str
) -> None:
    def older(table: str, row: dict[str, Any]) -> bool:
        if table == "answers" and revision < "0005":
            for name in row.keys() - ANSWERS_BEFORE_0005:
                del row[name]
        return not any(table in tables for since, tables in SINCE.items() if since > revision)

    with opened(project) as corpus:
        before = (corpus.releases(), passages(corpus))
        answers = corpus.ledger.answers(SMALL)
    rewritten(saved, tmp_path / "backup", revision, older)
    assert not (tmp_path / "backup" / "ledger" / SMALL / "stage_costs.jsonl").exists()
    assert check(str(tmp_path / "backup")).schema_revision == revision
    lose_all(project)
    assert restore(project, str(tmp_path / "backup")).live == {SMALL: 2}
    with opened(project) as corpus:
        assert (corpus.releases(), passages(corpus)) == before
        assert answers and corpus.ledger.answers(SMALL) == [
            answer if revision > "0004" else replace(answer, searched="", prompt=None, timings={}) for answer in answers
        ]
        assert status(corpus.ledger._engine).state == "current"


def test_a_backup_begins_only_where_nothing_is_or_an_interrupted_one(project: Project, tmp_path: Path) -> None:
    place = tmp_path / "backup"
    place.mkdir()
    (place / "letter.txt").write_text("mine")
    with pytest.raises(BackupError, match="not empty"):
        backup(project, str(place))
    assert (place / "letter.txt").read_text() == "mine"
    (place / "letter.txt").unlink()
    (place / "backup.started").touch()
    (place / "lake" / "half.parquet").parent.mkdir()
    (place / "lake" / "half.parquet").write_bytes(b"half")
    backup(project, str(place))
    assert not (place / "lake" / "half.parquet").exists() and check(str(place))
    with pytest.raises(BackupError, match="holds a backup already"):
        backup(project, str(place))
    with pytest.raises(NotFoundError, match="no corpus 'letters'"):
        backup(project, str(tmp_path / "other"), corpora=["letters"])


def test_a_backup_beside_a_writer_says_who_it_is_or_waits_for_it(project: Project, tmp_path: Path) -> None:
    ledger = Ledger(project.ledger_url)
    token = ledger.acquire_lease(SMALL, "other-machine:7:abc", 60)
    with pytest.raises(LeaseError, match="other-machine"):
        backup(project, str(tmp_path / "backup"))
    with pytest.raises(BackupError, match="interrupted"):
        check(str(tmp_path / "backup"))
    ledger.renew_lease(SMALL, token, 2)  # and no more: its writer is gone
    assert backup(project, str(tmp_path / "backup"), wait=60).files
    ledger.close()


@pytest.mark.slow
def test_an_older_backup_replaces_what_is_there_only_by_force_and_does_not_bring_back_what_was_erased_since(
    project: Project, saved: Path
) -> None:
    with opened(project) as corpus:
        before = passages(corpus)
        token = corpus.ledger.pointer(SMALL).generation
        receipt = erase(corpus, GAUGE, reason="asked for, too")
    assert GAUGE not in keys_found(project)
    with pytest.raises(BackupError, match=r"not empty: the ledger has releases of 'works'.*--force"):
        restore(project, str(saved))
    report = restore(project, str(saved), force=True)
    assert [(one.corpus, one.key, one.proved) for one in report.erased] == [(SMALL, GAUGE, True)]
    assert report.erasures_known
    assert GAUGE not in keys_found(project)
    with opened(project) as corpus:
        (record,) = corpus.ledger.erasures(SMALL, GAUGE)
        assert record.lifted_at is None and record.receipt["reason"] == "asked for, too"
        assert record.receipt["erased_at"] > receipt.erased_at.isoformat()  # the proof of what was restored
        assert corpus.ledger.pointer(SMALL).generation > token + 1
        assert [row for row in passages(corpus) if "battery" in row[3]] == []
        assert len(passages(corpus)) < len(before)
        # What stayed in the bucket stays out.
        Pipeline(corpus, workers=1).run()
        assert corpus.receipts(GAUGE)[0].reason == "erased"


def refused_everywhere(project: Project, corpora: Sequence[str] = (SMALL,)) -> None:
    """Check that nobody reads or writes these corpora, and nothing of them can be made live."""
    for name in corpora:
        with open_corpus(project.root / "assets" / name) as corpus:
            assert corpus.ledger.live(name) is None
            with pytest.raises(NotFoundError, match="no live release"):
                corpus.search(QUESTIONS[0], principal=HR)
            for info in corpus.releases():
                with pytest.raises(ReleaseError, match="is being restored"):
                    corpus.search(QUESTIONS[0], principal=HR, release=info.number)
                with pytest.raises(ReleaseError):
                    promote(corpus, info.number, reason="now", force=True)
            with pytest.raises(ReleaseError):
                rollback(corpus, reason="back")
            writes: tuple[Callable[[], object], ...] = (
                Pipeline(corpus, workers=1).run,
                partial(rebuild_releases, corpus),
                partial(collect_garbage, corpus),
                partial(erase, corpus, "hr/pay.md", reason="asked for"),
                partial(backup, project, str(project.root / f"half-{name}"), corpora=[name]),
            )
            for write in writes:
                with pytest.raises(BackupError, match=r"was not finished.*headwater restore"):
                    write()


def test_what_was_erased_since_can_not_be_found_while_a_restore_is_at_work_or_after_it_failed(
    project: Project, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    with opened(project) as corpus:
        erase(corpus, GAUGE, reason="asked for, too")
    with opened(project) as service, monkeypatch.context() as patch:
        service.search(QUESTIONS[0], release=1, principal=HR)  # it knows how to search these releases
        service.search(QUESTIONS[0], principal=HR)

        def fails(*_: object, **__: object) -> None:
            for release in (None, 1, 2):
                service.refresh()
                with pytest.raises((NotFoundError, ReleaseError)):
                    service.search(QUESTIONS[0], release=release, principal=HR)
                seen.append(release)
            raise LakeError("The ledger's write-ahead log could not be emptied.")

        patch.setattr("headwater.backup.erased.erase", fails)
        with pytest.raises(LakeError):
            restore(project, str(saved), force=True)
    assert seen == [None, 1, 2]
    refused_everywhere(project)
    assert [one.key for one in restore(project, str(saved)).erased] == [GAUGE]
    assert GAUGE not in keys_found(project)
    with opened(project) as corpus:
        assert Pipeline(corpus, workers=1).run().release


RESTORED = """
import os, signal, sys
from headwater.backup import erased, restore
from headwater.index.edge import EdgeEngine
from headwater.ledger import Ledger
from headwater.project import project_at
from pathlib import Path

root, place, listed, where = sys.argv[1:]

def dies(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

owner = {"erase": erased, "redact": EdgeEngine, "set_table_versions": Ledger, "lift_erasures": Ledger,
         "record_erasure": Ledger, "open_restored": Ledger}[where]
setattr(owner, where, dies)
restore(project_at(Path(root)), place, force=True, erasures=Path(listed))
"""


@pytest.mark.parametrize(
    "where",
    [
        "redact",
        *(
            pytest.param(where, marks=pytest.mark.slow)
            for where in ("erase", "record_erasure", "set_table_versions", "open_restored")
        ),
    ],
)
def test_a_restore_killed_while_it_erases_again_shows_nothing_and_the_next_one_erases_the_rest(
    project: Project, saved: Path, tmp_path: Path, where: str
) -> None:
    with opened(project) as corpus:
        erase(corpus, GAUGE, reason="asked for, too")
    listed = tmp_path / "erased.jsonl"
    listed.write_text(json.dumps({"corpus": SMALL, "key": TRAVEL}))
    arguments = [sys.executable, "-c", RESTORED, str(project.root), str(saved), str(listed), where]
    done = subprocess.run(arguments, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    refused_everywhere(project)
    report = restore(project, str(saved))  # without the list
    assert {one.key for one in report.erased} == {GAUGE, TRAVEL}
    assert all(one.proved for one in report.erased)
    assert not {GAUGE, TRAVEL} & {
        *keys_found(project),
        *keys_found(project, "Are trains booked through the office?"),
    }


@pytest.mark.slow
def test_no_corpus_is_live_before_all_of_them_are_erased_again(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(
        project.root, "letters", {"one.md": "# Kiosk\n\nThe kiosk sells maps.\n", "two.md": "# Ferry\n\nTide.\n"}
    )
    with open_corpus(project.root / "assets" / "letters") as letters:
        Pipeline(letters, workers=1).run()
        backup(project, str(tmp_path / "both"))
        erase(letters, "one.md", reason="asked for")
    with opened(project) as corpus:
        erase(corpus, GAUGE, reason="asked for, too")
    calls = []
    with monkeypatch.context() as patch:

        def fails(corpus: Corpus, key: str, **options: Any) -> Any:
            calls.append(key)
            if len(calls) == 2:
                raise LakeError("The disk is full.")
            return erase(corpus, key, **options)

        patch.setattr("headwater.backup.erased.erase", fails)
        with pytest.raises(LakeError, match="disk"):
            restore(project, str(tmp_path / "both"), force=True)
    assert sorted(calls) == [GAUGE, "one.md"]
    refused_everywhere(project, (SMALL, "letters"))
    report = restore(project, str(tmp_path / "both"))
    assert {(one.corpus, one.key) for one in report.erased} == {(SMALL, GAUGE), ("letters", "one.md")}
    assert GAUGE not in keys_found(project)
    with open_corpus(project.root / "assets" / "letters") as letters:
        assert "one.md" not in {passage.key for passage in letters.search("What does the kiosk sell?")}


@pytest.mark.slow
def test_what_was_erased_since_is_told_by_a_list_where_the_ledger_is_lost(
    project: Project, saved: Path, tmp_path: Path
) -> None:
    with opened(project) as corpus:
        erase(corpus, GAUGE, reason="asked for, too")
    backup(project, str(tmp_path / "later"))
    listed = tmp_path / "later" / "ledger" / SMALL / "erasures.jsonl"
    lose_all(project)
    assert not restore(project, str(saved)).erasures_known
    assert GAUGE in keys_found(project)
    lose_all(project)
    report = restore(project, str(saved), erasures=listed)
    assert [one.key for one in report.erased] == [GAUGE] and report.erasures_known
    assert GAUGE not in keys_found(project)
    lose_all(project)
    listed.write_text('{"key": "x"}\n')
    with pytest.raises(BackupError, match=r"erasures\.jsonl:1: not an erasure"):
        restore(project, str(saved), erasures=listed)


@pytest.mark.slow
def test_keys_that_were_revoked_stay_so_and_newer_ones_stay_where_the_ledger_is_not_lost(
    project: Project, tmp_path: Path
) -> None:
    with opened(project) as corpus:
        revoked, text = corpus.ledger.create_api_key("app", scopes=["search"], who="test")
        rotated, old = corpus.ledger.create_api_key("site", scopes=["search"], who="test")
        place = str(tmp_path / "with-keys")
        backup(project, place)
        corpus.ledger.revoke_api_key("app")
        _, new = corpus.ledger.rotate_api_key("site", grace=timedelta())
        later, _ = corpus.ledger.create_api_key("later", scopes=["search"], who="test")
    assert restore(project, place, force=True).keys_known
    with opened(project) as corpus:
        assert {key.id for key in corpus.ledger.api_keys()} == {revoked.id, rotated.id, later.id}
        assert corpus.ledger.api_key_of(*secret_of(text)) is None
        assert corpus.ledger.api_key_of(*secret_of(old)) is None
        assert corpus.ledger.api_key_of(*secret_of(new)) is not None
    lose_all(project)
    assert not restore(project, place).keys_known
    with opened(project) as corpus:
        assert corpus.ledger.api_key_of(*secret_of(text)) is not None


@pytest.mark.slow
def test_which_erasures_are_newer_than_a_backup_no_clock_decides(project: Project, saved: Path) -> None:
    with opened(project) as corpus:
        erase(corpus, GAUGE, reason="asked for, too")
        with corpus.ledger._engine.begin() as connection:  # by a machine whose clock was slow
            slow = check(str(saved)).corpora[SMALL].taken_at - timedelta(hours=1)
            connection.execute(erasures.update().where(erasures.c.key == GAUGE).values(erased_at=slow))
    assert [one.key for one in restore(project, str(saved), force=True).erased] == [GAUGE]
    assert GAUGE not in keys_found(project)


@pytest.mark.slow
def test_a_restore_that_was_killed_forgets_no_number_that_was_given_out(
    project: Project, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(project) as corpus:
        numbers = [new_release(corpus) for _ in range(3)]
        for _ in range(5):
            corpus.ledger.touch(SMALL)
        generation = corpus.ledger.pointer(SMALL).generation
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("headwater.backup.restoring._place_index", dies)
        with pytest.raises(KeyboardInterrupt):
            restore(project, str(saved), force=True)
    assert restore(project, str(saved)).erasures_known
    assert not (project.lake_path(SMALL) / MARK_FILE).exists()
    with opened(project) as corpus:
        assert corpus.ledger.pointer(SMALL).generation > generation
        assert new_release(corpus) > max(numbers)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("lake", "where"),
    [
        ("shared", "_open"),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in (("shared", "_place_index"), ("lost", "_open"))),
    ],
)
def test_a_restore_that_was_killed_together_with_its_home_is_finished_from_another_one(
    project: Project,
    saved: Path,
    tmp_path: Path,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    lake: str,
    where: str,
) -> None:
    monkeypatch.setenv("HEADWATER_LEDGER_URL", postgres_url)
    if lake == "shared":
        monkeypatch.setenv("HEADWATER_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    project = project_at(project.root)
    restore(project, str(saved))
    with opened(project) as corpus:
        erase(corpus, GAUGE, reason="asked for, too")
        numbers = [new_release(corpus) for _ in range(3)]
        for _ in range(5):
            corpus.ledger.touch(SMALL)
        generation = corpus.ledger.pointer(SMALL).generation
    with monkeypatch.context() as patch:
        patch.setattr(f"headwater.backup.restoring.{where}", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(project, str(saved), force=True)
    shutil.rmtree(tmp_path / "home")
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "another"))
    project = project_at(project.root)
    report = restore(project, str(saved))
    assert report.live == {SMALL: 2} and [one.key for one in report.erased] == [GAUGE]
    # What the ledger knows by then may be the backup's: without the lake's mark nobody can tell.
    assert report.erasures_known is (lake == "shared")
    assert GAUGE not in keys_found(project)
    with opened(project) as corpus:
        assert corpus.ledger.pointer(SMALL).generation > generation
        assert new_release(corpus) > max(numbers)
        with corpus.writing():
            pass


def bare(root: Path, *names: str) -> Project:
    """Return a project whose corpora have a number that was given out, and nothing else: quick to back up."""
    for name in names:
        write_corpus(root, name, {})
        with open_corpus(root / "assets" / name) as corpus:
            corpus.ledger.create_release(name, parent=None, spec="x", table_versions={}, counts={})
    return project_at(root)


def test_the_job_that_restores_on_a_cluster_is_the_one_of_the_backup_with_another_command() -> None:
    page = (CHECKOUT / "docs" / "backup.md").read_text()
    patches = [json.loads(text) for text in re.findall(r"^```json\n(\[.*?\])\n```$", page, re.DOTALL | re.MULTILINE)]
    changes = [change for patch in patches for change in patch]
    cron = yaml.safe_load((CHECKOUT / "k8s" / "components" / "backup" / "backup.yaml").read_text())
    assert len(changes) == 4
    for change in changes:
        found = cron["spec"]["jobTemplate"]
        for name in change["path"].removesuffix("/-").strip("/").split("/"):
            found = found[int(name) if name.isdigit() else name]
        assert isinstance(found, list if change["path"].endswith("/-") else type(change["value"]))
    (args,) = (change["value"] for change in changes if change["path"].endswith("/args"))
    container = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["/bin/sh", "-c"] and len(container["args"]) == len(args) == 1
    assert "${BACKUP_DESTINATION}/" in container["args"][0] and "${BACKUP_DESTINATION}/" in args[0]
    program, *arguments = shlex.split(args[0].removeprefix("exec "))
    assert program == "headwater" and arguments[0] == "restore" and "--force" in arguments


def test_numbers_are_not_given_out_again_after_a_restore_that_lost_home_and_lake_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = use_project(tmp_path / "project", monkeypatch).root
    monkeypatch.setenv("HEADWATER_LEDGER_URL", f"sqlite:///{tmp_path}/shared.db")
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    project = bare(root, SMALL)
    backup(project, str(tmp_path / "backup"))
    with opened(project) as corpus:
        numbers = [new_release(corpus) for _ in range(3)]
        generation = corpus.ledger.pointer(SMALL).generation
    with monkeypatch.context() as patch:
        patch.setattr("headwater.backup.restoring._place_lake", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(project, str(tmp_path / "backup"), force=True)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "another"))
    project = project_at(root)
    assert restore(project, str(tmp_path / "backup")).erasures_known
    with opened(project) as corpus:
        assert corpus.ledger.pointer(SMALL).generation > generation
        assert new_release(corpus) > max(numbers)


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_restore_of_two_corpora_that_was_killed_at_its_very_end_is_done_again_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    root = use_project(tmp_path / "project", monkeypatch).root
    project = bare(root, "letters", SMALL)
    backup(project, str(tmp_path / "backup"))
    lose_all(project)
    left = [remove_mark] * removed

    def dies(lake: LakeFolder) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()(lake)

    with monkeypatch.context() as patch:
        patch.setattr("headwater.backup.restoring.remove_mark", dies)
        if removed < 2:
            with pytest.raises(KeyboardInterrupt):
                restore(project, str(tmp_path / "backup"))
        else:
            restore(project, str(tmp_path / "backup"))
    if removed < 2:
        assert not restore(project, str(tmp_path / "backup")).erasures_known  # the ledger was lost, at the first try
    with pytest.raises(BackupError, match="not empty"):
        restore(project, str(tmp_path / "backup"))
    for name in ("letters", SMALL):
        with open_corpus(root / "assets" / name) as corpus, corpus.writing():
            pass


def test_a_lake_of_another_ledger_is_refused_before_it_is_touched(
    project: Project, saved: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_LAKE", f"s3://{s3}/shared")
    lake = Place(f"s3://{s3}/shared/{SMALL}")
    lake.write(".owner", [b"another home"])
    lake.write("chunks/part.parquet", [b"x"])
    with pytest.raises(ConfigError, match="another ledger"):
        restore(project, str(saved), force=True)
    assert b"".join(lake.read(".owner")) == b"another home" and lake.files() == [".owner", "chunks/part.parquet"]


def test_a_restore_that_was_killed_is_done_again_by_the_same_command(
    project: Project, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(project) as corpus:
        before = passages(corpus)
    lose_all(project)
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("headwater.backup.restoring._place_index", dies)
        with pytest.raises(KeyboardInterrupt):
            restore(project, str(saved))
    with opened(project) as corpus, pytest.raises(NotFoundError, match="no live release"):
        corpus.search("anything")
    restore(project, str(saved))
    with opened(project) as corpus:
        assert passages(corpus) == before


@pytest.mark.slow
@QUIET
def test_releases_move_from_files_to_a_server_and_back_by_backups_of_either(
    project: Project, saved: Path, tmp_path: Path
) -> None:
    with opened(project) as corpus:
        before = {number: passages(corpus, number) for number in (1, 2)}
    with qdrant_server() as server:
        use_index(project, url=server.url, grpc_port=server.grpc_port)
        lose_all(project)
        assert restore(project, str(saved)).rebuilt == {SMALL: (1, 2)}
        with opened(project) as corpus:
            for number, rows in before.items():
                found = passages(corpus, number)
                assert [row[:2] for row in found] == [row[:2] for row in rows]
                assert [row[2] for row in found] == pytest.approx([row[2] for row in rows], abs=1e-5)
            snapshot = take_snapshot(corpus)
            corpus.engine.drop(2)
            assert restore_snapshot(corpus, snapshot.id).releases == () and corpus.engine.releases() == [1, 2]
            corpus.engine.drop(1)
            without = take_snapshot(corpus)
            assert restore_snapshot(corpus, without.id).releases == (1,)
            assert [row[:2] for row in passages(corpus, 1)] == [row[:2] for row in before[1]]
            with pytest.raises(NotFoundError, match="no document at"):  # by now: a snapshot may have it
                erase(corpus, "left.md", reason="asked for")
            assert not any(server.snapshots.values())
        backup(project, str(tmp_path / "of-server"))
    use_index(project)
    assert not check(str(tmp_path / "of-server")).files_under("index/")
    lose_all(project)
    assert restore(project, str(tmp_path / "of-server")).rebuilt == {SMALL: (1, 2)}
    with opened(project) as corpus:
        assert {number: passages(corpus, number) for number in (1, 2)} == before
        with pytest.raises(ConfigError, match="no Qdrant server"):
            take_snapshot(corpus)


@QUIET
def test_snapshots_of_all_corpora_are_taken_by_one_command_and_the_newest_stay(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)

    def run(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["snapshots", *arguments])
        assert result.exit_code == code, result.output
        return result

    write_corpus(project.root, "files", {})
    assert "nothing to take" in run("take").stdout
    with qdrant_server() as server:
        use_index(project, url=server.url, grpc_port=server.grpc_port)
        write_corpus(project.root, "young", {}, index={"url": server.url, "grpc_port": server.grpc_port})
        with opened(project) as corpus:
            rebuild_releases(corpus)
        assert f"{SMALL}: Took snapshot" in run("take", "--keep", "2").stdout
        first = json.loads(run("list", SMALL, "--json").stdout)[0]["id"]
        for _ in range(2):
            assert json.loads(run("take", "--keep", "2", "--json").stdout).keys() == {SMALL}
        left = [snapshot["id"] for snapshot in json.loads(run("list", SMALL, "--json").stdout)]
        assert len(left) == 2 and first not in left
        assert {len(files) for files in server.snapshots.values()} == {2}, "their files went, too"
        ledger = Ledger(project.ledger_url)
        token = ledger.acquire_lease(SMALL, "elsewhere:1:x", 60)
        refused = run("take", "--wait", "0.05", code=1)
        assert f"{SMALL}: " in refused.stderr and "elsewhere:1" in refused.stderr
        ledger.release_lease(SMALL, token)
        ledger.close()
        write_corpus(project.root, "broken", {}, chnk={})
        refused = run("take", "--keep", "1", code=1)
        assert "broken" in refused.stderr and f"{SMALL}: Took snapshot" in refused.stdout
        assert "no release yet" in run("take", "young", code=1).output
        assert json.loads(run("take", SMALL, "--json").stdout)["files"]


def use_index(project: Project, **index: Any) -> None:
    """Write the corpus' index settings."""
    file = project.corpus_file(SMALL)
    document = yaml.safe_load(file.read_text())
    document["attributes"]["index"] = index
    file.write_text(yaml.safe_dump(document))


def test_backup_and_restore_by_way_of_a_bucket(
    project: Project, saved: Path, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(project) as corpus:
        before = passages(corpus)
    backup(project, f"s3://{s3}/2031-05-06")
    lose_all(project)
    restore(project, f"s3://{s3}/2031-05-06")
    with opened(project) as corpus:
        assert passages(corpus) == before
    with pytest.raises(BackupError, match="no such bucket"):
        check("s3://elsewhere/x")
    monkeypatch.setenv("HEADWATER_LAKE", f"s3://{s3}/lake")
    lose_all(project)
    restore(project, str(saved))
    assert not (project.home / "lake" / SMALL / "chunks").exists()
    backup(project, str(tmp_path / "again"))
    assert check(str(tmp_path / "again")).files_under("lake/") == check(str(saved)).files_under("lake/")
    with pytest.raises(BackupError, match=f"tables of 'works' in s3://{s3}/lake"):
        restore(project, str(saved))
    restore(project, str(saved), force=True)
    with opened(project) as corpus:
        assert corpus.tables.chunks.read(["id"]).height


def test_a_restore_into_a_shared_folder_takes_no_lake_of_another_home(
    project: Project, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_LAKE", str(tmp_path / "shared"))
    mark = tmp_path / "shared" / SMALL / OWNER_FILE
    lose_all(project)
    mark.parent.mkdir(parents=True)
    mark.write_text("another home")
    with pytest.raises(ConfigError, match="another ledger"):
        restore(project, str(saved), force=True)
    assert [path.name for path in mark.parent.iterdir()] == [OWNER_FILE]
    mark.unlink()
    restore(project, str(saved))
    assert mark.read_bytes() == (project.home / "lake-owner").read_bytes()
    with opened(project) as corpus, corpus.writing():
        assert corpus.tables.chunks.read(["id"]).height


def test_a_lost_index_is_built_again_from_the_lake_with_what_was_narrowed_and_erased(project: Project) -> None:
    with opened(project) as corpus:
        before = {number: passages(corpus, number) for number in (1, 2)}
        held = {number: corpus.engine.open(number).fingerprints() for number in (1, 2)}
    shutil.rmtree(project.index_path(SMALL))
    with opened(project) as corpus:
        with pytest.raises(NotFoundError, match="no sealed release 2"):
            corpus.search("anything")
        with pytest.raises(BackupError, match="headwater rebuild"):
            backup(project, str(project.root / "backup"))
        assert rebuild_releases(corpus).releases == (1, 2)
        (entry,) = corpus.ledger.audit_entries(corpus=corpus.name, action="release.rebuild")
        assert entry.counts["releases"] == 2
        assert {number: passages(corpus, number) for number in (1, 2)} == before
        assert {number: corpus.engine.open(number).fingerprints() for number in (1, 2)} == held
        assert rebuild_releases(corpus).releases == ()


def sealed(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None]) -> None:
    """Have ``then`` called with each release that the corpus' engine has just sealed."""
    seal = corpus.engine.seal

    def call(release: int) -> None:
        seal(release)
        then(release)

    monkeypatch.setattr(corpus.engine, "seal", call)


@QUIET
@pytest.mark.parametrize("kind", ["edge", pytest.param("memory", marks=pytest.mark.slow)])
def test_a_release_that_is_built_again_never_shows_what_was_revoked(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    seen = []

    def look(release: int) -> None:
        with opened(project) as reader:
            reader.engine = corpus.engine
            assert [row[:2] for row in passages(reader, release)] == before[release]
            assert TRAVEL not in {p.key for p in reader.search("Are trains booked?", 30, release=release)}
        seen.append(release)

    with opened(project) as corpus:
        before = {number: [row[:2] for row in passages(corpus, number)] for number in (1, 2)}
        if kind == "memory":
            corpus.engine = memory_engine(tmp_path)
        with monkeypatch.context() as patch:
            sealed(corpus, patch, look)
            assert rebuild_releases(corpus, every=True).releases == (1, 2)
        assert seen == [1, 2]
        # The next release is made of what the index really holds.
        (project.root / "assets" / SMALL / "documents" / f"{TRAVEL}.acl.json").unlink()
        rollback(corpus, 1, reason="look")
        held_back = Pipeline(corpus, workers=1).run().held_back
        assert held_back is not None
        assert TRAVEL in {p.key for p in corpus.search("Are trains booked?", 30, release=held_back)}


def test_a_rebuild_that_was_killed_leaves_no_release_that_shows_what_was_revoked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: int) -> None:
        raise KeyboardInterrupt

    with opened(project) as corpus:
        before = {number: passages(corpus, number) for number in (1, 2)}
    shutil.rmtree(project.index_path(SMALL))
    with opened(project) as corpus, monkeypatch.context() as patch:
        sealed(corpus, patch, end)
        with pytest.raises(KeyboardInterrupt):
            rebuild_releases(corpus)
    with opened(project) as corpus:
        assert corpus.engine.releases() == [1] and passages(corpus, 1) == before[1]
        assert rebuild_releases(corpus).releases == (2,)
        assert {number: passages(corpus, number) for number in (1, 2)} == before


def test_releases_that_a_restore_has_to_build_are_built_with_the_readers_that_are_left(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(project) as corpus:
        rollback(corpus, 1, reason="look")
        before = {number: passages(corpus, number) for number in (1, 2)}
        # As a reindex leaves it that was killed after it had listed the bucket.
        (project.root / "assets" / SMALL / "documents" / "gauge.md.acl.json").write_text('{"groups": ["hr"]}')
        with monkeypatch.context() as patch:
            patch.setattr("headwater.pipeline.apply_permissions", lambda *_: [])
            Pipeline(corpus, workers=1).source_objects()
    backup(project, str(tmp_path / "backup"))
    lose_all(project)
    shown = []

    def look(engine: EdgeEngine, release: int) -> None:
        seal(engine, release)
        searcher = engine.open(release)
        hits = searcher.retrieve(list(searcher.fingerprints()))
        shown.append({hit.payload["key"] for hit in hits if "*" in hit.payload["readers"]})
        searcher.close()

    with monkeypatch.context() as patch:
        seal = EdgeEngine.seal
        patch.setattr(EdgeEngine, "seal", look)
        patch.setattr("headwater.backup.restoring._place_index", lambda *_: None)
        assert restore(project, str(tmp_path / "backup")).rebuilt == {SMALL: (1, 2)}
    assert len(shown) == 2 and not any({GAUGE, TRAVEL} & keys for keys in shown)
    with opened(project) as corpus:
        assert {number: passages(corpus, number) for number in (1, 2)} != before
        assert all(info.redacted for info in corpus.releases())
        with corpus.writing() as lease:
            apply_permissions(corpus, lease)
        assert all(info.redacted for info in corpus.releases())


@pytest.mark.slow
def test_a_lost_ledger_is_an_error_that_says_what_to_do_and_loses_no_release(project: Project, saved: Path) -> None:
    for file in project.home.glob("ledger.db*"):
        file.unlink()
    with opened(project) as corpus:
        with pytest.raises(ReleaseError, match=r"ledger does not know \(1, 2; its newest is none\).*headwater restore"):
            Pipeline(corpus, workers=1).run()
        assert corpus.engine.releases() == [1, 2]
        assert collect_garbage(corpus).releases == (1, 2)
        assert Pipeline(corpus, workers=1).run().release == 1


def test_a_damaged_table_is_named_and_mended_by_a_restore(project: Project, saved: Path) -> None:
    with opened(project) as corpus:
        before = passages(corpus)
    for log in (project.lake_path(SMALL) / "chunks" / "_delta_log").iterdir():
        log.write_bytes(b"{")
    with opened(project) as corpus, pytest.raises(LakeError, match="chunks"):
        Pipeline(corpus, workers=1).run()
    with opened(project) as corpus:
        assert passages(corpus) == before  # readers need the index alone
    restore(project, str(saved), force=True)
    with opened(project) as corpus:
        assert passages(corpus) == before
        assert corpus.tables.chunks.read(["id"]).height


def test_the_ledger_goes_from_one_database_into_another(saved: Path, project: Project, postgres_url: str) -> None:
    with opened(project) as corpus:
        before = (corpus.releases(), corpus.ledger.erasures(SMALL), list(corpus.ledger.each_answer(SMALL)))
    lose_all(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWATER_LEDGER_URL", postgres_url)
        restore(project, str(saved))
        with opened(project) as corpus:
            after = (corpus.releases(), corpus.ledger.erasures(SMALL), list(corpus.ledger.each_answer(SMALL)))
            assert after == before
            assert corpus.answer(QUESTIONS[0]).release == 2


@pytest.mark.parametrize("size", [0, 1, 2**20, 3 * 2**20 + 5])
def test_packing_keeps_bytes_and_holes(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    content = bytearray(size)
    if size:
        content[-1] = content[size // 2] = 7
    source.write_bytes(content)
    unpack((piece for whole in packed(source) for piece in (whole[:5], whole[5:])), target)
    assert target.read_bytes() == content


def test_the_commands_say_what_they_did_to_people_and_programs(project: Project, tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    place = str(tmp_path / "backup")
    assert json.loads(run("backup", place, "--corpus", SMALL, "--json"))["corpora"] == [SMALL]
    assert json.loads(run("restore", place, "--check", "--json"))["damaged"] == 0
    assert "is whole" in run("restore", place, "--check")
    assert "--force" in run("restore", place, code=1)
    lose_all(project)
    assert "live release 2" in run("restore", place)
    shutil.rmtree(project.index_path(SMALL))
    assert "Built releases 1, 2 again" in run("rebuild", SMALL)
    assert json.loads(run("rebuild", SMALL, "--json"))["releases"] == []
    assert "no Qdrant server" in run("snapshots", "list", SMALL, code=1)
