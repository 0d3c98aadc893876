"""The whole line of one corpus: documents in a folder become a live release, and follow every change."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater import pool
from headwater.corpus import Corpus, open_corpus
from headwater.embedding import Embedder
from headwater.errors import GateError, LeaseError, NotFoundError, SourceError
from headwater.gate import run_gate
from headwater.pipeline import STAGES, Pipeline, ReindexReport
from headwater.pool import drop_spares
from headwater.stages.evaluation import Evaluation
from headwater.types import Principal

ROW_STAGES = STAGES[:7]

HERON = """# Heron gauge

The Heron gauge measures the water level every fifteen minutes with a radar head.

## Battery

Its battery lasts nine years at one transmission per hour. Replace it with part HB-7 only.
"""
LEAVE = """# Leave

Everyone has twenty-eight days of paid leave each year. Ask your crew lead two weeks before the first day.

Leave that is not taken by March expires, unless a crew lead agreed otherwise in writing.
"""
SALARY = """# Pay bands

The pay band of field engineers starts at forty-one thousand crowns a year and rises by two percent each spring.
"""
TRAVEL = """<html><head><title>Travel</title></head><body><h1>Travel</h1>
<p>Trains are booked through the office, and first class is allowed on journeys of more than four hours.</p>
<p>A night away from home is paid with thirty-two crowns on top of the hotel bill.</p></body></html>"""
CONTACT = (
    "The duty desk answers at duty.desk@heronworks.example.org or 212-555-0142 on every working day of the year.\n"
)


FILES = {
    "gauge.md": HERON,
    "policies/leave.md": LEAVE,
    "policies/leave-copy.md": LEAVE,
    "policies/travel.html": TRAVEL,
    "hr/pay.md": SALARY,
    "contact.txt": CONTACT,
    "noise.txt": "xkcd qwrtp zxcvb mnbvc lkjhg fdspw rtyqx zzxcv bnmlk jhgfd " * 8,
    "empty.txt": "",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose corpus was indexed once, to be copied."""
    root = tmp_path_factory.mktemp("built")
    for key, text in FILES.items():
        (root / "documents" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / "documents" / key).write_text(text)
    with open_corpus(configure(root, root / "documents")) as corpus:
        reindex(corpus)
    return root


@pytest.fixture
def folder(tmp_path: Path, built: Path) -> Path:
    """The documents of a copy of the indexed project."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path / "documents"


@pytest.fixture
def corpus(tmp_path: Path, folder: Path) -> Iterator[Corpus]:
    with open_corpus(configure(tmp_path, folder)) as corpus:
        Pipeline(corpus).source_objects()  # a copied file has another ETag, so this notes them again
        yield corpus


def configure(root: Path, folder: Path, **attributes: object) -> Path:
    path = root / "assets" / "works" / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "workspace.yaml").touch()
    access = [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]
    document = {
        "type": "assets.corpus.Corpus",
        "attributes": {"source": {"uri": str(folder)}, "access": access} | attributes,
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(autouse=True, scope="module")
def no_environment() -> Iterator[None]:
    """No project or home but the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWATER_PROJECT", raising=False)
        patch.delenv("HEADWATER_HOME", raising=False)
        yield


def reindex(corpus: Corpus, **options: bool) -> ReindexReport:
    return Pipeline(corpus, workers=2, **options).run()


def recomputed(report: ReindexReport) -> dict[str, int]:
    return {stage.stage: stage.recomputed for stage in report.stages if stage.recomputed}


@pytest.mark.parametrize(("many", "kept"), [(256, True), (0, False)], ids=["few rows", "many rows"])
def test_what_workers_are_forked_from_stays_ready_after_a_small_run_only(
    corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch, many: int, kept: bool
) -> None:
    drop_spares()
    monkeypatch.setattr("headwater.pipeline._MANY_ROWS", many)
    (folder / "policies" / "boats.md").write_text("# Boats\n\nA boat is booked with the duty desk a day ahead.\n")
    reindex(corpus)
    functions = {pickle.loads(setup)[2][0] for setup in pool._ready}
    stages = {name for name in ("parsed_documents", "chunks", "anonymized_documents") for f in functions if name in f}
    assert stages == ({"parsed_documents", "chunks", "anonymized_documents"} if kept else set())


