"""What happens to an object that changes, or can't be read, between being listed and being parsed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater.corpus import Corpus, open_corpus
from headwater.errors import HeadwaterError
from headwater.pipeline import Pipeline
from headwater.types import Principal
from tests.conftest import MakeCorpus

OFFICE = "# Office\n\nThe office in Berlin has a new canteen, which serves lunch from noon until two on every day.\n"
SECRET = "# Office\n\nThe office in Berlin is going to be closed for good in June, and everybody there is dismissed.\n"
QUESTION = "Is the office in Berlin closed for good and everybody dismissed?"
REST = (
    "quality_documents",
    "deduplicated_documents",
    "anonymized_documents",
    "chunks",
    "embeddings",
    "index_candidate",
)


@pytest.fixture
def corpus(make_corpus: MakeCorpus) -> Iterator[Corpus]:
    gate = {"known_item_queries": 0, "min_known_item_recall": 0}
    other = "# Weir\n\nThe weir is opened by the early watch, and closed again when the level falls below the mark.\n"
    path = make_corpus("office", {"office.md": OFFICE, "weir.md": other}, privacy={"enabled": False}, gate=gate)
    with open_corpus(path) as corpus:
        yield corpus


def documents(corpus: Corpus) -> Path:
    return Path(corpus.policy.source.uri.removeprefix("file://"))


def office(corpus: Corpus) -> dict[str, Any]:
    keys = corpus.tables.source_objects.scan().select("doc_id", "key")
    rows = corpus.tables.parsed_documents.scan().join(keys, on="doc_id")
    return rows.filter(pl.col("key") == "office.md").collect().row(0, named=True)


def finish(pipeline: Pipeline) -> None:
    for name in (*REST, "retrieval_evaluation"):
        getattr(pipeline, name)()
    pipeline.live_release(pipeline.gate())


def texts(corpus: Corpus, principal: Principal | None = None) -> str:
    return " ".join(passage.text for passage in corpus.search(QUESTION, 10, principal=principal))


def test_what_replaced_a_listed_object_is_not_shown_to_those_who_could_read_that(corpus: Corpus) -> None:
    file, sidecar = documents(corpus) / "office.md", documents(corpus) / "office.md.acl.json"
    pipeline = Pipeline(corpus, workers=1)
    pipeline.source_objects()
    sidecar.write_text('{"groups": ["board"]}')
    file.write_text(SECRET)
    pipeline.parsed_documents()
    row = office(corpus)
    assert (row["state"], row["reason"], row["text"]) == ("quarantined", "unreadable", None)
    assert "replaced after it was listed" in row["error"]
    finish(pipeline)
    assert "dismissed" not in texts(corpus)

    Pipeline(corpus, workers=1).run()
    assert "dismissed" not in texts(corpus)
    assert "dismissed" in texts(corpus, Principal(groups=frozenset({"board"})))

    # Put back as it was when it was listed first: nothing of what was there meanwhile stays.
    file.write_text(OFFICE)
    sidecar.unlink()
    Pipeline(corpus, workers=1).run()
    assert "dismissed" not in texts(corpus, Principal(groups=frozenset({"board"}))) and "canteen" in texts(corpus)


def test_an_object_that_could_not_be_read_is_read_again_at_the_next_reindex(corpus: Corpus) -> None:
    file = documents(corpus) / "office.md"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    pipeline = Pipeline(corpus, workers=1)
    pipeline.source_objects()
    aside = file.rename(documents(corpus).parent / "aside.md")
    pipeline.parsed_documents()
    assert office(corpus)["reason"] == "unreadable"
    aside.rename(file)
    os.utime(file, ns=times)
    again = Pipeline(corpus, workers=1)
    assert again.source_objects().recomputed == 0  # the same file, as far as the bucket says
    assert again.parsed_documents().recomputed == 1
    assert office(corpus)["state"] == "ok"
    assert Pipeline(corpus, workers=1).parsed_documents().recomputed == 0
    finish(again)
    assert {receipt.key: receipt.state for receipt in corpus.receipts()}["office.md"] == "indexed"


def test_a_bucket_that_goes_away_while_it_is_read_stops_the_run(make_corpus: MakeCorpus) -> None:
    files = {f"{number}.md": f"# Note {number}\n\nNote {number} of the early watch.\n" for number in range(24)}
    with open_corpus(make_corpus("notes", files)) as corpus:
        Pipeline(corpus, workers=1).source_objects()
        away = documents(corpus).rename(documents(corpus).parent / "away")
        documents(corpus).mkdir()
        with pytest.raises(HeadwaterError, match="24 of 24 rows failed for reasons that pass"):
            Pipeline(corpus, workers=1).parsed_documents()
        assert not corpus.tables.parsed_documents.exists()
        documents(corpus).rmdir()
        away.rename(documents(corpus))
        assert Pipeline(corpus, workers=1).parsed_documents().reasons == {"ok": 24}
