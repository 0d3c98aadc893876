"""What is attached to an e-mail is a document of its own: listed, linked, permitted, requeued and erased with its mail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from headwater.corpus import Corpus, open_corpus
from headwater.documents import page_of_documents, readable_documents
from headwater.erase import erase
from headwater.errors import SourceError
from headwater.hashing import digest_bytes, document_id
from headwater.lake import Table
from headwater.ledger import Ledger
from headwater.pipeline import Pipeline
from headwater.policies import ParsePolicy, SourcePolicy
from headwater.receipts import RECEIPT_STATES, Receipt
from headwater.releases import rollback
from headwater.reports import NoProgress, StageReport
from headwater.requeue import requeue
from headwater.source import SCHEMA, ObjectReader, open_store, requeue_objects, sync_objects
from headwater.source.attachments import may_be_mail
from headwater.types import Principal
from tests import station_corpus
from tests.mails import mail_bytes

TERMS = "The landing stage of the upper weir is let for nine winters, and the tenant keeps the lantern burning there.\n"
PLAN = "The keeper paints the boom of the lower weir with tar every fourth spring before the first boats arrive.\n"
BODY = "Please read the terms that come with this letter, and tell the office by Friday whether the crew agrees."


class Bucket:
    """A folder with mails, and the table that mirrors it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "documents"
        self.folder.mkdir()
        self.table = Table(folder / "source_objects", SCHEMA)
        self.policy = SourcePolicy(uri=self.folder.as_uri())
        self.parse = ParsePolicy()
        self.max_bytes = 10**6

    def write(self, key: str, data: bytes) -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def sync(self, **options: Any) -> StageReport:
        return sync_objects(
            "test", self.policy, [], self.max_bytes, self.table, NoProgress(), **{"parse": self.parse, **options}
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["key"]: row for row in self.table.read(SCHEMA.names).iter_rows(named=True)}

    def read(self, key: str) -> bytes:
        return ObjectReader(open_store(self.policy.uri), self.parse).read(key, attached=True)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    bucket = Bucket(tmp_path)
    bucket.write("offer.eml", mail_bytes("Offer", BODY, {"terms.txt": TERMS, "plan.txt": PLAN}))
    bucket.write("notes.txt", b"Note: this is no mail\nand has no attachments")
    return bucket


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield ledger
    ledger.close()


def test_attachments_are_rows_of_their_own_that_name_their_mail(bucket: Bucket) -> None:
    assert bucket.sync().details["attachments"] == 2
    rows = bucket.rows()
    assert sorted(rows) == ["notes.txt", "offer.eml", "offer.eml!/plan.txt", "offer.eml!/terms.txt"]
    terms, mail = rows["offer.eml!/terms.txt"], rows["offer.eml"]
    assert terms["parent"] == mail["doc_id"] and mail["parent"] is None
    assert terms["doc_id"] == document_id("test", "offer.eml!/terms.txt")
    content = bucket.read("offer.eml!/terms.txt")
    assert content.decode().replace("\r\n", "\n") == TERMS
    assert (terms["revision"], terms["size"]) == (digest_bytes(content), len(content))
    assert (terms["readers"], terms["last_modified"]) == (mail["readers"], mail["last_modified"])


