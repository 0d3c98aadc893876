"""Going back, letting through, comparing, clearing away; permissions and models across releases."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headwater.corpus import Corpus, open_corpus
from headwater.documents import page_of_documents, readable_documents
from headwater.embedding import Bm25Encoder, VectorCache
from headwater.erase import erase
from headwater.errors import EmbeddingError, LeaseError, NotFoundError, ReleaseError, SourceError
from headwater.hashing import chunk_id, document_id
from headwater.index.contract import POINT_SCHEMA, IndexSpec
from headwater.lease import Lease
from headwater.pipeline import Pipeline
from headwater.releases import apply_permissions, collect_garbage, diff, drop_old, promote, rollback
from headwater.types import Passage, Principal
from tests import station_corpus
from tests.station_corpus import built, corpus, reindex, root, thing

__all__ = ["built", "corpus", "root"]

QUESTIONS = ("How often is the weir greased?", "Who greases the siren?", "paste number 47", "the log of the gantry")


def results(corpus: Corpus, release: int | None = None) -> list[list[Passage]]:
    return [corpus.search(question, 5, release=release) for question in QUESTIONS]


def edit(root: Path, number: int, word: str) -> None:
    path = root / "documents" / thing(number)
    path.write_text(station_corpus.document(number).replace("log", word))


def test_a_rollback_gives_back_what_was_live_and_stays_until_a_promotion(corpus: Corpus, root: Path) -> None:
    recorded = results(corpus)
    edit(root, 0, "diary")
    assert reindex(corpus).release == 2
    assert results(corpus) != recorded
    assert rollback(corpus, reason="the diary is wrong") == 1
    assert corpus.live() == 1 and results(corpus) == recorded
    with open_corpus(root / "assets" / corpus.name) as other:  # another process would see the same
        assert results(other) == recorded

    held = reindex(corpus)
    assert (held.release, held.held_back) == (1, 3) and all(check.passed for check in held.checks)
    assert corpus.live() == 1
    edit(root, 1, "diary")
    again = reindex(corpus)
    assert (again.release, again.held_back) == (1, 4)
    pin = corpus.ledger.pin(corpus.name)
    assert pin is not None and pin.release == 1 and "the diary is wrong" in pin.reason

    promote(corpus, 4, reason="fixed")
    assert corpus.live() == 4 and corpus.ledger.pin(corpus.name) is None
    edit(root, 2, "diary")
    assert reindex(corpus).release == 5


def test_what_cannot_be_rolled_back_to_says_what_can(corpus: Corpus, root: Path) -> None:
    with pytest.raises(ReleaseError, match="no retained release older than live"):
        rollback(corpus, reason="why not")
    edit(root, 0, "diary")
    reindex(corpus)
    with pytest.raises(ReleaseError, match=r"Release 9 .* is not retained \(retained: 1\)"):
        rollback(corpus, 9, reason="why not")
    with pytest.raises(NotFoundError):
        promote(corpus, 9, reason="why not")


def test_a_rollback_waits_for_no_writer(corpus: Corpus, root: Path) -> None:
    edit(root, 0, "diary")
    reindex(corpus)
    with corpus.writing():
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(rollback(corpus, reason="at once")))
        thread.start()
        thread.join(30)
    assert done == [1]


def test_a_diff_says_what_changed_and_why(corpus: Corpus, root: Path) -> None:
    edit(root, 0, "diary")
    (root / "documents" / thing(1)).unlink()
    (root / "documents" / "new.md").write_text("# The kiosk\n\nThe kiosk at the landing sells maps and warm socks.\n")
    (root / "documents" / f"{thing(2)}.acl.json").write_text('{"groups": ["field"]}')
    reindex(corpus)
    found = diff(corpus, 1, 2)
    assert {(change.what, change.key) for change in found.documents} == {
        ("content", thing(0)),
        ("removed", thing(1)),
        ("added", "new.md"),
        ("permissions", thing(2)),
    }
    assert found.questions == ()
    assert found.chunks[0] == corpus.ledger.release(corpus.name, 1).counts["points"]
    back = diff(corpus, 2, 1)
    assert back.keys("added") == [thing(1)] and back.keys("removed") == ["new.md"]


def test_a_changed_parameter_shows_as_processing(root: Path) -> None:
    with open_corpus(station_corpus.configure(root, chunk={"max_tokens": 64})) as corpus:
        reindex(corpus)
        assert len(diff(corpus, 1, 2).keys("processing")) == 24


def test_garbage_goes_and_what_is_kept_stays_readable(root: Path) -> None:
    with open_corpus(station_corpus.configure(root, index={"retain": 2})) as corpus:
        for number in range(4):
            edit(root, number, "diary")
            reindex(corpus)
        states = {info.number: info.state for info in corpus.releases()}
        assert states == {5: "live", 4: "retained", 3: "retained", 2: "dropped", 1: "dropped"}
        before = results(corpus, 3)
        orphan = corpus.project.index_path(corpus.name) / "17"
        orphan.mkdir()
        (orphan / "release.json").write_text('{"dimensions": 384, "fingerprint": "x", "count": 0}')
        assert collect_garbage(corpus).releases == (17,)
        (entry,) = corpus.ledger.audit_entries(corpus=corpus.name, action="release.gc")
        assert entry.counts["releases"] == 1
        assert results(corpus, 3) == before
        doc_id = before[0][0].doc_id
        assert corpus.document(doc_id, release=3).text
        rollback(corpus, 3, reason="look")
        assert results(corpus) == before


def test_vectors_of_texts_that_left_the_lake_leave_the_cache(corpus: Corpus, root: Path) -> None:
    cache = corpus.project.cache_path() / "embeddings"
    with closing(VectorCache(cache, corpus.embedder.fingerprint, corpus.embedder.dimensions)) as vectors:
        vectors.store(["a text that no table holds"], np.ones((1, corpus.embedder.dimensions), dtype=np.float32))
        before = set(vectors.hashes())
    collect_garbage(corpus)
    with closing(VectorCache(cache, corpus.embedder.fingerprint, corpus.embedder.dimensions)) as vectors:
        assert before - set(vectors.hashes()) == {"a text that no table holds"}


def test_a_revoked_permission_is_gone_from_every_release(corpus: Corpus, root: Path) -> None:
    edit(root, 5, "diary")
    reindex(corpus)
    doc_id = corpus.search("How often is the weir greased?")[0].doc_id
    field = Principal(frozenset({"field"}))
    (root / "documents" / f"{thing(0)}.acl.json").write_text('{"groups": ["field"]}')
    report = reindex(corpus)
    done = {stage.stage: stage.recomputed for stage in report.stages if stage.recomputed}
    assert done.keys() <= {
        "source_objects",
        "deduplicated_documents",
        "index_candidate",
        "retrieval_evaluation",
        "live_release",
    }
    for release in (1, 2, 3, None):
        assert not any(p.key == thing(0) for p in corpus.search("How often is the weir greased?", 20, release=release))
        found = corpus.search("How often is the weir greased?", 20, release=release, principal=field)
        assert found[0].key == thing(0)
        with pytest.raises(NotFoundError):
            corpus.document(doc_id, release=release)
        assert corpus.document(doc_id, release=release, principal=field).key == thing(0)
    assert reindex(corpus).release == 3  # and that is all that had to be done


def test_a_release_built_on_a_revoked_one_has_the_right_readers(corpus: Corpus, root: Path) -> None:
    sidecar = root / "documents" / f"{thing(0)}.acl.json"
    edit(root, 5, "diary")
    reindex(corpus)
    sidecar.write_text('{"groups": ["field"]}')
    reindex(corpus)
    rollback(corpus, 1, reason="look")
    sidecar.unlink()
    held = reindex(corpus).held_back
    assert held is not None
    promote(corpus, held, reason="go on")
    assert corpus.search("How often is the weir greased?")[0].key == thing(0)


def permit(root: Path, number: int, *groups: str) -> None:
    (root / "documents" / f"{thing(number)}.acl.json").write_text(json.dumps({"groups": list(groups)}))


def test_a_revocation_opens_nothing_else(corpus: Corpus, root: Path) -> None:
    permit(root, 0, "hr")
    reindex(corpus)
    confidential = "How often is the weir greased?"
    edit(root, 0, "diary")
    permit(root, 0, "*")  # a revision for everyone replaces the confidential one
    permit(root, 1, "field")  # and in the same listing somebody loses another document
    reindex(corpus)
    assert not any(p.key == thing(0) for p in corpus.search(confidential, 20, release=2))
    assert corpus.search(confidential)[0].key == thing(0)
    hr = corpus.search(confidential, release=2, principal=Principal(frozenset({"hr"})))
    assert hr[0].key == thing(0)


def test_a_document_that_came_back_with_fewer_readers_is_narrowed_in_older_releases(corpus: Corpus, root: Path) -> None:
    (root / "documents" / thing(0)).unlink()
    permit(root, 1, "field")
    reindex(corpus)
    edit(root, 0, "log")
    permit(root, 0, "board")
    reindex(corpus)
    assert not any(p.key == thing(0) for p in corpus.search("How often is the weir greased?", 20, release=1))


def test_a_narrowed_document_stays_closed_when_it_has_left_the_bucket(corpus: Corpus, root: Path) -> None:
    doc_id = corpus.search("How often is the weir greased?")[0].doc_id
    permit(root, 0, "hr")
    reindex(corpus)
    (root / "documents" / thing(0)).unlink()
    (root / "documents" / f"{thing(0)}.acl.json").unlink()
    reindex(corpus)
    with pytest.raises(NotFoundError):
        corpus.document(doc_id, release=1)
    assert corpus.document(doc_id, release=1, principal=Principal(frozenset({"hr"}))).key == thing(0)


def listed(corpus: Corpus, *groups: str, limit: int = 100) -> list[str]:
    """Return the keys of the live release's documents that a member of ``groups`` is shown, read page by page."""
    keys: list[str] = []
    after = None
    while True:
        page = page_of_documents(corpus, readers={*groups, "*"}, after=after, limit=limit)
        keys += [document.key for document in page.documents]
        after = page.after
        if after is None:
            return keys


