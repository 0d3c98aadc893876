"""Erasing a document: nothing of it is left anywhere, everything else is as before, and a kill costs only a repeat."""

from __future__ import annotations

import gzip
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml
from deltalake import DeltaTable, WriterProperties, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.corpus import Corpus, Document, open_corpus
from headwater.driver import CORE, change_batches
from headwater.embedding.cache import VectorCache, forget
from headwater.erase import ErasureReceipt, erase, recover, verify_erasure
from headwater.erase.history import rewrite
from headwater.erase.plan import FOLDER, unfinished
from headwater.erase.probes import Probes, choose
from headwater.erase.search import Finder
from headwater.erase.traces import collect
from headwater.errors import ConfigError, LakeError, LeaseError, NotFoundError
from headwater.hashing import digest, document_id
from headwater.index.files import copy_tree
from headwater.lake import Table
from headwater.lake_owner import OWNER_FILE
from headwater.lease import corpus_lease
from headwater.ledger.engine import create_engine, write
from headwater.pipeline import Pipeline, ReindexReport
from headwater.types import Answer, Principal

KEY = "visits/mara.md"
DOC = document_id("works", KEY)
VISIT = """# Visit to the upper weir

Mara Lindqvist (mara.lindqvist@weirwatch.example.org, 212-555-0187) inspected the upper weir on a foggy morning, before the snow melted.

## Findings

The third sluice gate jams when the water is colder than four degrees, and its amber lamp flickers. {finding}
"""
VISITS = [
    VISIT.format(finding="The hinge was greased with walnut oil."),
    VISIT.format(finding="The hinge was replaced by a brass one from Tollgate foundry."),
]
TRACES = ("mara.lindqvist@weirwatch", "third sluice gate jams", "walnut oil", "Tollgate foundry", "amber lamp flickers")
"""What must not be found any more: personal data of the raw text, and phrases that all stages kept."""

LEAVE = """# Leave

Everyone has twenty-eight days of paid leave each year. Ask your crew lead two weeks before the first day.
"""
FILES = {
    KEY: VISITS[0],
    "gauge.md": "# Heron gauge\n\nThe Heron gauge measures the water level every fifteen minutes with a radar head.\n",
    "policies/leave.md": LEAVE,
    "policies/leave-copy.md": LEAVE,
    "hr/pay.md": "# Pay bands\n\nThe pay band of field engineers starts at forty-one thousand crowns a year.\n",
    "empty.txt": "",
}
QUESTIONS = ("the third sluice gate", "Heron gauge water level", "days of paid leave", "pay band of field engineers")
RELEASES = (1, 2, 3)


def configure(root: Path) -> Path:
    path = root / "assets" / "works" / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "workspace.yaml").touch()
    access = [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]
    attributes = {"source": {"uri": str(root / "documents")}, "access": access}
    path.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    return path


def reindex(corpus: Corpus) -> ReindexReport:
    return Pipeline(corpus, workers=2).run()


@pytest.fixture(autouse=True, scope="module")
def no_environment() -> Iterator[None]:
    """No project or home but the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three releases, two revisions of the document, and an answer that cites it; to be copied."""
    root = tmp_path_factory.mktemp("built")
    for key, text in FILES.items():
        (root / "documents" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / "documents" / key).write_text(text)
    with open_corpus(configure(root)) as corpus:
        reindex(corpus)
        (root / "documents" / KEY).write_text(VISITS[1])
        reindex(corpus)
        (root / "documents" / "gauge.md").write_text(FILES["gauge.md"].replace("fifteen", "twenty"))
        assert reindex(corpus).release == RELEASES[-1]
    return root


def copied(source: Path, target: Path) -> Path:
    """Copy a project; the index' files keep their holes."""
    shutil.copytree(source / "documents", target / "documents")
    copy_tree(source / ".headwater", target / ".headwater")
    configure(target)
    return target


@pytest.fixture
def root(tmp_path: Path, built: Path) -> Path:
    """A copy of the project."""
    return copied(built, tmp_path)


