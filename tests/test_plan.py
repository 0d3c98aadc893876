"""The plan of a reindex, held against the reindex that follows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.errors import SourceError
from headwater.pipeline import Pipeline
from headwater.plan import Plan, plan_reindex
from headwater.plan.passages import _counts
from headwater.plan.rates import Line, fit
from headwater.project import CORPUS_FILE, Project
from tests.conftest import SMALL, SMALL_FILES
from tests.mails import mail_bytes

NEW = """# Sluice seven

The seventh sluice is opened by hand when the lower basin rises above the brass mark on its wall, and closed at dusk.
"""


@pytest.fixture
def folder(indexed_copy: Project) -> Path:
    """The folder of a corpus that was indexed, to be changed."""
    folder = indexed_copy.root / "assets" / SMALL
    with open_corpus(folder) as copied:
        Pipeline(copied).source_objects()  # copied files look changed: they have been read since
    return folder


@pytest.fixture
def corpus(folder: Path) -> Iterator[Corpus]:
    """The corpus, opened."""
    with open_corpus(folder) as opened:
        yield opened


def configure(folder: Path, **attributes: Any) -> None:
    """Change settings of the corpus."""
    file = folder / CORPUS_FILE
    document = yaml.safe_load(file.read_text())
    document["attributes"] |= attributes
    file.write_text(yaml.safe_dump(document))


def rows(plan: Plan) -> dict[str, tuple[int, int]]:
    """Return rows and removals by stage."""
    return {stage.stage: (stage.rows, stage.removed) for stage in plan.stages}


def exact(plan: Plan) -> dict[str, bool]:
    """Return which stages are exact."""
    return {stage.stage: stage.exact for stage in plan.stages}


def done(corpus: Corpus) -> dict[str, tuple[int, int]]:
    """Reindex, and return rows and removals by stage."""
    report = Pipeline(corpus, workers=2, confirm_removals=True).run()
    return {stage.stage: (stage.recomputed, stage.removed) for stage in report.stages}


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of all files below a folder; those of SQLite's shared memory come and go."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_without_a_change_there_is_nothing_to_do(corpus: Corpus) -> None:
    plan = plan_reindex(corpus)
    assert plan.nothing
    assert all(exact(plan).values())
    assert set(rows(plan).values()) == {(0, 0)}
    assert plan.tokens == 0


def test_a_plan_writes_nothing(corpus: Corpus, folder: Path) -> None:
    (folder / "documents" / "sluice.md").write_text(NEW)
    (folder / "documents" / "gauge.md").unlink()
    before = files_of(corpus.project.home)
    plan = plan_reindex(corpus)
    assert not plan.nothing
    assert files_of(corpus.project.home) == before


def test_new_edited_and_deleted_documents_are_planned_as_they_are_then_computed(corpus: Corpus, folder: Path) -> None:
    documents = folder / "documents"
    (documents / "sluice.md").write_text(NEW)
    with (documents / "hr" / "pay.md").open("a") as file:
        file.write("\nOvertime on a public holiday is paid twice over, and is never exchanged for hours off.\n")
    (documents / "gauge.md").unlink()
    plan = plan_reindex(corpus)
    assert (plan.added, plan.changed, plan.removed) == (1, 1, 1)
    assert plan.stages[0].exact and plan.stages[1].exact
    assert not exact(plan)["quality_documents"], "whether a new document can be parsed is not known"
    planned, computed = rows(plan), done(corpus)
    for stage in ("source_objects", "parsed_documents", "quality_documents", "deduplicated_documents"):
        assert planned[stage] == computed[stage], stage
    assert planned["anonymized_documents"][0] == computed["anonymized_documents"][0]
    assert planned["chunks"][0] == computed["chunks"][0]
    assert plan.read_bytes >= len(NEW)
    assert plan_reindex(corpus).nothing


def test_deletions_alone_are_exact_to_the_last_point(corpus: Corpus, folder: Path) -> None:
    (folder / "documents" / "policies" / "leave-copy.md").unlink()  # the other one takes its place
    (folder / "documents" / "gauge.md").unlink()
    plan = plan_reindex(corpus)
    planned = rows(plan)
    # That one's chunks are cut for the first time; how many there are is not known.
    assert all(
        exact(plan)[stage]
        for stage in ("source_objects", "parsed_documents", "quality_documents", "deduplicated_documents")
    )
    computed = done(corpus)
    for stage in ("source_objects", "parsed_documents", "quality_documents", "deduplicated_documents"):
        assert planned[stage] == computed[stage], stage
    assert planned["chunks"][0] == computed["chunks"][0] == 1


def test_a_touched_file_is_read_and_costs_its_own_row_only(corpus: Corpus, folder: Path) -> None:
    file = folder / "documents" / "gauge.md"
    file.write_bytes(file.read_bytes())
    plan = plan_reindex(corpus)
    assert rows(plan)["source_objects"] == (1, 0)
    assert rows(plan)["parsed_documents"] == (0, 0)
    assert rows(plan) == done(corpus)


def test_a_changed_permission_is_exact_and_parses_nothing(corpus: Corpus, folder: Path) -> None:
    configure(folder, access=[{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr", "board"]}])
    with open_corpus(folder) as changed:
        plan = plan_reindex(changed)
        assert rows(plan)["parsed_documents"] == (0, 0)
        assert rows(plan)["index_candidate"][0] > 0
        assert all(stage.exact for stage in plan.stages[:-1])
        assert rows(plan) == done(changed)


@pytest.mark.parametrize(
    ("settings", "certain"),
    [
        ({"quality": {"min_words": 25}}, True),
        ({"dedup": {"enabled": False}}, True),
        ({"embed": {"bm25_k": 1.2}}, True),
        ({"chunk": {"max_tokens": 64}}, False),
        ({"privacy": {"enabled": False}}, False),
    ],
    ids=["quality limit", "duplicates kept", "bm25", "chunk size", "privacy"],
)
def test_a_changed_setting_is_planned_as_it_is_then_computed(
    folder: Path, settings: dict[str, Any], certain: bool
) -> None:
    configure(folder, **settings)
    with open_corpus(folder) as changed:
        plan = plan_reindex(changed)
        assert not plan.nothing
        planned, computed = rows(plan), done(changed)
        for stage in ("source_objects", "parsed_documents", "quality_documents", "deduplicated_documents"):
            assert planned[stage] == computed[stage], stage
        assert planned["chunks"][0] == computed["chunks"][0]
        if certain:
            for stage in plan.stages:
                if stage.exact:
                    assert planned[stage.stage] == computed[stage.stage], stage.stage


def test_the_vectors_of_another_model_are_planned_row_by_row(folder: Path) -> None:
    configure(folder, embed={"bm25_b": 0.1})
    with open_corpus(folder) as changed:
        plan = plan_reindex(changed)
        held = changed.status().chunks
        assert rows(plan)["embeddings"] == (held, 0)
        assert exact(plan)["embeddings"]
        assert plan.tokens == 0, "dense vectors come from the cache"
        assert rows(plan)["index_candidate"] == (held, 0)


def test_a_corpus_that_was_never_indexed_has_a_plan(indexed_copy: Project, folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("fresh"))
    with open_corpus(folder.with_name("fresh")) as fresh:
        plan = plan_reindex(fresh)
    assert rows(plan)["source_objects"] == (len(SMALL_FILES), 0)
    assert rows(plan)["parsed_documents"] == (len(SMALL_FILES), 0)
    assert set(plan.rates.values()) == {"shipped"}
    assert plan.tokens > 0
    assert plan.seconds > 0


def test_what_is_attached_to_a_new_mail_is_planned_with_it(corpus: Corpus, folder: Path) -> None:
    attached = {"sluice.md": NEW, "note.txt": "The mast by the weir is painted again in the second week of June."}
    (folder / "documents" / "inbox.eml").write_bytes(mail_bytes("Two papers", "Both papers are attached.", attached))
    plan = plan_reindex(corpus)
    assert plan.added == 3
    assert rows(plan)["parsed_documents"] == (3, 0)
    assert exact(plan)["parsed_documents"]


def test_a_new_object_that_can_not_be_read_is_not_planned_to_be_parsed(corpus: Corpus, folder: Path) -> None:
    (folder / "documents" / "nowhere.md").symlink_to(folder / "nosuch.md")
    plan = plan_reindex(corpus)
    assert (rows(plan)["source_objects"], rows(plan)["parsed_documents"]) == ((1, 0), (0, 0))


def test_a_listing_that_lost_too_much_has_no_plan(corpus: Corpus, folder: Path) -> None:
    shutil.rmtree(folder / "documents")
    (folder / "documents").mkdir()
    (folder / "documents" / "gauge.md").write_text("left over")
    with pytest.raises(SourceError, match="confirm"):
        plan_reindex(corpus)
    assert plan_reindex(corpus, confirm_removals=True).removed == len(SMALL_FILES) - 1


def test_planning_loads_no_model(folder: Path) -> None:
    (folder / "documents" / "sluice.md").write_text(NEW)
    script = (
        "import sys; from headwater.corpus import open_corpus; from headwater.plan import plan_reindex;"
        f"plan_reindex(open_corpus({str(folder)!r}));"
        "print([name for name in ('torch', 'transformers', 'spacy', 'unstructured', 'presidio_analyzer')"
        " if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_line_is_told_by_runs_of_two_sizes() -> None:
    line = fit([(0, 1.0), (10, 4.0), (100, 13.0)], Line(9, 9, 9))
    assert (line.idle, round(line.start, 6), round(line.each, 6)) == (1.0, 2.0, 0.1)


def test_one_size_of_run_gives_back_what_it_took() -> None:
    line = fit([(100, 13.0)], Line(1.0, 2.0, 9.0))
    assert line.of(100, busy=True) == pytest.approx(13.0)
    assert line.of(200, busy=True) == pytest.approx(23.0)


def test_a_stage_without_a_run_takes_what_was_shipped() -> None:
    assert fit([], Line(1.0, 2.0, 3.0)) == Line(1.0, 2.0, 3.0)
    assert fit([(0, 0.5)], Line(1.0, 2.0, 3.0)) == Line(0.5, 2.0, 3.0)


def test_the_command_says_what_is_certain_and_what_is_estimated(folder: Path) -> None:
    configure(folder, costs={"cpu_hour": 1.0, "gb_month": 0.5, "currency": "EUR"})
    (folder / "documents" / "sluice.md").write_text(NEW)
    runner = CliRunner()
    shown = runner.invoke(app, ["plan", SMALL])
    assert shown.exit_code == 0, shown.output
    line = next(line for line in shown.output.splitlines() if line.startswith("parsed_documents"))
    assert line.split()[1] == "1"
    assert any(line.startswith("quality_documents") and "~1" in line for line in shown.output.splitlines())
    assert "EUR" in shown.output and "per month" in shown.output and "CPU hours" in shown.output
    document = json.loads(runner.invoke(app, ["plan", SMALL, "--json"]).output)
    assert not document["nothing"]
    assert document["money"] == pytest.approx(document["cpu_seconds"] / 3600)
    assert [stage["exact"] for stage in document["stages"]][:3] == [True, True, False]


def test_the_command_says_that_there_is_nothing_to_do(folder: Path) -> None:
    shown = CliRunner().invoke(app, ["plan", SMALL])
    assert shown.exit_code == 0
    assert "Nothing to do" in shown.output


def test_smaller_chunks_are_counted_by_what_is_too_long() -> None:
    chunks = pl.DataFrame({"doc_id": ["a", "a", "b"], "tokens": [254, 100, 30]})
    counts = {row["id"]: row for row in _counts(chunks, 128).to_dicts()}
    assert (counts["a"]["held"], counts["a"]["pieces"], counts["a"]["split_tokens"]) == (2, 3, 254)
    assert (counts["b"]["pieces"], counts["b"]["split_tokens"]) == (1, 0)