def test_a_document_that_left_the_bucket_is_listed_while_the_live_release_has_it(corpus: Corpus, root: Path) -> None:
    everything = listed(corpus)
    gone = [thing(0), thing(3), thing(4)]
    ids = {document_id(corpus.name, key) for key in gone}
    for key in gone:
        (root / "documents" / key).unlink()
    reindex(corpus)
    assert listed(corpus) == [key for key in everything if key not in gone]
    rollback(corpus, 1, reason="That was a mistake.")
    assert listed(corpus) == everything == sorted(everything)
    for limit in (1, 2, 5, len(everything)):
        assert listed(corpus, limit=limit) == everything
    assert readable_documents(corpus, ids, {"*"}, 1) == ids
    assert readable_documents(corpus, ids, {"*"}, 2) == frozenset()  # that release never had them


def test_a_document_that_left_the_bucket_keeps_the_readers_that_it_was_left(corpus: Corpus, root: Path) -> None:
    one = {document_id(corpus.name, thing(0))}
    permit(root, 0, "hr")
    permit(root, 1, "hr")
    reindex(corpus)
    (root / "documents" / thing(0)).unlink()
    (root / "documents" / f"{thing(0)}.acl.json").unlink()
    reindex(corpus)
    rollback(corpus, 1, reason="Look.")  # as it was made, everyone could read both
    assert thing(0) not in listed(corpus) and thing(1) not in listed(corpus)
    assert {thing(0), thing(1)} <= set(listed(corpus, "hr"))
    assert readable_documents(corpus, one, {"*"}, 1) == frozenset()
    assert readable_documents(corpus, one, {"hr"}, 1) == one


