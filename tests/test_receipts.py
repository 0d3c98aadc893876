"""What an owner reads about a file: right at any moment, in plain words, and beside the bucket too."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.errors import GateError, NotFoundError
from headwater.pipeline import Pipeline
from headwater.project import Project
from headwater.receipts import Receipt, count_states, explain, page_of_receipts, read_receipts, record_receipts
from headwater.receipts.paths import FOLDER, SUMMARY, receipt_path
from headwater.reports import StageReport
from headwater.requeue import requeue
from headwater.source import KeyFilter
from tests.conftest import SMALL, SMALL_FILES

GAUGE_EDITED = "# Teal gauge\n\nThe Teal gauge measures the water level every twenty minutes with a radar head.\n"


@pytest.fixture
def corpus(indexed_copy: Project) -> Iterator[Corpus]:
    with open_corpus(indexed_copy.root / "assets" / SMALL) as corpus:
        yield corpus


def documents(corpus: Corpus) -> Path:
    return corpus.project.root / "assets" / corpus.name / "documents"


def reindex(corpus: Corpus) -> None:
    Pipeline(corpus, workers=1).run()


def receipts(corpus: Corpus, **filters: Any) -> dict[str, Receipt]:
    return {r.key: r for r in read_receipts(corpus.name, corpus.tables, corpus.ledger, **filters)}


def record(corpus: Corpus, **source: Any) -> StageReport:
    policy = corpus.policy.source.model_copy(update=source)
    return record_receipts(corpus.name, corpus.tables, corpus.ledger, policy)


def fail_the_gate(corpus: Corpus) -> Corpus:
    """Return the corpus with a gate that nothing passes."""
    gate = corpus.policy.gate.model_copy(update={"max_quarantined_share": 0.0})
    return Corpus(corpus.name, corpus.policy.model_copy(update={"gate": gate}), corpus.project)


# --- what a receipt says --------------------------------------------------------------------------------------------


def test_a_receipt_says_state_reason_and_what_to_do(corpus: Corpus) -> None:
    before = datetime.now(UTC)
    found = receipts(corpus)
    assert list(found) == sorted(SMALL_FILES)
    leave = found["policies/leave.md"]
    assert (leave.state, leave.reason, leave.survivor) == ("duplicate", "exact_duplicate", "policies/leave-copy.md")
    assert leave.advice and leave.similarity == 1.0 and leave.release is None
    assert found["policies/leave-copy.md"].duplicates == ("policies/leave.md",) and leave.duplicates == ()
    gauge = found["gauge.md"]
    assert (gauge.state, gauge.release, gauge.advice, gauge.requeued) == ("indexed", corpus.live(), "", None)
    assert gauge.chunks > 0 and len(gauge.revision) == 32
    assert gauge.since is not None and gauge.modified <= gauge.since <= before


@pytest.mark.parametrize(("stored", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_an_object_is_found_in_whichever_unicode_form_its_key_is_typed(corpus: Corpus, stored: str, typed: str) -> None:
    key, asked = (unicodedata.normalize(form, "café.txt") for form in (stored, typed))
    (documents(corpus) / key).write_text(
        "The Teal gauge stands at the weir, and its keeper reads it at noon each day.\n"
    )
    reindex(corpus)
    (receipt,) = corpus.receipts(asked)
    assert receipt.key == key
    assert requeue(corpus, [asked], reason="Again.") == 1
    assert erase(corpus, asked, reason="asked").key == key


def test_a_receipt_says_what_was_noted_while_the_document_was_parsed(corpus: Corpus) -> None:
    text = "The Teal gauge stands at the café by the weir, and its keeper reads it at noon on every single day.\n"
    (documents(corpus) / "café.txt").write_bytes(text.encode("cp1252"))
    (documents(corpus) / "page.txt").write_text(
        f"<!DOCTYPE html><html><body><h1>Page</h1><p>{text * 2}</p></body></html>"
    )
    reindex(corpus)
    found = receipts(corpus)
    assert "Read as " in found["café.txt"].message and found["café.txt"].state == "indexed"
    assert "The extension says text/plain, the content is text/html." in found["page.txt"].message
    assert "read as" not in found["gauge.md"].message.lower()
    record(corpus, write_receipts=True)
    file = json.loads((documents(corpus) / receipt_path("page.txt")).read_text())
    assert file["message"] == found["page.txt"].message


def test_since_stays_while_the_end_state_of_a_revision_stays(corpus: Corpus) -> None:
    before = receipts(corpus)
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    (documents(corpus) / "policies/leave-copy.md").unlink()
    reindex(corpus)
    after = receipts(corpus)
    assert after["hr/pay.md"] == replace(before["hr/pay.md"], release=corpus.live())
    for changed in ("gauge.md", "policies/leave.md"):  # another revision, and a duplicate that now stands alone
        assert after[changed].state == "indexed"
        assert reached(after[changed]) > reached(before[changed])


def reached(receipt: Receipt) -> datetime:
    assert receipt.since is not None
    return receipt.since


def test_a_changed_object_is_pending_until_a_reindex_has_finished_with_it(corpus: Corpus) -> None:
    live = corpus.live()
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    (documents(corpus) / "new.md").write_text("# Boats\n\nThe boats are painted grey every spring by the yard crew.\n")
    pipeline = Pipeline(corpus, workers=1)
    for stage in ("source_objects", "parsed_documents", "quality_documents"):  # a reindex that is still at work
        getattr(pipeline, stage)()
        found = receipts(corpus)
        gauge, new = found["gauge.md"], found["new.md"]
        assert (gauge.state, gauge.reason, gauge.release, gauge.since) == ("pending", "not_processed", None, None)
        assert f"Release {live}, which is live, still answers from an earlier revision" in gauge.message
        assert (new.state, new.release) == ("pending", None)
        assert "Release" not in new.message
        assert found["hr/pay.md"].state == "indexed" and found["hr/pay.md"].release == live
        assert corpus.status().states["pending"] == 2
    reindex(corpus)
    found = receipts(corpus)
    assert {found[key].release for key in ("gauge.md", "new.md")} == {corpus.live()}
    assert "pending" not in corpus.status().states


def test_a_failed_gate_is_said_with_its_checks(corpus: Corpus) -> None:
    live = corpus.live()
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    with fail_the_gate(corpus) as strict, pytest.raises(GateError):
        reindex(strict)
    found = receipts(corpus)
    gauge = found["gauge.md"]
    assert (gauge.state, gauge.reason, gauge.release) == ("indexed", "gate_failed", None)
    assert "failed the gate (quarantine_within_bounds)" in gauge.message and gauge.advice
    assert f"Release {live}, which is live, still answers from an earlier revision" in gauge.message
    assert (found["hr/pay.md"].reason, found["hr/pay.md"].release) == ("ok", live)


def test_after_a_rollback_receipts_follow_the_live_release_at_once(corpus: Corpus) -> None:
    first = corpus.live()
    assert first is not None
    before = receipts(corpus)
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    (documents(corpus) / "empty.txt").write_text("The duty desk is staffed from seven in the morning on every day.\n")
    reindex(corpus)
    second = corpus.live()
    assert receipts(corpus)["gauge.md"].release == second != first
    version = corpus.tables.receipts.version()
    corpus.ledger.publish(corpus.name, first, reason="A drill.", pin=True)
    found = receipts(corpus)
    assert (found["gauge.md"].reason, found["gauge.md"].release) == ("pinned", None)
    assert f"set back to release {first}" in found["gauge.md"].message
    assert "still answers from an earlier revision" in found["gauge.md"].message
    assert "earlier revision" not in found["empty.txt"].message  # the first release had nothing of it
    assert found["hr/pay.md"].release == first
    assert corpus.tables.receipts.version() == version
    assert before["gauge.md"].since != found["gauge.md"].since


def test_a_rejected_revision_says_that_live_still_has_the_one_before(corpus: Corpus) -> None:
    live = corpus.live()
    (documents(corpus) / "gauge.md").write_text("")
    with fail_the_gate(corpus) as strict, pytest.raises(GateError):
        reindex(strict)
    gauge = receipts(corpus)["gauge.md"]
    assert (gauge.state, gauge.reason, gauge.release) == ("quarantined", "empty", None)
    assert f"Release {live}, which is live, still answers from an earlier revision" in gauge.message


def test_a_lake_without_recorded_receipts_is_still_accounted_for(corpus: Corpus) -> None:
    shutil.rmtree(corpus.tables.receipts.path)
    found = receipts(corpus)
    assert count_states(corpus.tables) == {"indexed": 4, "duplicate": 1, "rejected": 0, "quarantined": 1}
    assert found["gauge.md"].release == corpus.live() and found["gauge.md"].since is None
    record(corpus)
    assert receipts(corpus)["gauge.md"].since is not None


def test_an_unknown_key_is_not_found(small_corpus: Corpus) -> None:
    with pytest.raises(NotFoundError, match=r"no object 'nowhere\.md'"):
        small_corpus.receipts("nowhere.md")


# --- paging and permissions -----------------------------------------------------------------------------------------


def test_pages_follow_one_another_by_key(small_corpus: Corpus) -> None:
    whole = small_corpus.receipts()
    assert [receipt.key for receipt in whole] == sorted(SMALL_FILES)
    for limit in (1, 2):
        seen: list[Receipt] = []
        after = None
        while True:
            page = page_of_receipts(
                small_corpus.name, small_corpus.tables, small_corpus.ledger, limit=limit, after=after
            )
            assert sum(page.states.values()) == len(SMALL_FILES)
            seen += page.receipts
            after = page.after
            if after is None:
                break
        assert seen == whole


def test_prefix_and_state_narrow_what_is_read(small_corpus: Corpus) -> None:
    assert list(receipts(small_corpus, prefix="policies/", state="indexed")) == [
        "policies/leave-copy.md",
        "policies/travel.html",
    ]
    page = page_of_receipts(
        small_corpus.name, small_corpus.tables, small_corpus.ledger, prefix="policies/", state="duplicate"
    )
    assert page.states == {"indexed": 2, "duplicate": 1, "rejected": 0, "quarantined": 0}
    assert [receipt.key for receipt in page.receipts] == ["policies/leave.md"]


def test_readers_learn_only_of_what_they_may_read(small_corpus: Corpus) -> None:
    def page(*readers: str) -> Any:
        return page_of_receipts(small_corpus.name, small_corpus.tables, small_corpus.ledger, readers=readers)

    assert "hr/pay.md" not in [r.key for r in page("*").receipts]
    assert page("*").states["indexed"] == 3
    assert [r.key for r in page("hr").receipts] == ["hr/pay.md"]
    assert page().receipts == [] and sum(page().states.values()) == 0


def test_a_survivor_that_the_reader_may_no_longer_see_is_not_named(corpus: Corpus) -> None:
    narrow = [{"prefix": "", "groups": ["*"]}, {"prefix": "policies/leave-copy", "groups": ["hr"]}]
    policy = corpus.policy.model_validate(corpus.policy.model_dump() | {"access": narrow})
    with Corpus(corpus.name, policy, corpus.project) as changed:
        Pipeline(changed, workers=1).source_objects()
        for readers, survivor in ((["*"], None), (["*", "hr"], "policies/leave-copy.md")):
            page = page_of_receipts(
                changed.name, changed.tables, changed.ledger, key="policies/leave.md", readers=readers
            )
            assert [(r.state, r.survivor) for r in page.receipts] == [("duplicate", survivor)]


def test_a_copy_tells_what_stopped_its_survivor_to_those_who_may_see_it(corpus: Corpus) -> None:
    survivor, table = "policies/leave-copy.md", corpus.tables.receipts
    stopped = {"state": "quarantined", "reason": "no_chunks", "error": "Nothing is left of the text to index."}
    rows = [{**row, **(stopped if row["key"] == survivor else {})} for row in table.scan().collect().to_dicts()]
    table.replace(pa.Table.from_pylist(rows, schema=table.schema).to_batches())
    told = receipts(corpus)["policies/leave.md"]
    assert (told.state, told.reason, told.survivor) == ("duplicate", "exact_duplicate", survivor)
    assert "can't be searched either" in told.message and stopped["error"] in told.message
    narrow = [{"prefix": "", "groups": ["*"]}, {"prefix": survivor, "groups": ["hr"]}]
    policy = corpus.policy.model_validate(corpus.policy.model_dump() | {"access": narrow})
    with Corpus(corpus.name, policy, corpus.project) as changed:
        Pipeline(changed, workers=1).source_objects()
        for readers, message in ((["*", "hr"], told.message), (["*"], explain("exact_duplicate")[0])):
            page = page_of_receipts(
                changed.name, changed.tables, changed.ledger, key="policies/leave.md", readers=readers
            )
            assert [receipt.message for receipt in page.receipts] == [message]


def test_a_copy_that_the_reader_may_not_see_is_not_named(corpus: Corpus) -> None:
    narrow = [{"prefix": "", "groups": ["*"]}, {"prefix": "policies/leave.md", "groups": ["hr"]}]
    policy = corpus.policy.model_validate(corpus.policy.model_dump() | {"access": narrow})
    with Corpus(corpus.name, policy, corpus.project) as changed:
        Pipeline(changed, workers=1).source_objects()
        for readers, copies in ((["*"], ()), (["*", "hr"], ("policies/leave.md",))):
            page = page_of_receipts(
                changed.name, changed.tables, changed.ledger, key="policies/leave-copy.md", readers=readers
            )
            assert [receipt.duplicates for receipt in page.receipts] == [copies]


# --- the recorded table ---------------------------------------------------------------------------------------------


def test_recording_writes_the_difference_and_nothing_without_one(corpus: Corpus) -> None:
    version = corpus.tables.receipts.version()
    assert (record(corpus).recomputed, corpus.tables.receipts.version()) == (0, version)
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    (documents(corpus) / "policies/travel.html").unlink()
    before = corpus.tables.receipts.read(["id", "fingerprint"])
    reindex(corpus)
    after = corpus.tables.receipts.read(["id", "fingerprint", "key", "state"])
    changed = after.join(before, on=["id", "fingerprint"], how="anti")
    assert changed["key"].to_list() == ["gauge.md"]
    assert after.height == before.height - 1
    assert after.filter(pl.col("state") == "indexed").height == 3


# --- the files beside the bucket ------------------------------------------------------------------------------------


def files(corpus: Corpus) -> dict[str, Any]:
    folder = documents(corpus) / FOLDER
    return {
        str(path.relative_to(folder)): json.loads(path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_object_gets_a_file_beside_the_bucket(corpus: Corpus) -> None:
    assert record(corpus).details == {}  # off unless asked for
    report = record(corpus, write_receipts=True)
    assert report.details == {"files_written": len(SMALL_FILES) + 1}
    found = files(corpus)
    assert set(found) == {f"{key}.json" for key in SMALL_FILES} | {"summary.json"}
    leave = found["policies/leave.md.json"]
    assert (leave["key"], leave["state"], leave["survivor"]) == (
        "policies/leave.md",
        "duplicate",
        "policies/leave-copy.md",
    )
    assert not leave["searchable"] and leave["message"] and leave["advice"]
    gauge = found["gauge.md.json"]
    assert (gauge["searchable"], gauge["release"]) == (True, corpus.live())
    summary = found["summary.json"]
    assert (summary["listed"], summary["searchable"], summary["release"]) == (6, 4, corpus.live())
    assert summary["states"] == {"indexed": 4, "duplicate": 1, "rejected": 0, "quarantined": 1}
    assert summary["keys"] == {"duplicate": ["policies/leave.md"], "rejected": [], "quarantined": ["empty.txt"]}
    text = json.dumps(found)
    assert "twenty-eight days" not in text and "radar head" not in text


def test_only_files_whose_content_changed_are_written_and_those_of_vanished_objects_removed(corpus: Corpus) -> None:
    record(corpus, write_receipts=True)
    assert record(corpus, write_receipts=True).details == {}
    before = {path: path.stat().st_mtime_ns for path in (documents(corpus) / FOLDER).rglob("*.json")}
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    (documents(corpus) / "policies/travel.html").unlink()
    reindex(corpus)
    report = record(corpus, write_receipts=True)
    assert report.details == {"files_written": 2, "files_removed": 1}  # the edited one's, and the summary
    after = {path: path.stat().st_mtime_ns for path in (documents(corpus) / FOLDER).rglob("*.json")}
    names = {path.relative_to(documents(corpus) / FOLDER).as_posix() for path in after if after[path] != before[path]}
    assert names == {"gauge.md.json", "summary.json"}
    assert "policies/travel.html.json" not in files(corpus)
    assert files(corpus)["summary.json"]["release"] == corpus.live()


def test_a_rollback_reaches_the_files_at_the_next_recording(corpus: Corpus) -> None:
    first = corpus.live()
    assert first is not None
    (documents(corpus) / "gauge.md").write_text(GAUGE_EDITED)
    reindex(corpus)
    record(corpus, write_receipts=True)
    assert files(corpus)["gauge.md.json"]["searchable"]
    corpus.ledger.publish(corpus.name, first, reason="A drill.", pin=True)
    assert record(corpus, write_receipts=True).details == {"files_written": 2}
    gauge = files(corpus)["gauge.md.json"]
    assert (gauge["searchable"], gauge["reason"], gauge["release"]) == (False, "pinned", None)


def test_written_receipts_are_never_documents(corpus: Corpus) -> None:
    source = corpus.policy.source.model_copy(update={"write_receipts": True, "exclude": []})
    with Corpus(corpus.name, corpus.policy.model_copy(update={"source": source}), corpus.project) as open_minded:
        for _ in range(2):
            report = Pipeline(open_minded, workers=1).run()
            assert report.listed == len(SMALL_FILES)
        assert "gauge.md.json" in files(open_minded)
    assert not KeyFilter(["**"], [])(SUMMARY)


def test_a_bucket_that_cannot_be_written_to_is_reported_and_tried_again(corpus: Corpus) -> None:
    own = documents(corpus) / ".headwater"
    own.write_text("in the way")
    report = record(corpus, write_receipts=True)
    assert report.details["files_failed"] == len(SMALL_FILES) + 1
    assert report.details["file_error"]
    assert report.rows == len(SMALL_FILES)
    own.unlink()
    assert record(corpus, write_receipts=True).details == {"files_written": len(SMALL_FILES) + 1}


def test_a_link_laid_in_the_folder_leads_no_file_outside(corpus: Corpus, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (documents(corpus) / FOLDER).mkdir(parents=True)
    (documents(corpus) / FOLDER / "policies").symlink_to(outside)
    report = record(corpus, write_receipts=True)
    assert report.details["files_failed"] == 3
    assert list(outside.iterdir()) == []
    assert "gauge.md.json" in files(corpus)


def test_a_missing_source_is_reported(corpus: Corpus) -> None:
    report = record(corpus, write_receipts=True, uri=(corpus.project.root / "gone").as_uri())
    assert report.details["files_failed"] == len(SMALL_FILES) + 1
    assert report.details["file_error"] == "SourceError"


HOSTILE = [
    "../x",
    "..",
    ".",
    "a/../../x",
    "/etc/x",
    "a//b",
    "a/",
    "summary",
    "summary.json",
    "a",
    "a.json/b",
    "a.json",
    "..\\x",
    "a\x00b",
    "a\nb",
    "a%2e%2e",
    "a=2Eb",
    "~",
    "x#1",
    "n" * 300,
    "n" * 299 + "m",
    "/".join(["d" * 100] * 12),
    "/".join(["d" * 100] * 11 + ["e"]),
    "käse/日本語/हिन्दी.md",
    "a b.md",
    "con:aux*?.md",
]


def test_hostile_keys_get_paths_of_their_own_inside_the_folder(tmp_path: Path) -> None:
    import obstore
    from obstore.store import LocalStore

    paths = [receipt_path(key) for key in HOSTILE]
    assert len({path.casefold() for path in paths}) == len(HOSTILE)
    assert SUMMARY not in paths
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    store = LocalStore(prefix=bucket)
    for path in paths:
        obstore.put(store, path, b"{}")
    written = [path.relative_to(bucket).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(written) == sorted(paths)
    assert all(path.startswith(f"{FOLDER}/") and len(path.encode()) <= 1000 for path in paths)
    assert receipt_path("policies/leave (2024).md") == f"{FOLDER}/policies/leave (2024).md.json"


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("./=%~"), min_size=1), unique=True))
def test_different_keys_never_share_a_path(keys: list[str]) -> None:
    paths = [receipt_path(key) for key in keys]
    assert len(set(paths)) == len(keys)
    folders = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)}
    assert not folders & set(paths)
    for path in paths:
        parts = path.split("/")
        assert parts[:2] == FOLDER.split("/") and len(parts) > 2
        assert not {"", ".", ".."} & set(parts)
        assert all(len(part.encode()) <= 240 for part in parts)


def test_receipts_are_written_to_s3(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="owners")
        uri = {"write_receipts": True, "uri": "s3://owners/docs"}
        assert record(corpus, **uri).details == {"files_written": len(SMALL_FILES) + 1}
        assert record(corpus, **uri).details == {}
        keys = {entry["Key"] for entry in client.list_objects_v2(Bucket="owners")["Contents"]}
        assert keys == {f"docs/{FOLDER}/{key}.json" for key in SMALL_FILES} | {f"docs/{SUMMARY}"}
        body = client.get_object(Bucket="owners", Key=f"docs/{FOLDER}/empty.txt.json")["Body"].read()
        assert json.loads(body)["reason"] == "empty"
        (documents(corpus) / "empty.txt").unlink()
        reindex(corpus)
        assert record(corpus, **uri).details["files_removed"] == 1
        missing = {"write_receipts": True, "uri": "s3://nobodys/docs"}
        assert record(corpus, **missing).details["files_failed"] > 0
    finally:
        server.stop()