def test_every_object_ends_in_exactly_one_state(corpus: Corpus) -> None:
    report = reindex(corpus)
    assert report.states == {"duplicate": 1, "indexed": 5, "quarantined": 1, "rejected": 1}
    assert report.listed == 8 and report.release == 1
    receipts = {receipt.key: receipt for receipt in corpus.receipts()}
    assert receipts["empty.txt"].state == "quarantined" and receipts["empty.txt"].reason == "empty"
    assert receipts["noise.txt"].state == "rejected"
    duplicate = receipts["policies/leave.md"]
    assert (duplicate.state, duplicate.survivor) == ("duplicate", "policies/leave-copy.md")
    assert duplicate.similarity == 1.0
    assert all(receipt.message and (receipt.advice or receipt.state == "indexed") for receipt in receipts.values())
    with pytest.raises(NotFoundError, match="no object 'nowhere"):
        corpus.receipts("nowhere")


def test_an_answer_quotes_its_source_word_for_word(corpus: Corpus) -> None:
    reindex(corpus)
    answer = corpus.answer("How long does the battery of the Heron gauge last?")
    assert not answer.refused and answer.release == 1
    assert "nine years" in answer.text
    for citation in (citation for sentence in answer.sentences for citation in sentence.citations):
        document = corpus.document(citation.doc)
        assert document.key == citation.key == "gauge.md"
        assert document.text[citation.start : citation.end] == citation.quote
        assert document.revision == citation.revision
    record = corpus.ledger.answer(answer.id)
    assert record is not None and record.release == 1 and record.passages[0]["revision"]


def test_personal_data_stays_behind(corpus: Corpus) -> None:
    reindex(corpus)
    passages = corpus.search("Who answers at the duty desk?", principal=Principal(frozenset({"hr"})))
    texts = " ".join(passage.text for passage in passages)
    assert "<EMAIL_ADDRESS>" in texts and "<PHONE_NUMBER>" in texts
    lake = corpus.project.lake_path(corpus.name)
    for table in ("anonymized_documents", "chunks", "embeddings", "index_manifest"):
        for file in (lake / table).rglob("*"):
            assert not file.is_file() or b"duty.desk@" not in file.read_bytes()


def test_permissions_are_enforced_in_search_answers_and_documents(corpus: Corpus) -> None:
    reindex(corpus)
    question = "At what pay does the pay band of field engineers start?"
    hr = Principal(frozenset({"hr"}))
    secret = corpus.search(question, principal=hr)[0]
    assert secret.key == "hr/pay.md"
    assert "hr/pay.md" not in {passage.key for passage in corpus.search(question, 50)}
    with pytest.raises(NotFoundError):
        corpus.document(secret.doc_id)
    assert corpus.document(secret.doc_id, principal=hr).key == "hr/pay.md"
    answer = corpus.answer(question)
    assert all(c.key != "hr/pay.md" for sentence in answer.sentences for c in sentence.citations)


def test_a_second_reindex_recomputes_nothing(corpus: Corpus) -> None:
    first = reindex(corpus)
    second = reindex(corpus)
    assert recomputed(second) == {}
    assert (second.release, second.previous) == (first.release, first.release)
    assert [s.data_version for s in second.stages[:8]] == [s.data_version for s in first.stages[:8]]


