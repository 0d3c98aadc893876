"""The sample corpus through the whole line: planted cases, golden questions, and personal data that must not pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline, ReindexReport
from headwater.types import Principal

ROOT = Path(__file__).parent.parent
STAFF = Principal(frozenset({"hr"}))

pytestmark = pytest.mark.slow


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / "samples" / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, ReindexReport]]:
    root = tmp_path_factory.mktemp("line")
    shutil.copytree(ROOT / "samples", root / "samples")
    shutil.copytree(ROOT / "assets" / "samples", root / "assets" / "samples")
    (root / "workspace.yaml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWATER_HOME", raising=False)
        with open_corpus(root / "assets" / "samples") as corpus:
            yield corpus, Pipeline(corpus, workers=2).run()


def test_every_planted_case_ends_as_it_should(line: tuple[Corpus, ReindexReport]) -> None:
    corpus, report = line
    expected = {row["key"]: row for row in lines("expected.jsonl")}
    receipts = corpus.receipts()
    assert report.listed == len(receipts) == sum(report.states.values())
    for receipt in receipts:
        wanted = expected.get(receipt.key, {"state": "indexed", "reason": "ok"})
        assert (receipt.state, receipt.reason) == (wanted["state"], wanted["reason"]), receipt.key
        assert receipt.survivor == wanted.get("survivor"), receipt.key


def test_golden_questions_are_found_and_the_unanswerable_refused(line: tuple[Corpus, ReindexReport]) -> None:
    check = next(check for check in line[1].checks if check.name == "golden_recall")
    assert check.details["golden_questions"] == 25
    assert check.details["golden_recall_at_10"] >= 0.9
    assert check.details["refusal_accuracy"] >= 0.8
    assert check.details["right_document_cited"] >= 0.9


def test_no_planted_personal_data_passes_anonymisation(line: tuple[Corpus, ReindexReport]) -> None:
    corpus, _ = line
    planted = [row for row in lines("personal_data.jsonl") if row["found_by"] == "patterns"]
    assert len(planted) >= 10
    tables = corpus.tables
    documents = tables.anonymized_documents.read(["doc_id", "text", "title"])
    chunks = tables.chunks.read(["text", "embedded", "title"])
    kept = [*documents["text"], *documents["title"], *chunks["text"], *chunks["embedded"]]
    passages = corpus.search("telephone, e-mail, account and card of the person", 200, principal=STAFF)
    kept += [passage.text for passage in passages]
    everything = "\n".join(text for text in kept if text)
    found = [row["entity"] for row in planted if row["value"] in everything]
    assert found == []
    stored = [
        file for name in ("anonymized_documents", "chunks", "embeddings") for file in (tables.path / name).rglob("*")
    ]
    stored += list(corpus.project.index_path(corpus.name).rglob("*"))
    for file in stored:
        content = file.read_bytes() if file.is_file() else b""
        assert not [row["entity"] for row in planted if row["value"].encode() in content], file.name


def test_restricted_documents_are_for_their_readers_only(line: tuple[Corpus, ReindexReport]) -> None:
    corpus, _ = line
    questions = [row["question"] for row in lines("golden.jsonl")]
    assert not any(p.key.startswith("hr/") for q in questions for p in corpus.search(q, 50))
    assert any(p.key.startswith("hr/") for q in questions for p in corpus.search(q, 50, principal=STAFF))


def test_a_new_revision_of_a_page_replaces_the_old_one(line: tuple[Corpus, ReindexReport]) -> None:
    corpus, before = line
    question = "What is the meal allowance for a full day away?"
    assert "42 EUR" in corpus.answer(question).text
    page = corpus.project.root / "samples/documents/policies/travel.md"
    shutil.copy(corpus.project.root / "samples/revisions/policies/travel.md", page)
    after = Pipeline(corpus, workers=2).run()
    assert after.release == (before.release or 0) + 1
    answer = corpus.answer(question)
    assert "48 EUR" in answer.text and "42 EUR" not in answer.text