def test_an_unchanged_mail_is_not_opened_again(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()
    report = bucket.sync()
    assert (report.recomputed, report.removed, report.details["read"]) == (0, 0, 0)
    os.utime(bucket.folder / "offer.eml", (1, 1))
    assert bucket.sync().details["read"] == 1
    after = bucket.rows()
    assert all(after[key]["fingerprint"] == before[key]["fingerprint"] for key in before)


def test_a_changed_mail_changes_only_the_attachments_that_differ(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()
    bucket.write("offer.eml", mail_bytes("Offer", BODY, {"terms.txt": TERMS, "plan.txt": PLAN * 2, "new.txt": BODY}))
    bucket.sync()
    after = bucket.rows()
    same = {key for key in before if before[key]["fingerprint"] == after[key]["fingerprint"]}
    assert same == {"notes.txt", "offer.eml!/terms.txt"}
    assert "offer.eml!/new.txt" in after
    (bucket.folder / "offer.eml").unlink()
    assert bucket.sync().removed == 4
    assert sorted(bucket.rows()) == ["notes.txt"]


def test_a_mail_in_a_mail_nests_its_attachments_up_to_the_policys_depth(bucket: Bucket) -> None:
    deepest = mail_bytes("Third", BODY, {"deep.txt": PLAN})
    second = mail_bytes("Second", BODY, {"third.eml": deepest})
    bucket.write("first.eml", mail_bytes("First", BODY, {"second.eml": second}))
    bucket.sync()
    keys = [key for key in sorted(bucket.rows()) if key.startswith("first")]
    assert keys == [
        "first.eml",
        "first.eml!/second.eml",
        "first.eml!/second.eml!/third.eml",
        "first.eml!/second.eml!/third.eml!/deep.txt",
    ]
    rows = bucket.rows()
    assert all(rows[inner]["parent"] == rows[outer]["doc_id"] for outer, inner in pairwise(keys))
    assert bucket.read(keys[-1]).decode().strip() == PLAN.strip()
    bucket.parse = ParsePolicy(max_nesting=2)
    bucket.sync()
    rows = bucket.rows()
    assert keys[-1] not in rows and "max_nesting" in rows[keys[-2]]["note"]


def test_a_mail_with_too_many_attachments_is_a_document_with_a_note(bucket: Bucket) -> None:
    bucket.parse = ParsePolicy(max_attachments=1)
    bucket.sync()
    mail = bucket.rows()["offer.eml"]
    assert mail["state"] == "ok" and "parse.max_attachments" in mail["note"]
    assert bucket.sync().details["read"] == 0
    bucket.parse = ParsePolicy()
    bucket.sync()
    assert bucket.rows()["offer.eml"]["note"] is None and "offer.eml!/plan.txt" in bucket.rows()


def test_a_mail_that_takes_too_long_costs_its_attachments_only(bucket: Bucket) -> None:
    # An answer that is there counts however late it is looked for, so the mail has to take a while.
    bucket.write("offer.eml", mail_bytes("Offer", BODY, {"plan.bin": b"\0" * 24_000_000}))
    bucket.max_bytes = 10**8
    bucket.parse = ParsePolicy(timeout_seconds=1e-6)
    bucket.sync()
    rows = bucket.rows()
    assert sorted(rows) == ["notes.txt", "offer.eml"] and rows["offer.eml"]["state"] == "ok"
    assert "timeout_seconds" in rows["offer.eml"]["note"]


def test_attachments_of_one_name_get_names_of_their_own_and_none_leads_out(bucket: Bucket) -> None:
    files = [("a.txt", TERMS), ("a.txt", PLAN), ("../../b.txt", BODY), ("", BODY)]
    bucket.write("names.eml", mail_bytes("Names", BODY, files))
    bucket.sync()
    names = [key.removeprefix("names.eml!/") for key in bucket.rows() if key.startswith("names.eml!/")]
    assert len(names) == 4 and not any("/" in name or not name for name in names)
    assert {bucket.read(f"names.eml!/{name}").decode().strip() for name in names} == {text.strip() for _, text in files}


def test_an_object_of_the_bucket_goes_before_an_attachment_of_its_key(bucket: Bucket) -> None:
    bucket.sync()
    bucket.write("offer.eml!/terms.txt", b"a real file in an oddly named folder")
    bucket.sync()
    assert bucket.rows()["offer.eml!/terms.txt"]["parent"] is None
    (bucket.folder / "offer.eml!/terms.txt").unlink()
    bucket.sync()
    assert bucket.rows()["offer.eml!/terms.txt"]["parent"] == bucket.rows()["offer.eml"]["doc_id"]


def test_patterns_to_leave_out_hold_for_attachments_and_patterns_to_take_for_their_mails(bucket: Bucket) -> None:
    bucket.policy = SourcePolicy(uri=bucket.policy.uri, include=["*.eml"], exclude=["**/plan.*"])
    bucket.sync()
    assert sorted(bucket.rows()) == ["offer.eml", "offer.eml!/terms.txt"]


def test_a_sidecar_decides_for_what_is_attached_too(bucket: Bucket) -> None:
    bucket.sync()
    bucket.write("offer.eml.acl.json", b'{"groups": ["crew"]}')
    assert bucket.sync().details["read"] == 0
    assert bucket.rows()["offer.eml!/terms.txt"]["readers"] == ["crew"]
    bucket.write("offer.eml.acl.json", b"nonsense")
    bucket.sync()
    row = bucket.rows()["offer.eml!/terms.txt"]
    assert (row["state"], row["reason"], row["readers"]) == ("quarantined", "bad_permissions", [])


def test_of_a_listing_that_is_not_believed_permissions_count_for_what_is_attached_too(bucket: Bucket) -> None:
    inner = mail_bytes("Plan", BODY, {"plan.txt": PLAN})
    bucket.write("round.eml", mail_bytes("Round", BODY, {"inner.eml": inner}))
    for number in range(6):
        bucket.write(f"more/{number}.txt", f"text {number}".encode())
    bucket.sync()
    before = bucket.rows()
    for number in range(6):
        (bucket.folder / f"more/{number}.txt").unlink()
    bucket.write("round.eml.acl.json", b'{"groups": ["crew"]}')
    bucket.write("offer.eml.acl.json", b"nonsense")
    with pytest.raises(SourceError, match="lost 6 of 9 objects"):
        bucket.sync()
    after = bucket.rows()
    assert after.keys() == before.keys()
    crew = {key for key, row in after.items() if row["readers"] == ["crew"]}
    assert crew == {"round.eml", "round.eml!/inner.eml", "round.eml!/inner.eml!/plan.txt"}
    closed = {key for key, row in after.items() if row["reason"] == "bad_permissions" and row["readers"] == []}
    assert closed == {"offer.eml", "offer.eml!/plan.txt", "offer.eml!/terms.txt"}
    assert bucket.sync(confirm_removals=True).recomputed == 0


def test_attachments_do_not_count_for_the_guard_against_lost_objects(bucket: Bucket) -> None:
    bucket.write("many.eml", mail_bytes("Many", BODY, [(f"{n}.txt", f"{PLAN}{n}") for n in range(20)]))
    bucket.sync()
    (bucket.folder / "many.eml").unlink()
    assert bucket.sync().removed == 21
    for name in ("offer.eml", "notes.txt"):
        (bucket.folder / name).unlink()
    with pytest.raises(SourceError, match="2 objects are known"):
        bucket.sync()


def test_a_requeued_mail_is_opened_anew(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()
    requeue_objects(bucket.table, ["offer.eml", "offer.eml!/plan.txt"], "2030-01-01 new parser")
    assert bucket.sync().details["read"] == 1
    after = bucket.rows()
    changed = {key for key in before if before[key]["fingerprint"] != after[key]["fingerprint"]}
    assert changed == {"offer.eml", "offer.eml!/plan.txt"}


@pytest.mark.parametrize(
    ("head", "key", "opened"),
    [
        (b"", "a.eml", True),
        (b"Subject: x\nFrom: y\n", "a", True),
        (b"\xef\xbb\xbfSubject: x\r\nFrom: y\r\n", "a.txt", True),
        (b"From somebody Mon Jan 1\nSubject: x\n", "a.mbox", True),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.msg", True),
        (b"Note: one\nplain text", "a.txt", False),
        (b"# Title\n", "a.md", False),
    ],
)
def test_only_what_may_be_a_mail_is_opened(head: bytes, key: str, opened: bool) -> None:
    assert may_be_mail(head, key) is opened


def test_an_erased_attachment_stays_out_while_its_mail_has_it_so(bucket: Bucket, ledger: Ledger) -> None:
    bucket.sync(ledger=ledger)
    row = bucket.rows()["offer.eml!/terms.txt"]

    def erased() -> list[str]:
        return [e.key for e in ledger.erasures("test") if e.lifted_at is None]

    ledger.record_erasure(
        "test",
        key=row["key"],
        doc_id=row["doc_id"],
        revision=row["revision"],
        etag=row["etag"],
        size=row["size"],
        last_modified=row["last_modified"],
        receipt={},
    )
    bucket.table.replace([])  # as if everything had been lost: the tombstone is all that is left
    for _ in range(2):
        bucket.sync(ledger=ledger)
        found = bucket.rows()["offer.eml!/terms.txt"]
        assert (found["state"], found["reason"], found["readers"]) == ("rejected", "erased", [])
        assert bucket.rows()["offer.eml!/plan.txt"]["state"] == "ok" and erased() == [row["key"]]
        os.utime(bucket.folder / "offer.eml", (5, 5))  # touched, the attachment is the same
    bucket.write("offer.eml", mail_bytes("Offer", BODY, {"terms.txt": TERMS + PLAN}))
    bucket.sync(ledger=ledger)
    assert bucket.rows()["offer.eml!/terms.txt"]["state"] == "ok" and erased() == []


def test_a_nested_attachment_stays_erased_when_the_mail_around_it_is_erased_too(bucket: Bucket, ledger: Ledger) -> None:
    inner = mail_bytes("Terms", BODY, {"deep.txt": TERMS})
    bucket.write("offer.eml", mail_bytes("Offer", BODY, {"inner.eml": inner}))
    bucket.sync(ledger=ledger)
    rows = bucket.rows()
    keys = ["offer.eml!/inner.eml", "offer.eml!/inner.eml!/deep.txt"]
    for key in keys:
        ledger.record_erasure(
            "test",
            receipt={},
            **{name: rows[key][name] for name in ("key", "doc_id", "revision", "etag", "size", "last_modified")},
        )
    for moment in (5, 6):
        os.utime(bucket.folder / "offer.eml", (moment, moment))
        bucket.sync(ledger=ledger)
        assert not any(bucket.rows().get(key, {}).get("state") == "ok" for key in keys)
        assert sorted(e.key for e in ledger.erasures("test") if e.lifted_at is None) == keys


@pytest.mark.parametrize(
    "patterns",
    [{"exclude": ["offer.eml"]}, {"include": ["notes/**"]}, {"exclude": ["**/*.eml!/terms.txt"]}],
    ids=["the mail", "all but notes", "the attachment"],
)
def test_a_pattern_that_leaves_out_an_erased_attachment_or_its_mail_does_not_lift_its_erasure(
    bucket: Bucket, ledger: Ledger, patterns: dict[str, list[str]]
) -> None:
    bucket.sync(ledger=ledger)
    row = bucket.rows()["offer.eml!/terms.txt"]
    about = {name: row[name] for name in ("key", "doc_id", "revision", "etag", "size", "last_modified")}
    ledger.record_erasure("test", receipt={}, **about)
    uri = bucket.policy.uri
    for _ in range(2):
        bucket.policy = SourcePolicy(uri=uri, **patterns)
        bucket.sync(ledger=ledger, confirm_removals=True)
        assert row["key"] not in bucket.rows()
        bucket.policy = SourcePolicy(uri=uri)
        bucket.sync(ledger=ledger, confirm_removals=True)
        assert bucket.rows()[row["key"]]["reason"] == "erased"
    (bucket.folder / "offer.eml").unlink()
    bucket.sync(ledger=ledger, confirm_removals=True)
    assert ledger.erasures("test", row["key"])[0].lifted_at is not None


# --- the whole line -------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    root = station_corpus.make(tmp_path)
    with open_corpus(root) as corpus:
        (documents_of(corpus) / "offer.eml").write_bytes(
            mail_bytes("Offer", BODY, {"terms.txt": TERMS, "plan.txt": PLAN})
        )
        station_corpus.reindex(corpus)
        yield corpus


def documents_of(corpus: Corpus) -> Path:
    return corpus.project.root / "documents"


def receipts(corpus: Corpus) -> dict[str, Receipt]:
    return {receipt.key: receipt for receipt in corpus.receipts()}


def keys_found(corpus: Corpus, question: str, principal: Principal | None = None) -> list[str]:
    return [passage.key for passage in corpus.search(question, 3, principal=principal)]


@pytest.mark.slow
def test_an_attachment_is_searched_receipted_permitted_and_erased_with_its_mail(corpus: Corpus) -> None:
    question = "How long is the landing stage let?"
    assert keys_found(corpus, question)[0] == "offer.eml!/terms.txt"
    said = receipts(corpus)
    assert said["offer.eml"].attachments == ("offer.eml!/plan.txt", "offer.eml!/terms.txt")
    assert said["offer.eml!/terms.txt"].parent == "offer.eml" and said["offer.eml!/terms.txt"].state == "indexed"
    assert sum(corpus.status().states.values()) == len(said)

    assert requeue(corpus, ["offer.eml"], reason="look again") == 3
    assert {key for key, receipt in receipts(corpus).items() if receipt.state == RECEIPT_STATES[-1]} == {
        "offer.eml",
        "offer.eml!/plan.txt",
        "offer.eml!/terms.txt",
    }
    (documents_of(corpus) / "offer.eml.acl.json").write_text('{"groups": ["crew"]}')
    station_corpus.reindex(corpus)
    assert not any(key.startswith("offer.eml") for key in keys_found(corpus, question))
    crew = Principal(frozenset({"crew"}))
    assert keys_found(corpus, question, crew)[0] == "offer.eml!/terms.txt"

    alone = erase(corpus, "offer.eml!/plan.txt", reason="asked for")
    assert alone.verified.found == 0 and alone.still_listed and alone.attached == ()
    station_corpus.reindex(corpus)
    assert corpus.receipts("offer.eml!/plan.txt")[0].reason == "erased"
    assert corpus.receipts("offer.eml!/terms.txt")[0].state == "indexed"
    assert Pipeline(corpus, workers=1).source_objects().details["read"] == 0

    whole = erase(corpus, "offer.eml", reason="asked for")
    assert whole.verified.found == 0
    assert "offer.eml!/terms.txt" in whole.attached and sum(whole.removed.points.values()) >= 2
    report = station_corpus.reindex(corpus)
    assert all(check.passed for check in report.checks)
    assert [key for key in receipts(corpus) if key.startswith("offer.eml")] == ["offer.eml"]
    assert not any(key.startswith("offer.eml") for key in keys_found(corpus, question, crew))


def test_a_revocation_reaches_what_was_attached_to_a_mail_that_cannot_be_opened_now(corpus: Corpus) -> None:
    question = "How long is the landing stage let?"
    assert keys_found(corpus, question)[0] == "offer.eml!/terms.txt"
    before = corpus.live()
    mail = documents_of(corpus) / "offer.eml"
    (documents_of(corpus) / "offer.eml.acl.json").write_text('{"groups": ["crew"]}')
    mail.write_bytes(mail.read_bytes() + b"\r\n" * (corpus.policy.parse.max_bytes // 2 + 1))
    station_corpus.reindex(corpus)
    assert corpus.receipts("offer.eml")[0].reason == "too_large"
    assert not any(receipt.key.startswith("offer.eml!/") for receipt in corpus.receipts())
    found = {passage.key for passage in corpus.search(question, 10, release=before)}
    assert found and not any(key.startswith("offer.eml") for key in found)
    crew = Principal(frozenset({"crew"}))
    assert "offer.eml!/terms.txt" in {p.key for p in corpus.search(question, 10, release=before, principal=crew)}


@pytest.mark.parametrize("narrowed", [True, False], ids=["narrowed", "before the release is narrowed"])
def test_what_was_attached_is_listed_to_who_may_read_its_mail_now(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, narrowed: bool
) -> None:
    before = corpus.live()
    assert before is not None
    attached = "offer.eml!/terms.txt"
    one = {document_id(corpus.name, attached)}

    def listed(*groups: str) -> set[str]:
        return {document.key for document in page_of_documents(corpus, readers={*groups, "*"}).documents}

    assert attached in listed()
    mail = documents_of(corpus) / "offer.eml"
    mail.write_bytes(mail.read_bytes() + b"\r\n" * (corpus.policy.parse.max_bytes // 2 + 1))
    (documents_of(corpus) / "offer.eml.acl.json").write_text('{"groups": ["crew"]}')
    if narrowed:
        station_corpus.reindex(corpus)
        rollback(corpus, before, reason="Look.")
    else:
        monkeypatch.setattr("headwater.pipeline.apply_permissions", lambda *_: [])
        Pipeline(corpus, workers=1).source_objects()
    assert corpus.live() == before and attached not in {receipt.key for receipt in corpus.receipts()}
    assert attached not in listed() and attached in listed("crew")
    assert readable_documents(corpus, one, {"*"}, before) == frozenset()
    assert readable_documents(corpus, one, {"crew", "*"}, before) == one
