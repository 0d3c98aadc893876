"""The sample corpus through the whole line: planted cases, golden questions, and personal data that must not pass.

Once with everything in files, and once with bucket and lake in S3 and the ledger in PostgreSQL.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from headwater.backup import backup, restore
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline, ReindexReport
from headwater.types import Principal
from tests.object_store import new_bucket, s3_client, use_server
from tests.postgres import database

ROOT = Path(__file__).parent.parent
STAFF = Principal(frozenset({"hr"}))

pytestmark = pytest.mark.slow


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / "samples" / name).read_text().splitlines()]


@dataclass
class Line:
    """The indexed sample corpus, how it was indexed, and the S3 bucket that it lies in, if it does."""

    corpus: Corpus
    report: ReindexReport
    bucket: str | None

    def put(self, key: str, file: Path) -> None:
        """Put a document where the corpus is read from."""
        if self.bucket is None:
            shutil.copy(file, self.corpus.project.root / "samples/documents" / key)
        else:
            s3_client().put_object(Bucket=self.bucket, Key=f"documents/{key}", Body=file.read_bytes())

    def stored(self, table: str) -> dict[str, bytes]:
        """Return the files of a stage table, by name."""
        if self.bucket is None:
            files = (self.corpus.tables.path / table).rglob("*")
            return {str(file): file.read_bytes() for file in files if file.is_file()}
        client, prefix = s3_client(), f"lakes/{self.corpus.name}/{table}/"
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in self.objects(prefix)}

    def objects(self, prefix: str) -> list[str]:
        """Return the keys of the bucket that begin with ``prefix``."""
        pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@pytest.fixture(scope="module", params=["files", "servers"])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    root, bucket = tmp_path_factory.mktemp("line"), None
    shutil.copytree(ROOT / "samples", root / "samples")
    shutil.copytree(ROOT / "assets" / "samples", root / "assets" / "samples")
    (root / "workspace.yaml").touch()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWATER_HOME", raising=False)
        if request.param == "servers":
            use_server(request.getfixturevalue("s3_server"), patch)
            bucket = new_bucket()
            patch.setenv("HEADWATER_LAKE", f"s3://{bucket}/lakes")
            patch.setenv(
                "HEADWATER_LEDGER_URL", stack.enter_context(database(request.getfixturevalue("postgres_server")))
            )
            documents = root / "samples/documents"
            for file in sorted(file for file in documents.rglob("*") if file.is_file()):
                key = f"documents/{file.relative_to(documents).as_posix()}"
                s3_client().put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
            shutil.rmtree(documents)
            config = root / "assets/samples/defs.yaml"
            settings = yaml.safe_load(config.read_text())
            settings["attributes"]["source"]["uri"] = f"s3://{bucket}/documents"
            config.write_text(yaml.safe_dump(settings))
        corpus = stack.enter_context(open_corpus(root / "assets" / "samples"))
        yield Line(corpus, Pipeline(corpus, workers=2).run(), bucket)


def test_every_planted_case_ends_as_it_should(line: Line) -> None:
    corpus, report = line.corpus, line.report
    expected = {row["key"]: row for row in lines("expected.jsonl")}
    receipts = corpus.receipts()
    assert report.listed == len(receipts) == sum(report.states.values())
    for receipt in receipts:
        wanted = expected.get(receipt.key, {"state": "indexed", "reason": "ok"})
        assert (receipt.state, receipt.reason) == (wanted["state"], wanted["reason"]), receipt.key
        assert receipt.survivor == wanted.get("survivor"), receipt.key


def test_golden_questions_are_found_and_the_unanswerable_refused(line: Line) -> None:
    check = next(check for check in line.report.checks if check.name == "golden_recall")
    assert check.details["golden_questions"] == 25
    assert check.details["golden_recall_at_10"] >= 0.9
    assert check.details["refusal_accuracy"] >= 0.8
    assert check.details["right_document_cited"] >= 0.9


def test_no_planted_personal_data_passes_anonymisation(line: Line) -> None:
    corpus = line.corpus
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
    stored: dict[str, bytes] = {}
    for name in ("anonymized_documents", "chunks", "embeddings"):
        files = line.stored(name)
        assert files, name
        stored |= files
    index = corpus.project.index_path(corpus.name).rglob("*")
    stored |= {str(file): file.read_bytes() for file in index if file.is_file()}
    for place, content in stored.items():
        assert not [row["entity"] for row in planted if row["value"].encode() in content], place


def test_restricted_documents_are_for_their_readers_only(line: Line) -> None:
    corpus = line.corpus
    questions = [row["question"] for row in lines("golden.jsonl")]
    assert not any(p.key.startswith("hr/") for q in questions for p in corpus.search(q, 50))
    assert any(p.key.startswith("hr/") for q in questions for p in corpus.search(q, 50, principal=STAFF))


def test_a_new_revision_of_a_page_replaces_the_old_one(line: Line) -> None:
    corpus, before = line.corpus, line.report
    question = "What is the meal allowance for a full day away?"
    assert "42 EUR" in corpus.answer(question).text
    line.put("policies/travel.md", corpus.project.root / "samples/revisions/policies/travel.md")
    after = Pipeline(corpus, workers=2).run()
    assert after.release == (before.release or 0) + 1
    answer = corpus.answer(question)
    assert "48 EUR" in answer.text and "42 EUR" not in answer.text


def test_what_was_lost_and_restored_answers_the_golden_set_as_before(line: Line, tmp_path: Path) -> None:
    project, target = line.corpus.project, tmp_path / "backup"

    def answered(corpus: Corpus) -> list[Any]:
        found = []
        for row in lines("golden.jsonl"):
            answer = corpus.answer(row["question"], principal=STAFF)
            passages = corpus.search(row["question"], 10, principal=STAFF)
            found.append((answer.refused, answer.reason, answer.release, answer.sentences, passages))
        return found

    before = answered(line.corpus)
    assert sum(not refused for refused, *_ in before) >= 15
    backup(project, str(target))
    line.corpus.close()
    shutil.rmtree(project.home)
    if line.bucket is not None:
        for key in line.objects("lakes/"):
            s3_client().delete_object(Bucket=line.bucket, Key=key)
        engine = sa.create_engine(project.ledger_url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
    restore(project, str(target))
    with open_corpus(project.root / "assets" / "samples") as restored:
        assert answered(restored) == before