@pytest.fixture
def corpus(root: Path) -> Iterator[Corpus]:
    with open_corpus(root / "assets" / "works") as opened:
        yield opened


@pytest.fixture(scope="module")
def before(built: Path) -> dict[str, Any]:
    """What readers of the project see before anything is erased."""
    with open_corpus(built / "assets" / "works") as opened:
        return state(opened)


HR = Principal(frozenset({"hr"}))


def state(corpus: Corpus) -> dict[str, Any]:
    """What readers see of everything but the document: in each release, and in the newest tables."""
    seen: dict[str, Any] = {}
    for release in RELEASES:
        for question in QUESTIONS:
            found = corpus.search(question, 50, release=release, principal=HR, mode="dense")
            seen[f"{release} {question}"] = [passage for passage in found if passage.key != KEY]
        for key in FILES:
            if key != KEY:
                seen[f"{release} {key}"] = document(corpus, key, release)
    for table in corpus.tables.all():
        if table.exists():
            rows = table.scan().filter(pl.col("doc_id").ne_missing(DOC)).collect().sort("id")
            seen[table.name] = rows.to_dicts()
    return seen


def document(corpus: Corpus, key: str, release: int) -> Document | None:
    try:
        return corpus.document(document_id("works", key), release=release, principal=HR)
    except NotFoundError:
        return None


