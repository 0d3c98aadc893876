"""The whole line on the stores of a cluster: documents and lake in S3, the ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.erase.swap import rewrite_lake
from headwater.errors import LeaseError
from headwater.pipeline import STAGES
from headwater.releases import collect_garbage, promote, rollback
from headwater.types import Principal
from tests import station_corpus
from tests.object_store import new_bucket, s3_client, use_server
from tests.postgres import database
from tests.station_corpus import reindex, thing

QUESTION = "How often is the weir greased?"


@dataclass
class Line:
    """A project on servers; ``bucket`` holds its documents and its lake."""

    root: Path
    bucket: str
    ledger: str

    def put(self, key: str, text: str) -> None:
        s3_client().put_object(Bucket=self.bucket, Key=f"documents/{key}", Body=text.encode())

    def delete(self, key: str) -> None:
        s3_client().delete_object(Bucket=self.bucket, Key=f"documents/{key}")

    def objects(self, prefix: str) -> dict[str, bytes]:
        client = s3_client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture
def line(s3_server: str, postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    use_server(s3_server, monkeypatch)
    root, bucket = tmp_path / "project", new_bucket()
    root.mkdir()
    station_corpus.make(root)
    with database(postgres_server) as ledger:
        monkeypatch.delenv("HEADWATER_PROJECT", raising=False)
        monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HEADWATER_LAKE", f"s3://{bucket}/lakes")
        monkeypatch.setenv("HEADWATER_LEDGER_URL", ledger)
        line = Line(root, bucket, ledger)
        for path in (root / "documents").iterdir():
            line.put(path.name, path.read_text())
        station_corpus.configure(root, source={"uri": f"s3://{bucket}/documents"})
        yield line


@pytest.fixture
def corpus(line: Line) -> Iterator[Corpus]:
    with open_corpus(line.root / "assets" / station_corpus.NAME) as corpus:
        yield corpus


@pytest.mark.slow
def test_reindex_ask_edit_delete_roll_back_and_erase_on_servers(line: Line, corpus: Corpus, tmp_path: Path) -> None:
    s3_client().put_bucket_versioning(Bucket=line.bucket, VersioningConfiguration={"Status": "Enabled"})
    report = reindex(corpus)
    assert report.release == 1 and all(check.passed for check in report.checks)
    recorded = corpus.search(QUESTION, 5)
    assert recorded[0].key == thing(0)
    answer = corpus.answer(QUESTION)
    assert not answer.refused and "weir" in answer.sentences[0].text
    assert {receipt.state for receipt in corpus.receipts()} == {"indexed"}

    assert sum(stage.recomputed for stage in reindex(corpus).stages if stage.stage in STAGES[:7]) == 0

    line.put(thing(0), station_corpus.document(0).replace("log", "diary"))
    line.delete(thing(3))
    assert reindex(corpus).release == 2
    assert any("diary" in passage.text for passage in corpus.search(QUESTION, 5))
    assert all(passage.key != thing(3) for passage in corpus.search("How often is the ladder greased?", 30))

    assert rollback(corpus, reason="look") == 1 and corpus.search(QUESTION, 5) == recorded
    promote(corpus, 2, reason="go on")
    line.put(f"{thing(0)}.acl.json", '{"groups": ["field"]}')
    reindex(corpus)
    for release in (1, 2, None):
        assert all(passage.key != thing(0) for passage in corpus.search(QUESTION, 30, release=release))
        found = corpus.search(QUESTION, 1, release=release, principal=Principal(frozenset({"field"})))
        assert found[0].key == thing(0)

    secret = station_corpus.sentence(2)
    asked = corpus.answer("How often is the boom greased?")
    assert any(secret in sentence.text for sentence in asked.sentences)
    receipt = erase(corpus, thing(2), reason="asked for")
    assert receipt.verified.found == 0, receipt.verified.places
    assert receipt.removed.rows["chunks"] and receipt.removed.points and receipt.removed.answers
    assert receipt.verified.files > 50
    old = s3_client().list_object_versions(Bucket=line.bucket, Prefix="lakes/")
    assert all(version["IsLatest"] for version in old["Versions"]) and "DeleteMarkers" not in old
    for key, data in line.objects("lakes/").items():
        assert secret.encode() not in data, key
    for _, texts in corpus.ledger.texts():
        assert all(secret not in (text or "") for text in texts)
    assert all(check.passed for check in reindex(corpus).checks)
    assert collect_garbage(corpus).releases == ()
    assert {path.name for path in (tmp_path / "home/lake").rglob("*") if path.is_file()} == {".lock"}


@pytest.mark.slow
def test_another_machine_finishes_an_erasure_that_was_killed_between_two_tables(
    line: Line, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex(corpus)
    secret = station_corpus.sentence(2)
    installed = []

    def killed(lake: object, name: str) -> None:
        installed.append(name)
        if len(installed) == 4:
            raise KeyboardInterrupt
        install(lake, name)  # type: ignore[arg-type]

    from headwater.erase.targets import install

    with monkeypatch.context() as patch:
        patch.setattr(f"{rewrite_lake.__module__}.install", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(corpus, thing(2), reason="asked for")
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "elsewhere"))
    with open_corpus(line.root / "assets" / station_corpus.NAME) as other, other.writing():
        assert other.ledger.erasures(other.name, thing(2))[0].receipt["verified"]["found"] == 0
        assert secret not in "".join(other.tables.chunks.read(["text"])["text"])
    for key, data in line.objects("lakes/").items():
        assert secret.encode() not in data, key


@pytest.mark.slow
def test_of_two_machines_one_writes_and_the_other_is_told_who(
    line: Line, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "elsewhere"))
    with open_corpus(line.root / "assets" / station_corpus.NAME) as other:
        with corpus.writing(), pytest.raises(LeaseError, match="holds the lease"):
            reindex(other)
        assert reindex(other).release == 1
    assert corpus.ledger.live(corpus.name) == 1
