"""The gate stops a bad release, says by which figure, and leaves live as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from headwater import privacy
from headwater.corpus import Corpus, open_corpus
from headwater.driver import change_batches
from headwater.errors import GateError, ReleaseError
from headwater.hashing import digest
from headwater.ledger import ReleaseInfo
from headwater.pipeline import STAGES, Pipeline
from headwater.policies import AnswerPolicy
from headwater.releases import diff, promote
from headwater.reports import GateCheck
from headwater.stages import evaluation
from headwater.stages.evaluation import evaluate_release, is_evaluated
from tests import station_corpus
from tests.soak import station
from tests.station_corpus import built, corpus, reindex, root, sentence, thing

__all__ = ["built", "corpus", "root"]


def stopped(corpus: Corpus, run: Callable[[], object], expected: str) -> GateCheck:
    """Run what must be stopped; check that live is untouched and the candidate is kept; return the failed check."""
    questions = ["How often is the winch greased?", "Who greases the siren?"]
    before = [corpus.search(question, 5) for question in questions]
    with pytest.raises(GateError, match=expected):
        run()
    corpus.refresh()
    assert corpus.live() == 1
    assert [corpus.search(question, 5) for question in questions] == before
    rejected = newest(corpus)
    assert rejected.state == "rejected" and expected in (rejected.reason or "")
    assert rejected.number in corpus.engine.releases()
    diff(corpus, 1, rejected.number)  # it can be looked at
    with pytest.raises(ReleaseError, match="failed the gate"):
        promote(corpus, rejected.number, reason="in a hurry")
    return next(check for check in Pipeline(corpus).gate() if check.name == expected)


def newest(corpus: Corpus) -> ReleaseInfo:
    return corpus.releases()[0]


def stages(corpus: Corpus, first: str, last: str) -> None:
    pipeline = Pipeline(corpus, workers=1)
    for name in STAGES[STAGES.index(first) : STAGES.index(last) + 1]:
        getattr(pipeline, name)()


def edit(root: Path, number: int, text: str) -> None:
    (root / "documents" / thing(number)).write_text(text)


def test_a_sound_release_passes_every_check(corpus: Corpus, root: Path) -> None:
    edit(root, 0, station_corpus.document(0).replace("log", "diary"))
    report = reindex(corpus)
    assert report.release == 2 and all(check.passed for check in report.checks)
    figures = {check.name: check.figure for check in report.checks}
    assert figures["golden_recall"] == 1.0 and figures["refusal_accuracy"] == 1.0
    assert figures["embedding_canary"] > 0.999 and figures["no_personal_data"] == 0


def test_planted_personal_data_stops_the_release(corpus: Corpus, root: Path) -> None:
    edit(root, 0, station_corpus.document(0) + "\nThe desk knows more.\n")
    stages(corpus, "source_objects", "chunks")
    plant(corpus, "The desk knows more: maren.holt@heronworks.example.org or 212-555-0142.")

    def rest() -> None:
        stages(corpus, "embeddings", "retrieval_evaluation")
        Pipeline(corpus).live_release()

    check = stopped(corpus, rest, "no_personal_data")
    assert check.figure == 2 and check.threshold == 0
    details = repr(check.details)
    assert "EMAIL_ADDRESS" in details and "maren" not in details and "0142" not in details


def plant(corpus: Corpus, text: str) -> None:
    """Put ``text`` into a chunk behind the anonymiser's back."""
    table = corpus.tables.chunks
    row = table.scan().filter(pl.col("text").str.contains("greased every 3 weeks")).collect().to_dicts()[0]
    row |= {"text": text, "embedded": text, "end": row["start"] + len(text), "fingerprint": digest("planted")}
    batches = pa.Table.from_pylist([row], schema=table.schema).to_batches()
    table.change(change_batches(table.schema, batches, []))


