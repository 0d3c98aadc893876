"""A search result names the documents that it stands for, to those who may see them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from headwater.cli import app
from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.pipeline import Pipeline
from headwater.project import Project
from headwater.types import Duplicate, Principal
from serving.app import create_app
from tests.conftest import SMALL, MakeCorpus

KEPT, COPY = "policies/leave-copy.md", "policies/leave.md"
QUERY = "days of paid leave"


@pytest.fixture
def corpus(indexed_copy: Project) -> Iterator[Corpus]:
    with open_corpus(indexed_copy.root / "assets" / SMALL) as corpus:
        yield corpus


def documents(corpus: Corpus) -> Path:
    return corpus.project.root / "assets" / corpus.name / "documents"


def named(corpus: Corpus, *groups: str, release: int | None = None) -> dict[str, list[str]]:
    """The keys of the duplicates by the key of the document found, where there are any."""
    found = corpus.search(QUERY, 20, principal=Principal(frozenset(groups)), release=release)
    return {passage.key: [other.key for other in passage.duplicates] for passage in found if passage.duplicates}


def permit(corpus: Corpus, key: str, groups: list[str]) -> None:
    (documents(corpus) / f"{key}.acl.json").write_text(json.dumps({"groups": groups}))


def list_objects(corpus: Corpus) -> None:
    """Take note of the bucket, as the first step of a reindex does."""
    Pipeline(corpus, workers=1).source_objects()


def test_every_passage_of_a_document_lists_what_it_stands_for(small_corpus: Corpus) -> None:
    found = [passage for passage in small_corpus.search(QUERY, 20) if passage.key == KEPT]
    assert found
    for passage in found:
        (other,) = passage.duplicates
        assert isinstance(other, Duplicate)
        assert (other.key, other.similarity) == (COPY, 1.0)
    assert named(small_corpus) == {KEPT: [COPY]}


def test_a_duplicate_is_named_to_nobody_who_may_not_read_it_any_more(corpus: Corpus) -> None:
    live = corpus.live()
    assert named(corpus) == {KEPT: [COPY]}
    permit(corpus, COPY, ["hr"])
    list_objects(corpus)
    assert named(corpus) == {}
    assert named(corpus, "hr") == {KEPT: [COPY]}
    assert any(passage.duplicates for passage in corpus.search_as(None, QUERY, 20))
    Pipeline(corpus, workers=1).run()
    assert named(corpus) == {}  # other readers: two documents
    assert [{key, *others} for key, others in named(corpus, "hr").items()] == [{KEPT, COPY}]  # who reads both sees one
    assert named(corpus, "hr", release=live) == {KEPT: [COPY]}
    assert named(corpus, release=live) == {}


def test_a_duplicate_that_left_the_bucket_is_not_named(corpus: Corpus) -> None:
    (documents(corpus) / COPY).unlink()
    list_objects(corpus)
    assert named(corpus, "hr") == {}


def test_an_erased_duplicate_is_not_named_in_any_release(corpus: Corpus) -> None:
    assert named(corpus) == {KEPT: [COPY]}
    erase(corpus, COPY, reason="asked")
    for readers in (None, frozenset({"*"})):
        assert not any(passage.duplicates for passage in corpus.search_as(readers, QUERY, 20))


def test_another_process_sees_an_erasure_at_once(corpus: Corpus) -> None:
    with open_corpus(corpus.project.root / "assets" / SMALL) as reader:
        assert named(reader) == {KEPT: [COPY]}
        erase(corpus, COPY, reason="asked")
        assert named(reader) == {}


def test_a_release_keeps_its_own_duplicates(corpus: Corpus) -> None:
    live = corpus.live()
    text = (documents(corpus) / KEPT).read_text()
    (documents(corpus) / "policies/leave-again.md").write_text(text)
    Pipeline(corpus, workers=1).run()
    corpus.refresh()
    again = "policies/leave-again.md"
    assert named(corpus) == {again: [KEPT, COPY]}
    assert named(corpus, release=live) == {KEPT: [COPY]}


def test_near_duplicates_come_after_copies(make_corpus: MakeCorpus) -> None:
    sentences = [f"Rule {n} of the boat house says what the keeper does in week {n}." for n in range(20)]
    text = "\n\n".join(sentences)
    files = {
        "rules.md": f"{text}\n\nAnd rule 20 is to ring the bell.",
        "a.md": text,
        "b.md": f"{text}\n\nAnd rule 20 is to ring the bell.",
    }
    with open_corpus(make_corpus("boats", files)) as corpus:
        Pipeline(corpus, workers=1).run()
        (passage,) = corpus.search("who rings the bell in the boat house", 1)
        assert passage.key == "b.md"
        assert [other.key for other in passage.duplicates] == ["rules.md", "a.md"]
        assert passage.duplicates[0].similarity == 1.0 > passage.duplicates[1].similarity >= 0.8


def test_a_search_does_not_fail_when_the_lake_can_not_be_read(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(corpus.project.lake_path(corpus.name))
    with caplog.at_level(logging.WARNING, logger="headwater.duplicates"):
        assert corpus.search(QUERY, 5)
        assert named(corpus) == {}
    assert "can't be read" in caplog.text


def test_the_search_command_names_the_duplicates(indexed: Project) -> None:
    def run(*more: str) -> str:
        result = CliRunner().invoke(app, ["search", SMALL, QUERY, *more])
        assert result.exit_code == 0
        return result.stdout

    assert f"Also in: {COPY} (similarity 1.00)" in " ".join(run().split())
    passages = json.loads(run("--json"))
    listed = [passage["duplicates"] for passage in passages if passage["key"] == KEPT]
    assert listed
    assert all([other["key"] for other in duplicates] == [COPY] for duplicates in listed)


def test_the_endpoint_names_the_duplicates_to_those_who_may_read_them(corpus: Corpus) -> None:
    permit(corpus, COPY, ["hr"])
    list_objects(corpus)
    with TestClient(create_app(corpora={SMALL: corpus}), client=("127.0.0.1", 5000)) as client:
        for groups, expected in (([], []), (["hr"], [{"key": COPY, "similarity": 1.0}])):
            body = {"corpus": SMALL, "query": QUERY, "groups": groups}
            passages = client.post("/v1/retrieve", json=body).json()["passages"]
            (duplicates, *_) = (passage["duplicates"] for passage in passages if passage["key"] == KEPT)
            assert [{"key": other["key"], "similarity": other["similarity"]} for other in duplicates] == expected