def test_a_document_whose_first_passage_has_no_vector_is_still_read(
    corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = "\n\n".join(
        f"On day {day} of the season the keeper noted calm water, the usual boats, and nothing else worth a line."
        for day in range(1, 101)
    )
    (folder / "hr" / "logbook.md").write_text(f"# Logbook\n\nThe astrolabe came on board in spring.\n\n{days}\n")
    given = Embedder.try_documents

    def refusing(self: Embedder, texts: Sequence[str], *known: Any) -> Any:
        failed = {row: "bad_vector" for row, text in enumerate(texts) if "The astrolabe" in text}
        return replace(given(self, texts, *known), failed=failed)

    monkeypatch.setattr(Embedder, "try_documents", refusing)
    reindex(corpus)
    hr = Principal(frozenset({"hr"}))
    (found,) = {hit.doc_id for hit in corpus.search("calm water", 20, principal=hr) if "logbook" in hit.key}
    assert "astrolabe" in corpus.document(found, principal=hr).text
    with pytest.raises(NotFoundError):
        corpus.document(found)


def test_editing_one_file_recomputes_one_document_and_its_chunks(corpus: Corpus, folder: Path) -> None:
    reindex(corpus)
    (folder / "gauge.md").write_text(HERON.replace("nine years", "eleven years"))
    report = reindex(corpus)
    done = recomputed(report)
    assert {name: done[name] for name in ROW_STAGES[:5]} == dict.fromkeys(ROW_STAGES[:5], 1)
    chunks = corpus.tables.chunks.read(["id"]).height
    of_document = corpus.receipts("gauge.md")[0].chunks
    assert done["chunks"] == 1 and of_document < chunks
    assert done["embeddings"] == done["index_candidate"] == of_document
    assert report.release == 2
    answer = corpus.answer("How long does the battery of the Heron gauge last?")
    assert "eleven years" in answer.text and answer.release == 2
    assert not any("nine years" in p.text for p in corpus.search("battery nine years", 50))


def test_a_deleted_file_leaves_the_answers_and_the_old_release_still_has_it(corpus: Corpus, folder: Path) -> None:
    reindex(corpus)
    (folder / "gauge.md").unlink()
    report = reindex(corpus)
    assert [stage.removed for stage in report.stages[:5]] == [1] * 5
    assert recomputed(report).keys() <= {"retrieval_evaluation", "live_release"}
    assert not any(passage.key == "gauge.md" for passage in corpus.search("Heron gauge battery", 50))
    before = corpus.search("Heron gauge battery", release=1)
    assert before[0].key == "gauge.md" and before[0].release == 1


def test_a_listing_that_no_run_took_through_every_stage_does_not_count_as_applied(corpus: Corpus, folder: Path) -> None:
    reindex(corpus)
    applied = corpus.ledger.applied_listing(corpus.name)
    (folder / "policies" / "leave.md").unlink()
    Pipeline(corpus, run="ended early").source_objects()
    # As a person may materialise it alone. The sensor has to ask for a reindex all the same.
    Pipeline(corpus, run="by hand").live_release()
    assert corpus.ledger.applied_listing(corpus.name) == applied
    reindex(corpus)
    assert corpus.ledger.applied_listing(corpus.name) not in (None, applied)


def test_when_the_kept_copy_is_deleted_the_other_one_is_indexed(corpus: Corpus, folder: Path) -> None:
    reindex(corpus)
    (folder / "policies/leave-copy.md").unlink()
    reindex(corpus)
    receipt = corpus.receipts("policies/leave.md")[0]
    assert (receipt.state, receipt.survivor) == ("indexed", None)
    assert corpus.search("How many days of paid leave?")[0].key == "policies/leave.md"


def test_a_permission_change_reaches_the_next_release_without_parsing(
    corpus: Corpus, folder: Path, tmp_path: Path
) -> None:
    reindex(corpus)
    rules = [{"prefix": "", "groups": ["*"]}, {"prefix": "gauge", "groups": ["field"]}]
    with open_corpus(configure(tmp_path, folder, access=rules)) as changed:
        report = reindex(changed)
        assert recomputed(report).keys() <= {
            "source_objects",
            "index_candidate",
            "retrieval_evaluation",
            "live_release",
            "deduplicated_documents",
        }
        assert "gauge.md" not in {p.key for p in changed.search("Heron gauge battery", 50)}
        assert changed.search("Heron gauge battery", principal=Principal(frozenset({"field"})))[0].key == "gauge.md"
        assert changed.search("pay band of field engineers")[0].key == "hr/pay.md"


def test_a_changed_quality_threshold_does_not_parse_again(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    reindex(corpus)
    with open_corpus(configure(tmp_path, folder, quality={"min_words": 6})) as changed:
        done = recomputed(reindex(changed))
    # No verdict changed by it: limits are decided over stored signals, so there is nothing to write, here or downstream.
    assert not done.keys() & {"parsed_documents", "quality_documents", "deduplicated_documents", "chunks", "embeddings"}


def test_a_failed_gate_leaves_live_as_it_was(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    reindex(corpus)
    (folder / "gauge.md").write_text(HERON.replace("nine", "ten"))
    with open_corpus(configure(tmp_path, folder, gate={"max_quarantined_share": 0.0})) as strict:
        with pytest.raises(GateError, match=r"quarantine_within_bounds = 0\.125"):
            reindex(strict)
        assert strict.live() == 1
        rejected = strict.releases()[0]
        assert (rejected.number, rejected.state) == (2, "rejected")
        assert "quarantine_within_bounds" in (rejected.reason or "")
        assert strict.search("Heron gauge battery")[0].release == 1
    with open_corpus(configure(tmp_path, folder)) as loose:
        report = reindex(loose)
        assert (report.release, recomputed(report).get("index_candidate", 0)) == (2, 0)
        assert "ten years" in loose.answer("How long does the battery of the Heron gauge last?").text


def test_a_damaged_index_does_not_go_live(corpus: Corpus, folder: Path) -> None:
    reindex(corpus)
    (folder / "gauge.md").write_text(HERON.replace("nine", "ten"))
    pipeline = Pipeline(corpus, workers=2)
    for name in STAGES[:7]:
        getattr(pipeline, name)()
    real = corpus.engine.apply
    lost = []

    def forgetful(release: int, upserts: Iterator[object], deletes: Iterator[object]) -> None:
        batches = list(upserts)
        lost.extend(batches[-1:])
        real(release, [b.slice(1) for b in batches], deletes)  # type: ignore[attr-defined, misc]

    corpus.engine.apply = forgetful  # type: ignore[method-assign, assignment]
    pipeline.index_candidate()
    failed = [check for check in pipeline.gate() if not check.passed]
    assert lost and [check.name for check in failed] == ["counts_reconcile", "content_matches"]
    with pytest.raises(GateError):
        pipeline.live_release()
    assert corpus.live() == 1


KILLED = """
import os, signal, sys
from headwater.corpus import open_corpus
from headwater.pipeline import Pipeline

corpus = open_corpus(sys.argv[1])
where = sys.argv[2]
if where == "embeddings":
    corpus.tables.embeddings.change = lambda *batches: os.kill(os.getpid(), signal.SIGKILL)
elif where == "index":
    apply = corpus.engine.apply
    def killed(release, upserts, deletes):
        apply(release, upserts, deletes)
        os.kill(os.getpid(), signal.SIGKILL)
    corpus.engine.apply = killed
else:
    corpus.ledger.publish = lambda *release, **reason: os.kill(os.getpid(), signal.SIGKILL)
Pipeline(corpus, workers=2).run()
"""


@pytest.mark.parametrize("where", ["embeddings", "index", "publish"])
def test_a_killed_run_leaves_live_as_it_was_and_the_next_one_finishes(
    corpus: Corpus, folder: Path, tmp_path: Path, where: str
) -> None:
    (folder / "gauge.md").write_text(HERON.replace("nine", "ten"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "assets" / "works"), where], check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    corpus.refresh()
    assert corpus.live() == 1
    assert "nine years" in " ".join(p.text for p in corpus.search("Heron gauge battery"))
    report = reindex(corpus)
    assert "parsed_documents" not in recomputed(report)
    assert "ten years" in " ".join(p.text for p in corpus.search("Heron gauge battery"))
    assert {info.state for info in corpus.releases()} <= {"live", "retained", "dropped"}
    with corpus.searcher() as searcher:
        wanted = dict(corpus.tables.index_manifest.read(["id", "fingerprint"]).iter_rows())
        assert searcher.fingerprints() == wanted


def test_two_runs_of_one_corpus_do_not_interleave(corpus: Corpus, tmp_path: Path) -> None:
    script = "import sys; from headwater.corpus import open_corpus\n"
    script += "with open_corpus(sys.argv[1]).writing(): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "assets" / "works")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(LeaseError, match="Another process is writing"):
            reindex(corpus)
        other.kill()  # the lock goes with its process, and the lease is taken over at once
    reindex(corpus)


def test_a_lost_folder_changes_nothing(corpus: Corpus, folder: Path) -> None:
    reindex(corpus)
    shutil.rmtree(folder)
    with pytest.raises(SourceError):
        reindex(corpus)
    assert corpus.search("Heron gauge battery")[0].key == "gauge.md"


def test_golden_questions_are_part_of_the_gate(folder: Path, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    rows = [
        {
            "id": "1",
            "question": "How long does the gauge battery last?",
            "answers": [{"key": "gauge.md", "quote": "Its battery lasts nine years at one transmission per hour."}],
        },
        {"id": "2", "question": "Which rocket reached Pluto in 1987?", "answers": []},
    ]
    golden.write_text("\n".join(json.dumps(row) for row in rows))
    with open_corpus(configure(tmp_path, folder, gate={"golden": str(golden), "min_golden_recall": 1.0})) as corpus:
        report = reindex(corpus)
        check = next(check for check in report.checks if check.name == "golden_recall")
        assert check.figure == 1.0 and check.details["refusal_accuracy"] == 1.0
    rows[0]["answers"] = [{"key": "gauge.md", "quote": "a sentence that nobody wrote anywhere"}]
    golden.write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "contact.txt").write_text(CONTACT + "It is closed on the first of May and on the second of November.\n")
    with open_corpus(configure(tmp_path, folder, gate={"golden": str(golden), "min_golden_recall": 1.0})) as corpus:
        with pytest.raises(GateError, match="golden_recall = 0"):
            reindex(corpus)
        assert corpus.live() == 1


def test_without_a_golden_set_known_items_stand_in_for_it(corpus: Corpus) -> None:
    figures = {"known_item_recall": 0.25, "known_item_queries": 4, "canary_chunks": 1, "canary_cosine": 1.0}
    checks = {c.name: c for c in run_gate(corpus, 1, Evaluation(figures, {}, {}))}
    assert checks["golden_recall"].figure == 0.25
    assert "No golden set" in checks["golden_recall"].details["note"]
    assert not checks["known_items_found"].passed


def test_incremental_changes_end_like_a_rebuild(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    reindex(corpus)
    (folder / "gauge.md").write_text(HERON + "\n## Mast\n\nThe mast is four metres high and must be earthed.\n")
    (folder / "policies/leave-copy.md").unlink()
    reindex(corpus)
    (folder / "policies/new.md").write_text("# Keys\n\nKeys of the depot are returned to the desk every evening.\n")
    (folder / "contact.txt").rename(folder / "desk.txt")
    reindex(corpus)
    names = ("id", "doc_id", "fingerprint", "state", "reason")
    kept = {t: getattr(corpus.tables, t).read(names).sort("id") for t in ROW_STAGES}
    kept["manifest"] = corpus.tables.index_manifest.read(["id", "fingerprint"]).sort("id")
    with corpus.searcher() as searcher:
        points = searcher.fingerprints()
    shutil.rmtree(corpus.project.home)
    with open_corpus(tmp_path / "assets" / "works") as fresh:
        reindex(fresh)
        for table in ROW_STAGES:
            assert kept[table].equals(getattr(fresh.tables, table).read(names).sort("id")), table
        assert kept["manifest"].equals(fresh.tables.index_manifest.read(["id", "fingerprint"]).sort("id"))
        with fresh.searcher() as searcher:
            assert searcher.fingerprints() == points


def test_a_reader_notices_a_new_release_and_never_fails(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    reindex(corpus)
    with open_corpus(tmp_path / "assets" / "works") as reader:
        assert reader.search("Heron gauge battery")[0].release == 1
        (folder / "gauge.md").write_text(HERON.replace("nine", "ten"))
        reindex(corpus)
        reader.refresh()
        passage = reader.search("Heron gauge battery")[0]
        assert passage.release == 2 and "ten years" in " ".join(p.text for p in reader.search("Heron gauge battery"))


def test_old_releases_are_dropped_beyond_the_retention(folder: Path, tmp_path: Path) -> None:
    edits: list[Callable[[str], str]] = [lambda t, n=n: t.replace("nine", str(n)) for n in range(10, 13)]
    with open_corpus(configure(tmp_path, folder, index={"retain": 1})) as corpus:
        reindex(corpus)
        for edit in edits:
            (folder / "gauge.md").write_text(edit(HERON))
            reindex(corpus)
        assert {r.number: r.state for r in corpus.releases()} == {4: "live", 3: "retained", 2: "dropped", 1: "dropped"}
        assert corpus.engine.releases() == [3, 4]
        with pytest.raises(NotFoundError):
            corpus.search("battery", release=1)