def test_readers_who_lost_a_document_and_got_it_back_are_listed_what_opens(corpus: Corpus, root: Path) -> None:
    question = "How often is the weir greased?"
    doc_id = corpus.search(question)[0].doc_id
    hr = Principal(frozenset({"hr"}))
    permit(root, 0, "hr")
    reindex(corpus)
    permit(root, 0, "*")
    reindex(corpus)
    assert thing(0) in listed(corpus) and corpus.document(doc_id).key == thing(0)
    rollback(corpus, 1, reason="Look.")  # its points lost everyone's mark for good
    with pytest.raises(NotFoundError):
        corpus.document(doc_id)
    assert not any(p.doc_id == doc_id for p in corpus.search(question, 20))
    others = listed(corpus)
    assert thing(0) not in others and len(others) > 2
    assert corpus.document(doc_id, principal=hr).key == thing(0)
    assert listed(corpus, "hr", limit=2) == sorted([*others, thing(0)])


def test_an_erased_document_is_listed_in_no_release_that_had_it(corpus: Corpus, root: Path) -> None:
    one = {document_id(corpus.name, thing(0))}
    (root / "documents" / thing(0)).unlink()
    reindex(corpus)
    rollback(corpus, 1, reason="Look.")
    assert thing(0) in listed(corpus)
    erase(corpus, thing(0), reason="Asked for.")
    assert thing(0) not in listed(corpus)
    assert readable_documents(corpus, one, {"*"}, 1) == frozenset()


