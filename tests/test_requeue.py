"""Objects that are asked for again are processed from their bytes, whatever is remembered of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.errors import ConfigError, LeaseError, NotFoundError
from headwater.pipeline import Pipeline
from headwater.project import Project
from headwater.requeue import requeue
from tests.conftest import SMALL, SMALL_FILES


@pytest.fixture
def corpus(indexed_copy: Project) -> Iterator[Corpus]:
    with open_corpus(indexed_copy.root / "assets" / SMALL) as corpus:
        yield corpus


def run(corpus: Corpus) -> dict[str, int]:
    report = Pipeline(corpus, workers=1).run()
    return {stage.stage: stage.recomputed for stage in report.stages}


def test_a_requeued_object_goes_through_every_stage_again(corpus: Corpus) -> None:
    first = run(corpus)
    assert not any(first[stage] for stage in ("parsed_documents", "quality_documents", "chunks", "embeddings"))
    live = corpus.live()
    assert requeue(corpus, ["gauge.md"], reason="The parser was mended.") == 1
    (entry,) = corpus.ledger.audit_entries(corpus=corpus.name, action="document.requeue")
    assert (entry.outcome, entry.counts) == ("ok", {"documents": 1})
    (waiting,) = corpus.receipts("gauge.md")
    assert (waiting.state, waiting.reason, waiting.release) == ("pending", "requeued", live)
    assert waiting.requeued is not None and waiting.requeued.endswith(" The parser was mended.")
    again = run(corpus)
    for stage in ("parsed_documents", "quality_documents", "anonymized_documents", "chunks", "embeddings"):
        assert again[stage] == 1, stage
    (done,) = corpus.receipts("gauge.md")
    assert (done.state, done.requeued) == ("indexed", waiting.requeued)
    assert not any(run(corpus)[stage] for stage in ("parsed_documents", "chunks", "embeddings"))


def test_asking_twice_processes_twice(corpus: Corpus) -> None:
    for _ in range(2):
        requeue(corpus, ["gauge.md"], reason="Again.")
        assert run(corpus)["parsed_documents"] == 1


def test_all_objects_in_a_state_or_all_objects_can_be_requeued(corpus: Corpus) -> None:
    assert requeue(corpus, state="quarantined", reason="A new parser.") == 1
    marked = corpus.tables.source_objects.scan().filter(pl.col("requeued").is_not_null()).select("key").collect()
    assert marked["key"].to_list() == ["empty.txt"]
    assert requeue(corpus, state="rejected", reason="A new parser.") == 0
    assert requeue(corpus, ["gauge.md", "hr/pay.md"], "duplicate", reason="A new parser.") == 0
    assert requeue(corpus, reason="A new parser.") == len(SMALL_FILES)
    assert run(corpus)["parsed_documents"] == len(SMALL_FILES)


def test_a_state_that_there_is_not_is_refused(corpus: Corpus) -> None:
    # As Dagster's form passes it on: that no object is in it would look like work done.
    with pytest.raises(
        ConfigError, match="no end state 'quarantine'; there are: indexed, duplicate, rejected, quarantined"
    ):
        requeue(corpus, state="quarantine", reason="A new parser.")  # type: ignore[arg-type]


def test_an_unknown_key_names_its_neighbours_and_nothing_is_marked(corpus: Corpus) -> None:
    version = corpus.tables.source_objects.version()
    with pytest.raises(NotFoundError, match=r"'policies/laeve\.md'.*'policies/leave\.md'"):
        requeue(corpus, ["gauge.md", "policies/laeve.md"], reason="Why not.")
    with pytest.raises(NotFoundError, match=r"'travel\.html'"):
        requeue(corpus, ["travel.html"], reason="Why not.")
    assert corpus.tables.source_objects.version() == version


def test_a_reason_is_needed_and_cut(corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match="Say why"):
        requeue(corpus, ["gauge.md"], reason=" \n")
    requeue(corpus, ["gauge.md"], reason="words\n" * 200)
    (receipt,) = corpus.receipts("gauge.md")
    assert receipt.requeued is not None and "\n" not in receipt.requeued
    assert len(receipt.requeued.split(" ", 1)[1]) == 200


def test_while_another_process_writes_nothing_is_requeued(corpus: Corpus) -> None:
    token = corpus.ledger.acquire_lease(corpus.name, "elsewhere:1:x", 60)
    with pytest.raises(LeaseError, match="elsewhere"):
        requeue(corpus, ["gauge.md"], reason="Why not.")
    corpus.ledger.release_lease(corpus.name, token)
    assert requeue(corpus, ["gauge.md"], reason="Why not.") == 1


def test_the_command_requeues(indexed_copy: Project) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["requeue", SMALL, *arguments])
        return result.exit_code, result.output

    assert call("gauge.md", "hr/pay.md", "--reason", "A new parser.")[1].startswith("Requeued 2 objects.")
    assert "No object was in that state" in call("--state", "rejected", "--reason", "x")[1]
    assert call("--all", "--reason", "x")[1].startswith(f"Requeued {len(SMALL_FILES)} objects.")
    code, printed = call("guage.md", "--reason", "x")
    assert code == 1 and "'gauge.md'" in printed
    for wrong in (("--reason", "x"), ("gauge.md",), ("gauge.md", "--all", "--reason", "x")):
        assert call(*wrong)[0] == 2
    shown = CliRunner().invoke(app, ["receipts", SMALL, "gauge.md"]).output
    assert "requeued:" in shown and "pending (requeued)" in shown


def test_a_changed_file_is_processed_without_the_old_mark(corpus: Corpus) -> None:
    requeue(corpus, ["gauge.md"], reason="A new parser.")
    file: Path = corpus.project.root / "assets" / SMALL / "documents" / "gauge.md"
    file.write_text("# Teal gauge\n\nThe Teal gauge measures the water level every twenty minutes by radar.\n")
    run(corpus)
    assert corpus.receipts("gauge.md")[0].requeued is None