def test_missing_vectors_stop_the_release(corpus: Corpus, root: Path) -> None:
    for number in range(20):
        edit(root, number, station_corpus.document(number).replace("log", "diary"))
    lost = tamper(corpus, lambda batch: batch.slice(1 + batch.num_rows // 20))
    check = stopped(corpus, lambda: reindex(corpus), "counts_reconcile")
    assert check.figure == len(lost) > 0
    assert set(check.details["stale"]) == set(lost)


def test_foreign_vectors_stop_the_release(corpus: Corpus, root: Path) -> None:
    for number in range(20):
        edit(root, number, station_corpus.document(number).replace("log", "diary"))
    noise = np.random.default_rng(0)

    def garble(batch: pa.RecordBatch) -> pa.RecordBatch:
        vectors = batch.column("vector").to_pylist()
        wrong = noise.normal(size=len(vectors[0]))
        vectors[0] = (wrong / np.linalg.norm(wrong)).astype(np.float32)
        return batch.set_column(
            batch.schema.get_field_index("vector"), "vector", pa.array(vectors, batch.schema.field("vector").type)
        )

    tamper(corpus, garble)
    check = stopped(corpus, lambda: reindex(corpus), "content_matches")
    assert list(check.details["different"].values()) == [["vector"]]


def tamper(corpus: Corpus, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> list[str]:
    """Have every batch of points changed on its way into the index; return the ids that were left out."""
    real, lost = corpus.engine.apply, []

    def apply(release: int, upserts: Iterator[pa.RecordBatch], deletes: Any) -> None:
        def changed() -> Iterator[pa.RecordBatch]:
            for batch in upserts:
                result = change(batch)
                lost.extend(set(batch.column("chunk_id").to_pylist()) - set(result.column("chunk_id").to_pylist()))
                yield result

        real(release, changed(), deletes)

    corpus.engine.apply = apply  # type: ignore[method-assign]
    return lost


def test_a_drop_in_recall_stops_the_release_and_names_the_questions(corpus: Corpus, root: Path) -> None:
    for number in range(4):
        edit(
            root, number, station_corpus.document(number).replace(sentence(number), "It is looked after now and then.")
        )
    check = stopped(corpus, lambda: reindex(corpus), "golden_not_worse")
    assert check.figure < check.threshold == -0.05
    assert set(check.details["worse"]) == {thing(number).removesuffix(".md") for number in range(4)}
    assert check.details["worse"]["weir"] == {"rank": None, "rank_in_live": 1}


def test_a_golden_question_whose_document_left_the_bucket_does_not_count(corpus: Corpus, root: Path) -> None:
    (root / "documents" / thing(3)).unlink()
    report = reindex(corpus)
    check = next(check for check in report.checks if check.name == "golden_recall")
    assert report.release == 2
    assert check.details["golden_without_document"] == [thing(3).removesuffix(".md")]


def test_losing_half_of_the_documents_stops_the_release(corpus: Corpus, root: Path) -> None:
    for number in range(12):
        edit(root, number, "Nothing much.\n")
    check = stopped(corpus, lambda: reindex(corpus), "size_change")
    assert check.figure == 0.5
    assert check.details["documents"] == {"live": 24, "candidate": 12, "lost": 12}


def test_a_confirmed_loss_goes_live(corpus: Corpus, root: Path) -> None:
    for number in range(12):
        (root / "documents" / thing(number)).unlink()
    with pytest.raises(GateError, match=r"size_change = 0\.5"):
        reindex(corpus)
    assert reindex(corpus, confirm_removals=True).release == newest(corpus).number == corpus.live()


def test_a_candidate_that_outgrows_the_bound_stops(root: Path) -> None:
    with open_corpus(station_corpus.configure(root, gate={"max_growth": 1.2})) as corpus:
        for number in range(12):
            (root / "documents" / f"more-{number}.md").write_text(station(number, 1))
        check = stopped(corpus, lambda: reindex(corpus), "size_change")
        assert check.figure > check.threshold == 1.2


def test_answering_what_has_no_answer_stops_the_release(corpus: Corpus, root: Path) -> None:
    # The corpus now talks about what the golden set says it can't answer, and asks little of an answer.
    corpus.policy = corpus.policy.model_copy(update={"answer": AnswerPolicy(min_support=0.5)})
    edit(
        root, 0, station_corpus.document(0) + "\nA season ticket to the opera costs ninety crowns for the whole crew.\n"
    )
    edit(
        root,
        1,
        station_corpus.document(1) + "\nThe night watch won the chess tournament in spring against the harbour desk.\n",
    )
    check = stopped(corpus, lambda: reindex(corpus), "refusal_accuracy")
    assert check.figure < check.threshold == 0.75 and check.details["answered"]


def test_golden_questions_are_answered_again_by_another_method(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    release = corpus.live()
    assert release is not None
    answered: list[str] = []
    answer_from = Corpus.answer_from

    def counted(self: Corpus, question: str, *rest: Any) -> Any:
        answered.append(question)
        return answer_from(self, question, *rest)

    monkeypatch.setattr(Corpus, "answer_from", counted)
    assert not evaluate_release(corpus, release)[1] and answered == []
    monkeypatch.setattr(evaluation, "METHOD", "extractive/next")  # what an upgrade brings
    assert not is_evaluated(corpus, release)
    assert evaluate_release(corpus, release)[1] and answered
    assert is_evaluated(corpus, release)


def test_names_are_read_in_new_chunks_only(corpus: Corpus, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampled() -> int:
        (check,) = [check for check in newest(corpus).checks if check["name"] == "no_personal_data"]
        return int(check["details"]["people"]["sampled"])

    before = sampled()
    edit(
        root,
        0,
        station_corpus.document(0) + "\nThe boom is painted with tar before the first boats arrive in spring.\n",
    )
    reindex(corpus)
    assert 0 < sampled() < before
    monkeypatch.setattr(privacy, "names_left", lambda *_: pytest.fail("a run without a change read for names"))
    reindex(corpus)


def test_a_failed_release_is_promoted_by_a_person_with_a_reason(corpus: Corpus, root: Path) -> None:
    for number in range(12):
        edit(root, number, "Nothing much.\n")
    with pytest.raises(GateError):
        reindex(corpus)
    rejected = newest(corpus).number
    with pytest.raises(ReleaseError, match="Say why"):
        promote(corpus, rejected, reason=" ", force=True)
    # A run that was killed before its gate leaves the release as a candidate with the checks that it failed before.
    corpus.ledger.set_state(corpus.name, rejected, "candidate")
    with pytest.raises(ReleaseError, match="failed the gate"):
        promote(corpus, rejected, reason="it says candidate")
    promote(corpus, rejected, reason="the manuals were withdrawn", force=True)
    assert corpus.live() == rejected
    reason = corpus.ledger.release(corpus.name, rejected).reason or ""
    assert "size_change" in reason and "the manuals were withdrawn" in reason
    assert reindex(corpus).release == rejected
