"""What the privacy policy does to documents on their way through the line, and who may undo it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import docx
import polars as pl
import pyarrow as pa
import pytest
from reportlab.pdfgen.canvas import Canvas
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.errors import ConfigError, HeadwaterError, NotFoundError
from headwater.pipeline import Pipeline
from headwater.policies import PrivacyPolicy, PrivacyRecognizer
from headwater.privacy.revealing import reveal_document, reveal_token
from headwater.stages.anonymized_documents import anonymize_rows, privacy_stage
from headwater.stages.name_spans import name_rows, name_stage
from tests.conftest import MakeCorpus

KEY = "a secret of this test, not of anyone"
LETTER = """# Letter to Tomoko Lindqvist

Tomoko Lindqvist pays the pump of the north house from the account GB82 WEST 1234 5698 7654 32, and nobody else does.
The pump runs at night, as it has for years, and the keeper of the house counts its turns whenever the river is high.

## What Ilse Varga said

Ilse Varga said that the pump should stay where it is, because the river rises every spring and the cellar is low.
She can be asked at ilse.varga@example.org, and the office in Utrecht keeps a copy of the plan for everyone to read.
"""
FORM = """# Form of the north house

The form asks for a number that nobody should write down here, and yet somebody did: the social security number is
536-90-4399, which stands on the second line. The keeper of the house keeps the form in a drawer and locks it at night.
"""
POLICY = {"actions": {"PERSON": "pseudonym", "IBAN_CODE": "encrypt", "US_SSN": "reject_document"}}
DOCUMENT_STAGES = ("source_objects", "parsed_documents", "quality_documents", "deduplicated_documents")


@pytest.fixture
def corpus(make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY)
    path = make_corpus("letters", {"letter.md": LETTER, "form.md": FORM}, privacy=POLICY)
    with open_corpus(path) as corpus:
        for stage in (*DOCUMENT_STAGES, "anonymized_documents"):
            getattr(Pipeline(corpus, workers=1), stage)()
        yield corpus


def row(corpus: Corpus, key: str) -> dict[str, object]:
    names = corpus.tables.source_objects.scan().select("doc_id", "key")
    documents = corpus.tables.anonymized_documents.scan().join(names, on="doc_id")
    return documents.filter(pl.col("key") == key).collect().row(0, named=True)


def test_text_title_and_headings_hold_no_name_and_the_audit_counts_what_was_done(corpus: Corpus) -> None:
    done = row(corpus, "letter.md")
    said = json.dumps([done["text"], done["title"], [element["section"] for element in done["elements"]]])  # type: ignore[attr-defined]
    assert not [name for name in ("Tomoko", "Lindqvist", "Ilse", "Varga", "GB82") if name in said]
    assert "Person-" in str(done["title"]) and "Utrecht" in said
    audit = json.loads(str(done["personal_data"]))
    assert audit["PERSON"]["pseudonym"] >= 3 and audit["IBAN_CODE"] == {"encrypt": 1}
    assert audit["EMAIL_ADDRESS"] == {"replace": 1} and audit["LOCATION"] == {"keep": 1}


def test_the_table_of_names_says_where_and_never_what(corpus: Corpus) -> None:
    names = corpus.tables.name_spans.scan().collect()
    assert sum(map(len, names["names"].to_list())) >= 4
    written = names.write_json()
    assert not [name for name in ("Tomoko", "Lindqvist", "Ilse", "Varga", "Utrecht") if name in written]


def test_a_document_with_what_is_not_accepted_is_rejected_in_plain_words(corpus: Corpus) -> None:
    done = row(corpus, "form.md")
    assert (done["state"], done["reason"], done["text"]) == ("rejected", "personal_data", None)
    assert done["error"] == "The document holds US_SSN (1), which this corpus does not accept."
    for stage in ("chunks", "embeddings", "index_candidate"):
        getattr(Pipeline(corpus, workers=1), stage)()
    assert Pipeline(corpus).end_states() == {"indexed": 1, "rejected": 1}


def test_the_copy_of_a_rejected_document_is_searched_in_its_place(make_corpus: MakeCorpus) -> None:
    body = "\n\n".join(f"Row {n} of the form says who keeps weir number {n}, and since when." for n in range(30))
    files = {"a.md": f"{body}\n\nThe social security number is 536-90-4399.\n", "b.md": f"{body}\n"}
    path = make_corpus(
        "forms",
        files,
        privacy={"actions": {"US_SSN": "reject_document"}},
        source={"uri": "./documents", "write_receipts": True},
    )
    with open_corpus(path) as corpus:
        assert Pipeline(corpus, workers=1).run().states == {"indexed": 1, "rejected": 1}
        (refused,), (receipt,) = corpus.receipts("a.md"), corpus.receipts("b.md")
        assert (refused.state, refused.reason, refused.survivor) == ("rejected", "personal_data", None)
        assert (receipt.state, receipt.survivor, receipt.duplicates) == ("indexed", None, ())
        file = path / "documents" / ".headwater" / "receipts" / "b.md.json"
        assert json.loads(file.read_text())["searchable"]
        (passage,) = corpus.search("who keeps weir number 4", k=1)
        assert passage.key == "b.md" and not passage.duplicates


def test_nothing_is_computed_twice_and_another_key_computes_all(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = row(corpus, "letter.md")["text"]
    assert Pipeline(corpus, workers=1).anonymized_documents().recomputed == 0
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY[::-1])
    version = corpus.tables.name_spans.version()
    assert Pipeline(corpus, workers=1).anonymized_documents().recomputed == 2
    assert corpus.tables.name_spans.version() == version
    assert row(corpus, "letter.md")["text"] != before


def test_a_missing_key_is_an_error_before_anything_is_done(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_PRIVACY_KEY")
    versions = corpus.tables.versions()
    with pytest.raises(ConfigError, match="HEADWATER_PRIVACY_KEY is not set"):
        Pipeline(corpus, workers=1).run()
    assert corpus.tables.versions() == versions


def test_a_token_is_revealed_for_a_reason_and_the_ledger_keeps_who_and_why_never_what(corpus: Corpus) -> None:
    (opened,) = reveal_document(corpus, "letter.md", reason="Asked by the account's owner.", who="keeper")
    assert (opened.entity, opened.value) == ("IBAN_CODE", "GB82 WEST 1234 5698 7654 32")
    assert reveal_token(corpus, opened.token, reason="Once more.").value == opened.value
    second, first = corpus.ledger.reveals(corpus.name)
    assert (first.who, first.reason, first.entities) == ("keeper", "Asked by the account's owner.", {"IBAN_CODE": 1})
    assert first.documents == second.documents == (str(row(corpus, "letter.md")["doc_id"]),)
    kept = [value for table, values in corpus.ledger.texts() if table == "reveals" for value in values]
    assert not [value for value in kept if value and ("GB82" in value or opened.token in value)]
    with pytest.raises(ConfigError, match="why"):
        reveal_token(corpus, opened.token, reason="  ")
    with pytest.raises(NotFoundError):
        reveal_document(corpus, "nowhere.md", reason="Why not.")
    assert len(corpus.ledger.reveals(corpus.name)) == 2


def test_every_attempt_to_reveal_is_in_the_audit_log(corpus: Corpus) -> None:
    (opened,) = reveal_document(corpus, "letter.md", reason="Asked by the owner.", who="keeper")
    with pytest.raises(HeadwaterError):
        reveal_token(corpus, opened.token[:-6] + "AAAAA>", reason="Guessing.", who="guesser")
    guess, done = corpus.ledger.audit_entries(corpus=corpus.name, action="document.reveal")
    assert (done.who, done.outcome, done.target) == ("keeper", "ok", row(corpus, "letter.md")["doc_id"])
    assert done.counts == {"values": 1, "documents": 1}
    assert (guess.who, guess.outcome, guess.counts) == ("guesser", "refused", {})


def test_what_only_looks_like_a_token_keeps_no_document_shut_and_a_heading_counts_as_its_document(
    corpus: Corpus,
) -> None:
    (opened,) = reveal_document(corpus, "letter.md", reason="To have a token.")
    forged = opened.token[:-6] + "AAAAA>"
    (Path(urlsplit(corpus.policy.source.uri).path) / "forged.md").write_text(
        f"# Account {opened.token}\n\nSomebody wrote {forged} into this letter, and nobody knows why they did.\n"
    )
    for stage in (*DOCUMENT_STAGES, "anonymized_documents"):
        getattr(Pipeline(corpus, workers=1), stage)()
    found = {item.token: item.value for item in reveal_document(corpus, "forged.md", reason="A look at it.")}
    assert found == {opened.token: opened.value, forged: None}
    reveal_token(corpus, opened.token, reason="Who has it?")
    assert str(row(corpus, "forged.md")["doc_id"]) in corpus.ledger.reveals(corpus.name)[0].documents


def test_the_command_reveals_and_refuses(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    done = run(app, ["reveal", "letters", "--document", "letter.md", "--reason", "A test.", "--json"])
    assert done.exit_code == 0 and json.loads(done.output)[0]["value"].startswith("GB82")
    token = json.loads(done.output)[0]["token"]
    assert run(app, ["reveal", "letters", token]).exit_code != 0
    assert run(app, ["reveal", "letters", "--reason", "A test."]).exit_code != 0
    listed = run(app, ["reveal", "letters", "--list"])
    assert listed.exit_code == 0 and "IBAN_CODE 1" in listed.stdout and "A test." in listed.stdout
    assert "GB82" not in listed.stdout
    assert run(app, ["reveal", "letters", "--list", "--reason", "A test."]).exit_code != 0
    monkeypatch.delenv("HEADWATER_PRIVACY_KEY")
    refused = run(app, ["reveal", "letters", token, "--reason", "A test."])
    assert refused.exit_code == 1 and "GB82" not in refused.output


def test_an_erased_document_leaves_no_names_behind(corpus: Corpus, tmp_path: Path) -> None:
    doc_id = str(row(corpus, "letter.md")["doc_id"])
    receipt = erase(corpus, "letter.md", reason="A test.")
    assert receipt.verified.found == 0 and receipt.removed.rows["name_spans"] == 1
    assert doc_id not in corpus.tables.name_spans.read(["doc_id"])["doc_id"].to_list()


def test_own_kinds_of_personal_data_beside_names_reach_the_stage_of_names() -> None:
    policy = PrivacyPolicy(
        entities=["PERSON", "EMPLOYEE_ID"],
        recognizers=[PrivacyRecognizer(entity="EMPLOYEE_ID", patterns=[r"\bE-\d{5}\b"])],
    )
    stage = name_stage(policy)
    row = {"id": "1", "text": "Ask Maria Lindqvist, E-12345.", "elements": [], "title": None, "metadata": None}
    found = name_rows(pa.Table.from_pylist([row]), {**stage.parameters, **stage.ephemeral}).to_pylist()
    assert [span["entity"] for span in found[0]["names"]] == ["PERSON"]


def test_personal_data_in_metadata_is_replaced_whatever_it_is_written_as(make_corpus: MakeCorpus) -> None:
    page = "---\nauthor: ilse.varga@example.org\nphone: 4155550132\ncard: 4111111111111111\nversion: 3\n---\n" + LETTER
    path = make_corpus("pages", {"page.md": page}, privacy={"actions": {"PERSON": "keep"}})
    with open_corpus(path) as corpus:
        for stage in (*DOCUMENT_STAGES, "anonymized_documents"):
            getattr(Pipeline(corpus, workers=1), stage)()
        [stated] = corpus.tables.anonymized_documents.read(["metadata"])["metadata"].to_list()
    assert "ilse.varga" not in stated and "4155550132" not in stated and "4111111111111111" not in stated
    assert json.loads(stated)["meta"]["version"] == 3


def test_a_character_that_nobody_sees_hides_no_personal_data(make_corpus: MakeCorpus) -> None:
    page = (
        "---\ntitle: Contact anna.meier@\u200bexample.com\ntags: [bert.kahn@exam\xadple.com]\ndesk: duty.desk@\u2060example.com\n"
        f"---\n# Desk of clara.voss@exam\xadple.com\n\nWrite to clara.voss@exam\xadple.com at once.\n\n{LETTER}"
    )
    path = make_corpus("pages", {"page.md": page}, privacy={"names": False})
    with open_corpus(path) as corpus:
        for stage in (*DOCUMENT_STAGES, "anonymized_documents"):
            getattr(Pipeline(corpus, workers=1), stage)()
        [row] = corpus.tables.anonymized_documents.read(["title", "elements", "text", "metadata"]).to_dicts()
    assert row["title"] == "Contact <EMAIL_ADDRESS>"
    assert row["elements"][0]["section"] == ["Desk of <EMAIL_ADDRESS>"]
    assert "Write to <EMAIL_ADDRESS> at once." in row["text"]
    stated = json.loads(row["metadata"])
    assert stated["keywords"] == ["<EMAIL_ADDRESS>"] and stated["meta"] == {"desk": "<EMAIL_ADDRESS>"}


def test_an_author_that_the_policy_allows_stays() -> None:
    authors = ["Acme  Desk", "Acme Pump Team", "desk@acme.example", "Ilse Varga"]
    stage = privacy_stage(
        PrivacyPolicy(names=False, allow=["Acme Desk"], allow_patterns=["Acme .* Team", r".*@acme\.example"])
    )
    row = {
        "id": "1", "text": BODY, "elements": [], "title": None, "metadata": json.dumps({"authors": authors}), "names": [],
        "label_names": [],
    }  # fmt: skip
    [done] = anonymize_rows(pa.Table.from_pylist([row]), stage.parameters).to_pylist()
    assert json.loads(done["metadata"])["authors"] == ["Acme Desk", "Acme Pump Team", "desk@acme.example", "<PERSON>"]


BODY = "The pump of the north house runs at night, as it has for years, and the keeper counts its turns in {}."
SEASONS = ("spring", "summer", "autumn", "winter", "a flood")


def stating(author: str, address: str) -> dict[str, bytes | str]:
    """Return one document of each kind that says things of itself: its author, and an address in all that it can say."""
    page = io.BytesIO()
    canvas = Canvas(page)
    canvas.setAuthor(author)
    canvas.setTitle(f"Pump plan for {address}")
    canvas.setSubject(f"Asked for by {address}")
    canvas.setKeywords([address, "pump"])
    canvas.drawString(40, 720, BODY.format(SEASONS[0]))
    canvas.save()
    office, written = docx.Document(), io.BytesIO()
    office.core_properties.author = office.core_properties.last_modified_by = author
    office.core_properties.title = f"Turns of the pump, for {address}"
    for name in ("subject", "keywords", "comments", "category"):
        setattr(office.core_properties, name, address)
    office.add_paragraph(BODY.format(SEASONS[1]))
    office.save(written)
    return {
        "plan.pdf": page.getvalue(),
        "turns.docx": written.getvalue(),
        "page.html": f"<html><head><title>Pump, {address}</title><meta name=author content='{author}'><meta name=keywords "
        f"content='{address}'><meta name=description content='{address}'></head><body><p>{BODY.format(SEASONS[2])}</p></body></html>",
        "note.md": f"---\ntitle: Note for {address}\nauthor: {author}\nkeywords: [pump, {address}]\neditor: {author}\n"
        f"desk: {address}\nphone: 4155550132\n---\n# Pump\n\n{BODY.format(SEASONS[3])}\n",
        "post.eml": f"From: {author} <{address}>\r\nTo: {author} <{address}>\r\nCc: {address}\r\nReply-To: {address}\r\n"
        f"Subject: Pump, for {address}\r\nDate: Tue, 05 Mar 2024 09:30:00 +0100\r\n\r\n{BODY.format(SEASONS[4])}\r\n",
    }


def test_what_documents_of_any_kind_say_of_themselves_reaches_the_index_without_personal_data(
    make_corpus: MakeCorpus,
) -> None:
    author, address = "Ondine Marsh-Okafor", "ondine.marsh@heronworks.example.org"
    files = stating(author, address)
    gate = {"known_item_queries": 0, "min_known_item_recall": 0.0}
    path = make_corpus("stating", files, gate=gate, quality={"languages": []}, dedup={"enabled": False})
    with open_corpus(path) as corpus:
        Pipeline(corpus, workers=1).run()
        assert {(receipt.key, receipt.state) for receipt in corpus.receipts()} == {(key, "indexed") for key in files}
        stated = corpus.tables.parsed_documents.scan().select("title", "metadata").collect()
        said = [json.dumps(row) for row in stated.iter_rows()]
        assert all(author in row and address in row for row in said), "a document that says nothing proves nothing"
        with corpus.searcher(corpus.live()) as searcher:
            points = searcher.retrieve(sorted(searcher.fingerprints()))
        assert len(points) == len(files)
        behind = [json.dumps(point.payload, default=str) for point in points]
        for table in ("anonymized_documents", "chunks", "embeddings", "index_manifest", "leak_scans", "receipts"):
            behind += [str(row) for row in getattr(corpus.tables, table).scan().collect().iter_rows()]
    for text in behind:
        for word in ("ondine", "okafor", "heronworks", "4155550132"):
            assert word not in text.casefold(), text