def contents(root: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file that Headwater keeps, as bytes; Parquet as its values."""
    for path in sorted((root / ".headwater").rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()
            if path.suffix == ".parquet":
                yield path, str(pq.read_table(path).to_pylist()).encode()


def left(root: Path, *traces: str) -> list[tuple[Path, str]]:
    wanted = traces or TRACES
    return [(path, trace) for path, data in contents(root) for trace in wanted if trace.encode() in data]


def assert_gone(corpus: Corpus, root: Path) -> None:
    assert left(root) == []
    for release in RELEASES:
        found = corpus.search("the third sluice gate", 50, release=release, principal=HR)
        assert found and KEY not in {passage.key for passage in found}
        assert document(corpus, KEY, release) is None
        info = corpus.ledger.release("works", release)
        for table in corpus.tables.all():
            if table.name in info.table_versions and table.name != "receipt_files":
                owners = table.read(["doc_id"], info.table_versions[table.name])["doc_id"]
                assert DOC not in owners.to_list()


def test_nothing_of_an_erased_document_is_left_and_everything_else_is_as_before(
    corpus: Corpus, root: Path, before: dict[str, Any]
) -> None:
    answer = corpus.answer("When does the third sluice gate jam?")
    assert any(citation.doc == DOC for sentence in answer.sentences for citation in sentence.citations)
    nothing = Answer("q-1", "Why?", (), True, "Nothing was found.", 3, "extractive/1")
    corpus.ledger.record_answer("works", nothing, passages=[], principal=HR, parameters={}, seconds=0.1, scrub=str)
    assert state(corpus) == before
    assert left(root)
    receipt = erase(corpus, KEY, reason="asked by the owner")
    assert receipt.verified.found == 0 and receipt.verified.places == ()
    assert_gone(corpus, root)
    assert state(corpus) == before
    assert corpus.ledger.answer(answer.id) is None
    assert corpus.ledger.answer("q-1") is not None
    assert (receipt.key, receipt.doc_id, receipt.reason, receipt.still_listed) == (KEY, DOC, "asked by the owner", True)
    assert len(receipt.revisions) == 2 and receipt.copies == ()
    removed = receipt.removed
    assert removed.points == {str(release): 2 for release in RELEASES}
    assert (removed.rows["source_objects"], removed.rows["chunks"], removed.rows["embeddings"]) == (2, 4, 4)
    assert (removed.vectors, removed.answers) == (3, 1)
    assert receipt.verified.probes > 20 and receipt.verified.files > 100
    assert unfinished(corpus.tables.folder) == []
    assert not any((corpus.tables.path / FOLDER).iterdir())


def test_the_receipt_is_kept_without_text_and_given_again(corpus: Corpus) -> None:
    receipt = erase(corpus, KEY, reason="asked")
    (record,) = corpus.ledger.erasures("works", KEY)
    assert ErasureReceipt.from_json(record.receipt) == receipt
    assert erase(corpus, KEY, reason="asked twice") == receipt
    assert not any(trace in line for line in receipt.lines() for trace in TRACES)
    reindex(corpus)
    assert erase(corpus, KEY, reason="asked again") == receipt


def test_a_document_that_never_was_is_not_found(corpus: Corpus) -> None:
    with pytest.raises(NotFoundError, match=r"no document at 'visits/nobody\.md'"):
        erase(corpus, "visits/nobody.md", reason="asked")
    assert corpus.ledger.erasures("works") == []


def test_an_erased_document_stays_out_while_its_object_is_unchanged(corpus: Corpus, root: Path) -> None:
    erase(corpus, KEY, reason="asked")
    report = reindex(corpus)
    assert report.states["rejected"] == 1
    (receipt,) = corpus.receipts(KEY)
    assert (receipt.state, receipt.reason) == ("rejected", "erased")
    assert left(root) == []
    (root / "documents" / KEY).write_text("# Visit\n\nMara saw the lower weir, which is dry, and wrote this anew.\n")
    assert reindex(corpus).states.get("rejected") is None
    assert corpus.search("the lower weir is dry")[0].key == KEY
    assert corpus.ledger.erasures("works", KEY)[0].lifted_at is not None
    again = erase(corpus, KEY, reason="asked again")
    assert again.verified.found == 0 and again.removed.rows["chunks"] == 1
    assert left(root, "lower weir, which is dry") == []


def test_an_object_that_left_the_bucket_is_erased_from_history(corpus: Corpus, root: Path) -> None:
    (root / "documents" / KEY).unlink()
    reindex(corpus)
    assert left(root)
    receipt = erase(corpus, KEY, reason="asked")
    assert (receipt.still_listed, receipt.verified.found) == (False, 0)
    assert left(root) == []
    report = reindex(corpus)
    assert "rejected" not in report.states
    assert corpus.ledger.erasures("works", KEY)[0].lifted_at is not None


def test_an_object_that_changed_since_the_last_reindex_stays_out_as_it_is_now(corpus: Corpus, root: Path) -> None:
    (root / "documents" / KEY).write_text(VISITS[0] + "\nA line that no reindex has seen yet.\n")
    erase(corpus, KEY, reason="asked")
    reindex(corpus)
    assert corpus.receipts(KEY)[0].reason == "erased"
    assert left(root, "no reindex has seen") == []


def test_copies_are_named_and_left_alone(corpus: Corpus) -> None:
    survivor = "policies/leave-copy.md"
    receipt = erase(corpus, survivor, reason="asked")
    assert receipt.copies == ("policies/leave.md",)
    assert receipt.verified.found == 0
    assert not any(p.key == survivor for p in corpus.search("days of paid leave", 50))
    reindex(corpus)
    assert corpus.search("days of paid leave")[0].key == "policies/leave.md"


def test_a_near_copy_of_other_readers_is_named_too(corpus: Corpus, root: Path) -> None:
    (root / "documents" / "hr" / "visit.md").write_text(VISITS[1])
    reindex(corpus)
    assert erase(corpus, KEY, reason="asked").copies == ("hr/visit.md",)


def test_a_text_that_another_document_shares_keeps_its_cached_vector(corpus: Corpus, root: Path) -> None:
    (root / "documents" / "hr" / "visit.md").write_text(VISITS[1])
    reindex(corpus)
    receipt = erase(corpus, KEY, reason="asked")
    assert receipt.removed.vectors == 1  # that of the older revision
    assert receipt.verified.found == 0


def test_a_vector_of_a_revision_that_the_lake_forgot_before_goes_too(corpus: Corpus) -> None:
    path = corpus.project.cache_path() / "embeddings"
    vector = np.linspace(1, 2, corpus.embedder.dimensions, dtype=np.float32).reshape(1, -1)
    with closing(VectorCache(path, corpus.embedder.fingerprint, corpus.embedder.dimensions)) as cache:
        cache.store(["a revision whose rows were cleaned up"], vector)
    assert erase(corpus, KEY, reason="asked").verified.found == 0
    stored = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    assert stored and vector.tobytes() not in stored


def test_the_line_goes_on_after_an_erasure(corpus: Corpus, root: Path) -> None:
    erase(corpus, KEY, reason="asked")
    (root / "documents" / "gauge.md").write_text(FILES["gauge.md"].replace("fifteen", "forty"))
    report = reindex(corpus)
    assert report.release == RELEASES[-1] + 1
    assert "forty minutes" in corpus.search("Heron gauge water level")[0].text
    with corpus.searcher() as searcher:
        wanted = dict(corpus.tables.index_manifest.read(["id", "fingerprint"]).iter_rows())
        assert searcher.fingerprints() == wanted
    assert {stage.stage: stage.recomputed for stage in reindex(corpus).stages if stage.recomputed} == {}
    for release in (*RELEASES, report.release):
        assert corpus.search("Heron gauge water level", release=release)[0].key == "gauge.md"
        assert document(corpus, "gauge.md", release) is not None


def test_a_document_without_text_is_erased(corpus: Corpus) -> None:
    receipt = erase(corpus, "empty.txt", reason="asked")
    assert receipt.verified.found == 0 and receipt.removed.points == {}
    assert receipt.removed.rows["source_objects"] == 1
    reindex(corpus)
    assert corpus.receipts("empty.txt")[0].reason == "erased"


def test_an_erasure_leaves_the_lake_of_another_home_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared" / "works"
    shutil.copytree(root / ".headwater" / "lake" / "works", shared)
    (shared / OWNER_FILE).write_text("another home")
    monkeypatch.setenv("HEADWATER_LAKE", str(shared.parent))
    with open_corpus(root / "assets" / "works") as corpus:
        before = {table.name: table.version() for table in corpus.tables.all() if table.exists()}
        with pytest.raises(ConfigError, match="another ledger"):
            erase(corpus, KEY, reason="test")
        assert before == {table.name: table.version() for table in corpus.tables.all() if table.exists()}
        assert not corpus.ledger.erasures("works")
        assert not (shared / FOLDER).exists()


def test_an_erasure_waits_for_no_writer(corpus: Corpus, root: Path) -> None:
    elsewhere = root / "elsewhere.lock"
    with corpus_lease(corpus.ledger, "works", elsewhere), pytest.raises(LeaseError, match="Another process"):
        erase(corpus, KEY, reason="asked")
    assert left(root)


def test_questions_that_quote_the_document_are_forgotten(corpus: Corpus, root: Path) -> None:
    question = (
        "Who said: The third sluice gate jams when the water is colder than four degrees, and its amber lamp flickers?"
    )
    nothing = Answer("q-1", question, (), True, "Nothing was found.", 3, "extractive/1")
    corpus.ledger.record_answer("works", nothing, passages=[], principal=HR, parameters={}, seconds=0.1, scrub=str)
    receipt = erase(corpus, KEY, reason="asked")
    assert receipt.verified.found == 0 and corpus.ledger.answer("q-1") is None
    assert left(root) == []


# --- the proof can fail --------------------------------------------------------------------------------------------


def probes_of(corpus: Corpus) -> Probes:
    traces = collect(corpus.tables, DOC)
    return choose(
        DOC,
        traces.texts,
        traces.vectors,
        chunk_ids=traces.chunk_ids,
        hashes={digest(text) for text in traces.embedded},
        lake=corpus.tables.folder,
    )


@pytest.fixture(scope="module")
def probes(built: Path) -> Probes:
    with open_corpus(built / "assets" / "works") as opened:
        return probes_of(opened)


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """The project after the document was erased; to be copied."""
    root = copied(built, tmp_path_factory.mktemp("without"))
    with open_corpus(root / "assets" / "works") as opened:
        assert erase(opened, KEY, reason="asked").verified.found == 0
    return root


@pytest.fixture
def erased(without: Path, tmp_path: Path) -> Iterator[Corpus]:
    with open_corpus(copied(without, tmp_path) / "assets" / "works") as opened:
        yield opened


def plant_bytes(corpus: Corpus, probes: Probes) -> str:
    (corpus.tables.path / "chunks" / "left.bin").write_bytes(b"\0" * 300_000 + probes.long[0].encode() + b"\0" * 9)
    return "chunks/left.bin"


def plant_utf16(corpus: Corpus, probes: Probes) -> str:
    (corpus.tables.path / "left.txt").write_bytes(probes.long[-1].encode("utf-16-be"))
    return "left.txt"


def plant_gzip(corpus: Corpus, probes: Probes) -> str:
    (corpus.tables.path / "left.gz").write_bytes(gzip.compress(probes.short[0].encode() * 50))
    return "left.gz"


def plant_parquet(corpus: Corpus, probes: Probes) -> str:
    nested = pa.array([[{"kind": f"{' '.join(FILES.values())} {VISITS[1]}"}]] * 400)
    path = corpus.tables.path / "parsed_documents" / "part-left.parquet"
    pq.write_table(pa.table({"elements": nested}), path, compression="gzip", write_statistics=False)
    assert not any(piece.encode() in path.read_bytes() for piece in (*probes.long, *probes.short))
    return "part-left.parquet"


def plant_arrow(corpus: Corpus, probes: Probes) -> str:
    spool = corpus.tables.path / ".spool" / "left.arrow"
    spool.parent.mkdir(exist_ok=True)
    table = pa.table({"text": [probes.long[0] * 30]})
    with pa.ipc.new_file(spool, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as sink:
        sink.write_table(table)
    return "left.arrow"


def plant_log_statistics(corpus: Corpus, probes: Probes) -> str:
    log = corpus.tables.path / "chunks" / "_delta_log" / "00000000000000000000.json"
    beginning = next(piece for piece in probes.short if VISITS[1].lstrip("# ").startswith(piece.lstrip("# ")))
    log.write_text(log.read_text() + '{"add":{"stats":"{\\"minValues\\":{\\"text\\":\\"' + beginning + '"}}}')
    return "00000000000000000000.json"


def plant_vector_in_lake(corpus: Corpus, probes: Probes) -> str:
    vector = np.frombuffer(probes.data()[0], dtype="<f4").tolist()
    write_deltalake(str(corpus.tables.path / "stray"), pa.table({"vector": pa.array([vector], pa.list_(pa.float32()))}))
    return "stray/"


def plant_vector_in_cache(corpus: Corpus, probes: Probes) -> str:
    folder = next((corpus.project.cache_path() / "embeddings").iterdir())
    with closing(sqlite3.connect(folder / "vectors.sqlite")) as database:
        database.execute("INSERT INTO vectors VALUES ('other', ?)", (probes.data()[0] * 24,))
        database.commit()
    return "vectors.sqlite"


def plant_hash_in_cache(corpus: Corpus, probes: Probes) -> str:
    folder = next((corpus.project.cache_path() / "embeddings").iterdir())
    with closing(VectorCache(folder.parent, folder.name, 4)) as cache:
        cache.store([probes.hashes[0]], np.zeros((1, 4), dtype=np.float32))
    return "vectors.sqlite"


def plant_in_index(corpus: Corpus, probes: Probes) -> str:
    (corpus.project.index_path("works") / "2" / "left.dat").write_bytes(b"{" + DOC.encode() + b"}")
    return "left.dat"


def plant_compressed_payload_in_index(corpus: Corpus, probes: Probes) -> str:
    payload = f'{{"doc_id":"x","title":"Visit to the upper weir","text":"{VISITS[1]}"}}'.encode()
    path = corpus.project.index_path("works") / "left.dat"
    path.write_bytes(pa.compress(payload, codec="lz4_raw", asbytes=True))
    return "left.dat"


def plant_in_ledger(corpus: Corpus, probes: Probes) -> str:
    nothing = Answer("q-1", f"Who said: {probes.long[0]}?", (), True, "Nothing was found.", 3, "extractive/1")
    corpus.ledger.record_answer("works", nothing, passages=[], principal=HR, parameters={}, seconds=0.1, scrub=str)
    return "ledger table answers"


def plant_in_ledger_json(corpus: Corpus, probes: Probes) -> str:
    engine = create_engine(corpus.project.ledger_url)
    with write(engine) as connection:
        column = sa.table("releases", sa.column("checks", sa.JSON))
        connection.execute(column.update().values(checks=[{"details": {"over": [probes.long[0]]}}]))
    engine.dispose()
    return "ledger table releases"


@pytest.mark.parametrize(
    "plant",
    [
        plant_bytes,
        plant_utf16,
        plant_gzip,
        plant_parquet,
        plant_arrow,
        plant_log_statistics,
        plant_vector_in_lake,
        plant_vector_in_cache,
        plant_hash_in_cache,
        plant_in_index,
        plant_compressed_payload_in_index,
        plant_in_ledger,
        plant_in_ledger_json,
    ],
)
def test_a_leftover_is_found_wherever_it_is(
    erased: Corpus, probes: Probes, plant: Callable[[Corpus, Probes], str]
) -> None:
    place = plant(erased, probes)
    verified = verify_erasure(erased, probes)
    assert verified.found > 0
    assert any(place in found for found in verified.places)


def test_points_that_a_release_still_holds_are_found(corpus: Corpus, probes: Probes) -> None:
    verified = verify_erasure(corpus, probes)
    assert {f"release {release}" for release in RELEASES} <= set(verified.places)


def test_a_ledger_that_is_no_file_is_searched_by_its_rows(
    erased: Corpus, probes: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify_erasure(erased, probes).found == 0
    plant_in_ledger_json(erased, probes)
    monkeypatch.setattr(erased.ledger, "files", list)
    assert verify_erasure(erased, probes).places == ("ledger table releases",)


def test_no_probe_occurs_in_another_document(probes: Probes, built: Path) -> None:
    assert probes.long and probes.short and probes.vectors and probes.hashes and probes.chunk_ids
    others = [path.read_text() for path in (built / "documents").rglob("*.*") if path.name != "mara.md"]
    assert not any(piece in text for piece in (*probes.long, *probes.short) for text in others)
    raw, clean = "mara.lindqvist", "third sluice gate"
    assert any(raw in piece for piece in probes.long) and any(clean in piece for piece in probes.long)


def test_text_that_json_escapes_is_found() -> None:
    finder = Finder(["Übergröße der Schleuse"])
    assert finder.in_bytes(b'{"x": "\\u00dcbergr\\u00f6\\u00dfe der Schleuse"}')
    assert finder.in_bytes("so Übergröße der Schleuse".encode())
    assert not finder.in_bytes(b"Uebergroesse der Schleuse")


def test_what_was_left_is_told_and_the_next_erasure_proves_again(corpus: Corpus, root: Path) -> None:
    stray = corpus.tables.path / "notes.txt"
    stray.write_text(VISITS[1])
    receipt = erase(corpus, KEY, reason="asked")
    assert receipt.verified.found > 0
    assert receipt.verified.places == ("lake/works/notes.txt",)
    assert any("notes.txt" in line for line in receipt.lines())
    recover(corpus)  # the line is not held up by an outstanding proof
    reindex(corpus)
    stray.unlink()
    again = erase(corpus, KEY, reason="asked")
    assert again.verified.found == 0 and again.verified.probes >= receipt.verified.probes
    assert unfinished(corpus.tables.folder) == []
    assert left(root) == []


# --- kills -----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from headwater.corpus import open_corpus
from headwater.erase import erase, erasing, swap, targets
from headwater.index import files

folder, where, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
corpus = open_corpus(folder)

def deadly(function):
    def call(*arguments, **options):
        global calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

owner = {"redact": corpus.engine, "rewrite": swap, "replace_folder": targets, "remove_tree": targets, "forget": erasing,
         "set_table_versions": corpus.ledger, "forget_answers": corpus.ledger, "record_erasure": corpus.ledger,
         "look_for": erasing}[where]
setattr(owner, where, deadly(getattr(owner, where)))
erase(corpus, "visits/mara.md", reason="asked")
"""

KILLS = [
    ("redact", 1),
    ("replace_folder", 5),
    *(
        pytest.param(where, calls, marks=pytest.mark.slow)
        for where, calls in (
            ("record_erasure", 0),
            ("redact", 0),
            ("rewrite", 3),
            ("replace_folder", 6),
            ("set_table_versions", 0),
            ("remove_tree", 16),  # the third of the tables whose place was taken
            ("forget", 0),
            ("forget_answers", 0),
            ("look_for", 0),
            ("record_erasure", 1),
        )
    ),
]


def kill_at(root: Path, where: str, calls: int) -> None:
    arguments = [sys.executable, "-c", KILLED, str(root / "assets" / "works"), where, str(calls)]
    done = subprocess.run(arguments, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]


@pytest.mark.parametrize(("where", "calls"), KILLS)
def test_an_erasure_killed_anywhere_is_finished_by_the_next(
    root: Path, where: str, calls: int, before: dict[str, Any]
) -> None:
    with open_corpus(root / "assets" / "works") as corpus:
        answer = corpus.answer("When does the third sluice gate jam?")
    kill_at(root, where, calls)
    with open_corpus(root / "assets" / "works") as corpus:
        receipt = erase(corpus, KEY, reason="asked")
        assert receipt.verified.found == 0 and receipt.verified.probes > 20
        assert receipt.removed.points == {str(release): 2 for release in RELEASES}
        assert receipt.removed.rows["chunks"] == 4 and len(receipt.revisions) == 2
        assert_gone(corpus, root)
        assert state(corpus) == before
        assert corpus.ledger.answer(answer.id) is None
        assert len(corpus.ledger.erasures("works", KEY)) == 1


@pytest.mark.parametrize(("where", "calls"), [("redact", 2), pytest.param("replace_folder", 8, marks=pytest.mark.slow)])
def test_an_erasure_killed_anywhere_is_finished_before_the_next_write(root: Path, where: str, calls: int) -> None:
    kill_at(root, where, calls)
    with open_corpus(root / "assets" / "works") as corpus:
        (receipt,) = recover(corpus)
        assert receipt.verified.found == 0
        assert recover(corpus) == []
        assert_gone(corpus, root)
        reindex(corpus)
        assert corpus.receipts(KEY)[0].reason == "erased"
        assert left(root) == []


# --- the history of a table ------------------------------------------------------------------------------------------

SCHEMA = pa.schema([*CORE, ("text", pa.string()), ("tags", pa.list_(pa.string()))])


def rows(values: dict[str, str]) -> list[pa.RecordBatch]:
    entries = [
        {"id": f"{owner}:0", "doc_id": owner, "fingerprint": text, "state": "ok", "text": text, "tags": [text, owner]}
        for owner, text in values.items()
    ]
    return pa.Table.from_pylist(entries, schema=SCHEMA).to_batches()


def held(path: Path, version: int | None = None) -> list[dict[str, Any]]:
    return pl.scan_delta(str(path), version=version).collect().sort("id").to_dicts()


def versions_of(path: Path) -> list[list[dict[str, Any]]]:
    return [held(path, version) for version in range(DeltaTable(str(path)).version() + 1)]


def less(version: list[dict[str, Any]], owner: str) -> list[dict[str, Any]]:
    return [row for row in version if row["doc_id"] != owner]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from("uvwx ")), min_size=1, max_size=6),
    pinned=st.sets(st.integers(0, 6)),
)
def test_every_kept_version_has_its_rows_less_the_documents(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, str]], pinned: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    table = Table(folder / "texts", SCHEMA)
    table.replace(rows(changes[0]))
    for change in changes[1:]:
        upserts = {owner: text for owner, text in change.items() if text != " "}
        gone = [f"{owner}:0" for owner, text in change.items() if text == " "]
        table.change(change_batches(SCHEMA, rows(upserts), gone))
    newest = table.version() or 0
    keep = sorted({version for version in pinned if version <= newest} | {newest})
    wanted = [less(held(table.path, version), "a") for version in keep]
    moved = rewrite(table, ["a"], keep, folder / "new")
    assert moved == {version: number for number, version in enumerate(keep)}
    assert versions_of(folder / "new") == wanted
    # What was rewritten goes on as a table like any other.
    after = Table(folder / "new", SCHEMA)
    after.change(change_batches(SCHEMA, rows({"b": "later", "e": "new"}), ["c:0"]))
    expected = {row["id"]: row["text"] for row in wanted[-1] if row["id"] != "c:0"} | {"b:0": "later", "e:0": "new"}
    assert {row["id"]: row["text"] for row in held(after.path)} == expected
    assert versions_of(after.path)[:-1] == wanted


