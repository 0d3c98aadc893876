"""Of several copies one survives that the privacy policy accepts, whatever came first and whatever was decided before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater.erase import erase
from headwater.pipeline import Pipeline
from headwater.plan import plan_reindex
from tests.convergence import Bucket, differences

REFUSES = {"privacy": {"names": False, "actions": {"US_SSN": "reject_document"}}}
REPLACES = {"privacy": {"names": False}}
BODY = "\n\n".join(f"Row {n} of the form says who keeps weir number {n}, and since when." for n in range(30))
LONG = f"{BODY}\n\nThe social security number is 536-90-4399, as the keeper of the weir wrote.\n"
SHORT = f"{BODY}\n\nThe number is 536-90-4399, a social security number.\n"
CLEAN = f"{BODY}\n"
DOCUMENT_STAGES = (
    "source_objects",
    "parsed_documents",
    "quality_documents",
    "deduplicated_documents",
    "anonymized_documents",
)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    bucket = Bucket(tmp_path / "project")
    bucket.parameters = dict(REFUSES)
    return bucket


def documents(bucket: Bucket, home: str = "home") -> Any:
    """Bring the tables up to `anonymized_documents` up to date; return how many rows each stage wrote."""
    with corpus_of(bucket, home) as corpus:
        pipeline = Pipeline(corpus, workers=1)
        return {name: getattr(pipeline, name)().recomputed for name in DOCUMENT_STAGES}


def corpus_of(bucket: Bucket, home: str = "home") -> Any:
    bucket.configure()
    (bucket.root / home).mkdir(exist_ok=True)
    return bucket.opened(bucket.root / home)


def fates(bucket: Bucket, home: str = "home") -> dict[str, tuple[str, str | None]]:
    """Return what became of each document by key: its end state, and the survivor that stands for it."""
    with corpus_of(bucket, home) as corpus:
        objects = corpus.tables.source_objects.read(["doc_id", "key"])
        key = dict(objects.iter_rows())
        dedup = corpus.tables.deduplicated_documents.read(["doc_id", "state", "survivor", "similarity"])
        privacy = dict(corpus.tables.anonymized_documents.read(["doc_id", "state"]).iter_rows())
        for row in dedup.iter_rows(named=True):
            assert (row["survivor"] is None) == (row["similarity"] is None)
            assert row["survivor"] is None or row["similarity"] >= 0.8
        return {
            key[row["doc_id"]]: (privacy.get(row["doc_id"], row["state"]), key.get(row["survivor"]))
            for row in dedup.iter_rows(named=True)
        }


def tables(bucket: Bucket, home: str = "home") -> dict[str, pl.DataFrame]:
    """Return what the stages wrote that copies are chosen by and among."""
    names = ("deduplicated_documents", "copy_name_spans", "anonymized_copies", "anonymized_documents")
    with corpus_of(bucket, home) as corpus:
        return {name: getattr(corpus.tables, name).scan().sort("id").collect() for name in names}


def reindex(bucket: Bucket, home: str = "home") -> dict[str, Any]:
    (bucket.root / home).mkdir(exist_ok=True)
    return bucket.reindex(bucket.root / home)


SERVED = {"a.md": ("rejected", None), "b.md": ("ok", None), "c.md": ("duplicate", "b.md")}


@pytest.mark.parametrize("order", [("a.md", "b.md", "c.md"), ("c.md", "b.md", "a.md")])
def test_a_copy_that_is_accepted_survives_in_whatever_order_they_come(bucket: Bucket, order: tuple[str, ...]) -> None:
    texts = {"a.md": LONG, "b.md": CLEAN, "c.md": CLEAN}
    for key in order:
        bucket.write(key, texts[key])
        documents(bucket)
    assert fates(bucket) == SERVED
    documents(bucket, "anew")
    assert fates(bucket, "anew") == SERVED
    followed, anew = tables(bucket), tables(bucket, "anew")
    for name, frame in followed.items():
        assert frame.equals(anew[name]), name
    assert set(documents(bucket).values()) == {0}


def test_what_was_found_out_about_a_copy_is_not_found_out_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater import driver

    read: list[str] = []
    compute = driver._compute

    def counting(stage: Any, inputs: Any, *rest: Any) -> Iterator[Any]:
        for source, result in compute(stage, inputs, *rest):
            if stage.name == "anonymized_documents":
                read.extend(source.column("id").to_pylist())
            yield source, result

    monkeypatch.setattr(driver, "_compute", counting)
    bucket.write("a.md", LONG)
    bucket.write(
        "alone.md", "Nothing in here resembles what the others say about weirs and their keepers, not a word.\n"
    )
    documents(bucket)
    assert len(read) == 2
    bucket.write("b.md", CLEAN)
    documents(bucket)
    assert len(read) == 3
    bucket.delete("a.md")
    documents(bucket)
    assert len(read) == 3 and fates(bucket)["b.md"] == ("ok", None)
    with corpus_of(bucket) as corpus:
        assert corpus.tables.anonymized_copies.read(["id"]).is_empty()


def test_a_changed_policy_decides_anew_to_and_fro(bucket: Bucket) -> None:
    bucket.write("a.md", LONG)
    bucket.write("b.md", CLEAN)
    documents(bucket)
    assert fates(bucket) == {"a.md": ("rejected", None), "b.md": ("ok", None)}
    bucket.parameters = dict(REPLACES)
    documents(bucket)
    assert fates(bucket) == {"a.md": ("ok", None), "b.md": ("duplicate", "a.md")}
    with corpus_of(bucket) as corpus:
        assert corpus.tables.copy_name_spans.read(["id"]).is_empty()
        assert corpus.tables.anonymized_copies.read(["id"]).is_empty()
    bucket.parameters = dict(REFUSES)
    documents(bucket)
    assert fates(bucket) == {"a.md": ("rejected", None), "b.md": ("ok", None)}


def test_a_policy_that_refuses_no_document_judges_no_copy(bucket: Bucket) -> None:
    bucket.parameters = dict(REPLACES)
    bucket.write("a.md", LONG)
    bucket.write("b.md", CLEAN)
    documents(bucket)
    with corpus_of(bucket) as corpus:
        assert not corpus.tables.anonymized_copies.exists() and not corpus.tables.copy_name_spans.exists()


def test_copies_that_are_all_refused_each_say_why(bucket: Bucket) -> None:
    for key, text in (("a.md", LONG), ("b.md", SHORT), ("c.md", LONG)):
        bucket.write(key, text)
    bucket.write("d.md", "Nothing in here resembles what the others say about weirs and their keepers, not a word.\n")
    reindex(bucket)
    with corpus_of(bucket) as corpus:
        for key in ("a.md", "b.md", "c.md"):
            (receipt,) = corpus.receipts(key)
            assert (receipt.state, receipt.reason, receipt.survivor) == ("rejected", "personal_data", None)
            assert "US_SSN" in receipt.message
    bucket.write("b.md", CLEAN)
    followed = reindex(bucket)
    with corpus_of(bucket) as corpus:
        assert corpus.receipts("b.md")[0].state == "indexed"
    assert not differences(followed, reindex(bucket, "anew"))


def test_an_erased_survivor_leaves_its_place_to_the_next_copy_that_is_accepted(bucket: Bucket) -> None:
    for key, text in (("a.md", LONG), ("b.md", CLEAN + "\n\nOne word more.\n"), ("c.md", CLEAN)):
        bucket.write(key, text)
    reindex(bucket)
    with corpus_of(bucket) as corpus:
        assert corpus.receipts("c.md")[0].survivor == "b.md"
        (doc_id,) = corpus.tables.source_objects.scan().filter(pl.col("key") == "b.md").collect()["doc_id"]
        receipt = erase(corpus, "b.md", reason="asked to")
        assert receipt.removed.rows["anonymized_copies"] == 1
        assert doc_id not in corpus.tables.anonymized_copies.read(["id"])["id"].to_list()
    reindex(bucket)
    with corpus_of(bucket) as corpus:
        assert {r.key: r.state for r in corpus.receipts()} | {"b.md": ""} == {
            "a.md": "rejected",
            "b.md": "",
            "c.md": "indexed",
        }


def test_a_plan_knows_which_copies_are_refused(bucket: Bucket) -> None:
    for key, text in (("a.md", LONG), ("b.md", CLEAN), ("c.md", CLEAN)):
        bucket.write(key, text)
    reindex(bucket)
    with corpus_of(bucket) as corpus:
        assert plan_reindex(corpus).nothing
        version = corpus.tables.anonymized_copies.version()
    bucket.delete("c.md")
    with corpus_of(bucket) as corpus:
        planned = {stage.stage: stage for stage in plan_reindex(corpus).stages}["deduplicated_documents"]
        assert (planned.rows, planned.removed, planned.exact) == (0, 1, True)
        assert corpus.tables.anonymized_copies.version() == version