def test_a_reader_of_a_named_release_notices_a_revocation(corpus: Corpus, root: Path) -> None:
    question = "How often is the weir greased?"
    with open_corpus(root / "assets" / corpus.name) as server:  # another process, which never asks for live
        assert server.search(question, release=1)[0].key == thing(0)
        permit(root, 0, "hr")
        reindex(corpus)
        deadline = time.monotonic() + 60
        while any(p.key == thing(0) for p in server.search(question, 20, release=1)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_revocation_takes_effect_although_the_gate_fails(corpus: Corpus, root: Path) -> None:
    from headwater.errors import GateError

    (root / "documents" / f"{thing(0)}.acl.json").write_text('{"groups": ["field"]}')
    for number in range(12, 24):
        (root / "documents" / thing(number)).write_text("Nothing much.\n")
    with pytest.raises(GateError):
        reindex(corpus)
    assert corpus.live() == 1
    assert not any(p.key == thing(0) for p in corpus.search("How often is the weir greased?", 20))


WEIR = "How often is the weir greased?"


def weir_is_closed(corpus: Corpus) -> bool:
    """Return whether nobody but the field crew finds document 0, in any release."""
    field = Principal(frozenset({"field"}))
    for release in (None, *corpus.engine.releases()):
        assert corpus.search(WEIR, release=release, principal=field)[0].key == thing(0)
        if any(passage.key == thing(0) for passage in corpus.search(WEIR, 20, release=release)):
            return False
    return True


@pytest.mark.parametrize("stage", ["parsed_documents", "embeddings"])
def test_a_revocation_takes_effect_although_a_later_stage_fails(
    corpus: Corpus, root: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fails(_: Pipeline) -> None:
        raise EmbeddingError("The endpoint is away.")

    edit(root, 5, "diary")
    reindex(corpus)
    permit(root, 0, "field")
    edit(root, 6, "diary")
    monkeypatch.setattr(Pipeline, stage, fails)
    with pytest.raises(EmbeddingError):
        reindex(corpus)
    assert corpus.live() == 2 and weir_is_closed(corpus)


def test_a_revocation_by_policy_takes_effect_although_a_later_stage_fails(
    corpus: Corpus, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Pipeline) -> None:
        raise EmbeddingError("The endpoint is away.")

    access = [{"prefix": "", "groups": ["*"]}, {"prefix": thing(0), "groups": ["field"]}]
    monkeypatch.setattr(Pipeline, "chunks", fails)
    with open_corpus(station_corpus.configure(root, access=access)) as changed:
        with pytest.raises(EmbeddingError):
            reindex(changed)
        assert weir_is_closed(changed)


def test_a_revocation_takes_effect_although_the_listing_is_not_believed(corpus: Corpus, root: Path) -> None:
    edit(root, 5, "diary")
    reindex(corpus)
    permit(root, 0, "field")
    for number in range(4, 24):
        (root / "documents" / thing(number)).unlink()
    with pytest.raises(SourceError, match="lost 20 of 24"):
        reindex(corpus)
    assert corpus.live() == 2 and weir_is_closed(corpus)
    assert corpus.search("How often is the gantry greased?")[0].key == thing(20)


def test_a_change_that_takes_nothing_from_anybody_asks_nothing_of_the_index(
    corpus: Corpus, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(root, 5, "diary")
    monkeypatch.setattr(corpus, "engine", None)
    Pipeline(corpus, workers=1).source_objects()


def lose(lease: Lease) -> None:
    """Let a writer's lease be as one that it knows to be lost."""
    lease._lost = LeaseError("Another writer took over.")


def test_a_writer_whose_lease_is_lost_writes_no_further_batch(
    corpus: Corpus, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = corpus.engine.apply
    given = []
    for number in range(6):
        edit(root, number, "diary")
    with monkeypatch.context() as patch, corpus.writing() as lease:

        def watch(release: int, upserts: Iterable[pa.RecordBatch], deletes: Iterable[Sequence[str]]) -> None:
            def each() -> Iterator[pa.RecordBatch]:
                for points_ in upserts:
                    given.append(points_.num_rows)
                    lose(lease)
                    yield points_

            apply(release, each(), deletes)

        patch.setattr("headwater.stages.index_candidate._BATCH_ROWS", 2)
        patch.setattr(corpus.engine, "apply", watch)
        with pytest.raises(LeaseError, match="took over"):
            reindex(corpus)
    assert given == [2]
    assert corpus.engine.releases() == [1]
    assert reindex(corpus).release == 3


def test_a_writer_whose_lease_is_lost_changes_no_release(
    corpus: Corpus, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(root, 5, "diary")
    reindex(corpus)
    permit(root, 0, "field")
    with monkeypatch.context() as patch:
        patch.setattr("headwater.pipeline.apply_permissions", lambda *_: [])
        Pipeline(corpus, workers=1).source_objects()
    for method in ("redact", "drop", "publish"):
        monkeypatch.setattr(corpus.engine, method, None)
    corpus.policy = corpus.policy.model_copy(update={"index": corpus.policy.index.model_copy(update={"retain": 0})})
    with corpus.writing() as lease:
        other = corpus.ledger.acquire_lease(corpus.name, "elsewhere", 60, dead=lease.holder)
        with pytest.raises(LeaseError, match="took over"):
            drop_old(corpus, lease)
        lose(lease)
        with pytest.raises(LeaseError, match="took over"):
            apply_permissions(corpus, lease)
        with pytest.raises(LeaseError, match="took over"):
            Pipeline(corpus, workers=1)._announce(lease)
    corpus.ledger.release_lease(corpus.name, other)
    assert {info.number: info.state for info in corpus.releases()} == {1: "retained", 2: "live"}


def test_when_the_kept_copy_is_closed_to_readers_the_other_one_is_promoted(corpus: Corpus, root: Path) -> None:
    text = station_corpus.document(4)
    (root / "documents" / "copy.md").write_text(text)
    reindex(corpus)
    receipts = {receipt.key: receipt for receipt in corpus.receipts()}
    kept = next(key for key in (thing(4), "copy.md") if receipts[key].state == "indexed")
    other = next(key for key in (thing(4), "copy.md") if key != kept)
    assert receipts[other].survivor == kept
    (root / "documents" / f"{kept}.acl.json").write_text('{"groups": []}')
    reindex(corpus)
    assert corpus.receipts(other)[0].state == "indexed"
    assert {p.key for p in corpus.search("How often is the lantern greased?", 3)} & {kept, other} == {other}


@pytest.fixture(scope="module")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another width: the bundled one with a projection to 128 dimensions that keeps distances roughly."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense

    from headwater.embedding import locate_model

    model = SentenceTransformer(str(locate_model(None)), device="cpu")
    torch.manual_seed(0)
    projection = Dense(384, 128, bias=False, activation_function=torch.nn.Identity())
    with torch.no_grad():
        projection.linear.weight.copy_(torch.linalg.qr(torch.randn(384, 128))[0].T)
    folder = tmp_path_factory.mktemp("model") / "narrow"
    SentenceTransformer(modules=[*model, projection], device="cpu").save(str(folder))
    return folder


def test_a_new_model_is_filled_from_stored_chunks_while_the_old_one_answers(root: Path, second_model: Path) -> None:
    with open_corpus(station_corpus.configure(root)) as reader:  # opened before the change, as a server is
        recorded = results(reader)
        stop, failures, seen = threading.Event(), [], set()

        def query() -> None:
            while not stop.is_set():
                try:
                    seen.add(reader.search(QUESTIONS[0], 3)[0].release)
                except Exception as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=query) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            with open_corpus(station_corpus.configure(root, embed={"model": str(second_model)})) as corpus:
                report = reindex(corpus)
            deadline = time.monotonic() + 120
            while 2 not in seen and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == [] and seen == {1, 2}
        done = {stage.stage: stage.recomputed for stage in report.stages if stage.recomputed}
        assert "parsed_documents" not in done and done["embeddings"] == done["index_candidate"] > 0
        assert report.release == 2 and all(check.passed for check in report.checks)
        with reader.searcher(2) as searcher:
            assert (
                len(searcher.retrieve(list(searcher.fingerprints())[:1], with_vectors=True)[0].payload["vector"]) == 128
            )
        assert results(reader, 1) == recorded  # the old release is still searched with the old model
        assert rollback(reader, reason="the old model was better") == 1
        assert results(reader) == recorded


def points(numbers: np.ndarray, word: str) -> pa.RecordBatch:
    """Return one chunk per number, with a random vector that hangs on number and word."""
    texts = [f"Entry {n} of the {word} names berth {n % 97} and lock {n % 31}." for n in numbers]
    vectors = np.stack([np.random.default_rng([n, len(word)]).normal(size=384) for n in numbers]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sparse = Bm25Encoder().encode_documents(texts)
    columns = {
        "chunk_id": [chunk_id("log", int(n)) for n in numbers],
        "fingerprint": [f"{word} {n}" for n in numbers],
        "vector": list(vectors),
        "sparse_indices": [row.indices for row in sparse],
        "sparse_values": [row.values for row in sparse],
        "doc_id": [f"doc {n // 10}" for n in numbers],
        "key": [f"log-{n // 10}.md" for n in numbers],
        "revision": [word] * len(numbers),
        "title": ["Log"] * len(numbers),
        "section": [[] for _ in numbers],
        "page": [1] * len(numbers),
        "start": [0] * len(numbers),
        "end": [len(text) for text in texts],
        "text": texts,
        "content_type": ["text/plain"] * len(numbers),
        "readers": [["*"] for _ in numbers],
    }
    columns |= {name: [None] * len(numbers) for name in POINT_SCHEMA.names if name not in columns}
    return pa.RecordBatch.from_pydict(columns, schema=POINT_SCHEMA)


@pytest.mark.slow
def test_a_rollback_of_twenty_thousand_chunks_takes_less_than_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station_corpus.make(tmp_path)
    queries = [f"berth {n} and lock {n % 31}" for n in range(0, 90, 9)]
    with open_corpus(tmp_path / "assets" / station_corpus.NAME) as corpus:
        for release, parent, numbers, word in (
            (1, None, np.arange(20_000), "harbour diary"),
            (2, 1, np.arange(0, 20_000, 20), "river log"),
        ):
            ledger = corpus.ledger
            assert release == ledger.create_release(corpus.name, parent=parent, spec="s", table_versions={}, counts={})
            corpus.engine.stage(release, parent, IndexSpec(384, "s"))
            corpus.engine.apply(release, (points(part, word) for part in np.array_split(numbers, 20)), [])
            corpus.engine.seal(release)
            ledger.set_state(corpus.name, release, "candidate")
            ledger.publish(corpus.name, release, reason="test")
            corpus.refresh()
            if release == 1:
                recorded = [corpus.search(query, 10) for query in queries]
        assert [corpus.search(query, 10) for query in queries] != recorded
        started = time.process_time()  # other processes' load is not the rollback's
        assert rollback(corpus, reason="the log is wrong") == 1
        seconds = time.process_time() - started
        assert [corpus.search(query, 10) for query in queries] == recorded
        with corpus.searcher() as searcher:
            assert searcher.count() == 20_000
    with capsys.disabled():
        print(f"\nrollback of 20,000 chunks: {1000 * seconds:.0f} ms of CPU")
    assert seconds < 1