def test_files_without_compression_are_rewritten_so(tmp_path: Path) -> None:
    table = Table(tmp_path / "texts", SCHEMA)
    plain = WriterProperties(compression="UNCOMPRESSED")
    write_deltalake(str(table.path), pa.Table.from_batches(rows({"a": "x", "b": "y"})), writer_properties=plain)
    assert rewrite(table, ["a"], [0], tmp_path / "new") == {0: 0}
    (file,) = (tmp_path / "new").glob("*.parquet")
    assert pq.read_metadata(file).row_group(0).column(0).compression == "UNCOMPRESSED"
    assert versions_of(tmp_path / "new") == [less(versions_of(table.path)[0], "a")]


def test_a_changed_schema_is_kept_in_each_version(tmp_path: Path) -> None:
    Table(tmp_path / "texts", CORE).replace([batch.select(CORE.names) for batch in rows({"a": "u", "b": "v"})])
    table = Table(tmp_path / "texts", SCHEMA)
    table.replace(rows({"a": "x", "b": "y"}))
    wanted = [less(version, "a") for version in versions_of(table.path)]
    rewrite(table, ["a"], [0, 1], tmp_path / "new")
    assert versions_of(tmp_path / "new") == wanted
    assert "text" not in wanted[0][0] and wanted[1][0]["text"] == "y"
    assert Table(tmp_path / "new", SCHEMA).same_schema()


def test_files_without_the_document_are_shared_not_copied(tmp_path: Path) -> None:
    table = Table(tmp_path / "texts", SCHEMA)
    table.replace(rows({"b": "v"}))
    (name,) = [path.name for path in table.path.glob("*.parquet")]
    rewrite(table, ["a"], [], tmp_path / "new")
    assert (tmp_path / "new" / name).stat().st_ino == (table.path / name).stat().st_ino


def test_a_version_that_is_gone_is_an_error(tmp_path: Path) -> None:
    table = Table(tmp_path / "texts", SCHEMA)
    table.replace(rows({"a": "u"}))
    with pytest.raises(LakeError, match="Version 7"):
        rewrite(table, ["a"], [7], tmp_path / "new")


def test_a_rewritten_table_is_cleaned_and_checkpointed_as_any_other(tmp_path: Path) -> None:
    table = Table(tmp_path / "texts", SCHEMA)
    table.replace(rows({"a": "u", "b": "v"}))
    for text in "wxyz":
        table.change(change_batches(SCHEMA, rows({"b": text}), []))
    rewrite(table, ["a"], [1, 2], tmp_path / "new")
    after = Table(tmp_path / "new", SCHEMA)
    DeltaTable(str(after.path)).create_checkpoint()
    after.change(change_batches(SCHEMA, rows({"b": "last"}), []))
    assert after.vacuum([1], older_than_hours=0) > 0
    assert [row["text"] for row in held(after.path, 1)] == ["x"]
    assert [row["text"] for row in held(after.path)] == ["last"]


def test_forgetting_a_text_empties_the_caches_of_all_models(tmp_path: Path) -> None:
    vectors = np.arange(8, dtype=np.float32).reshape(2, 4)
    for model in ("one", "two"):
        with closing(VectorCache(tmp_path, model, 4)) as cache:
            cache.store(["h1", "h2"], vectors)
    assert forget(tmp_path, ["h1", "h3"]) == 2
    assert forget(tmp_path, ["h1"]) == 0
    assert forget(tmp_path / "nowhere", ["h1"]) == 0
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert vectors[1].tobytes() in stored and vectors[0].tobytes() not in stored
