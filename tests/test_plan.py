"""The plan of a reindex, held against the reindex that follows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.costs import StageCost
from headwater.driver import CORE
from headwater.embedding import locate_model
from headwater.errors import SourceError
from headwater.lake import Table
from headwater.ledger import ReleaseInfo
from headwater.pipeline import Pipeline
from headwater.plan import Plan, plan_reindex
from headwater.plan.lines import Line, fit
from headwater.plan.passages import _counts
from headwater.plan.rates import of_model, rates
from headwater.plan.sample import sample_model
from headwater.plan.shipped import COLD, SHIPPED
from headwater.policies import EmbedPolicy
from headwater.project import CORPUS_FILE, Project
from headwater.stages.chunks import CHUNKS
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


def test_verdicts_that_are_decided_anew_are_planned_without_the_time_of_reading_a_document(folder: Path) -> None:
    configure(folder, quality={"min_words": 25})
    with open_corpus(folder) as changed:
        quality = plan_reindex(changed).stages[2]
        line = rates(changed.ledger.costs(changed.name)).lines["quality_documents"]["cpu_seconds"]
    assert quality.rows > 0
    assert quality.cpu_seconds == line.of(0, touched=True) != line.of(quality.rows)


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


@pytest.fixture
def shallow_model(tmp_path: Path) -> Path:
    """The bundled embedding model with the first of its six layers only."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(locate_model(None)), device="cpu")
    encoder: Any = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:1]
    encoder.config.num_hidden_layers = 1
    model.save(str(tmp_path / "shallow"))
    return tmp_path / "shallow"


def test_the_speed_of_a_model_that_was_never_run_is_measured(folder: Path, shallow_model: Path) -> None:
    configure(folder, embed={"model": str(shallow_model)})
    with open_corpus(folder) as changed:
        before = files_of(changed.project.home)
        plan = plan_reindex(changed)
        assert files_of(changed.project.home) == before
        assert (plan.rates["embeddings"], plan.new_model) == ("sample", False)
        assert plan.sampled_texts > 0
        assert plan.tokens > 0
        unmeasured = plan_reindex(changed, sample=False)
        assert (unmeasured.rates["embeddings"], unmeasured.sampled_texts, unmeasured.new_model) == ("own", 0, True)
        computed = done(changed)
        assert rows(plan)["embeddings"] == computed["embeddings"]
        assert changed.ledger.costs(changed.name, runs=1)[6].tokens == pytest.approx(plan.tokens, rel=0.05)
        (folder / "documents" / "sluice.md").write_text(NEW)
        again = plan_reindex(changed)
        assert (again.rates["embeddings"], again.sampled_texts, again.new_model) == ("own", 0, False)


def test_a_model_that_can_not_run_here_is_planned_by_the_speed_of_the_one_before(
    folder: Path, shallow_model: Path
) -> None:
    configure(folder, embed={"model": str(shallow_model), "device": "cuda:99"})
    with open_corpus(folder) as changed:
        plan = plan_reindex(changed)
    assert (plan.rates["embeddings"], plan.sampled_texts, plan.new_model) == ("own", 0, True)
    assert plan.tokens > 0


def test_a_sample_tells_a_quick_model_from_a_slow_one(tmp_path: Path, shallow_model: Path) -> None:
    nothing = Table(tmp_path / "chunks", pa.schema([*CORE, *CHUNKS]))
    quick = sample_model(EmbedPolicy(model=str(shallow_model), device="cpu"), nothing)
    slow = sample_model(EmbedPolicy(device="cpu"), nothing)
    assert quick.token_ratio == slow.token_ratio == pytest.approx(1.0, abs=0.1)
    assert 2 * quick.lines["cpu_seconds"].each < slow.lines["cpu_seconds"].each


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
    line = fit([(0, 1.0, False), (10, 4.0, True), (100, 13.0, True)], Line(9, 9, 9))
    assert (line.idle, round(line.start, 6), round(line.each, 6)) == (1.0, 2.0, 0.1)


def test_one_size_of_run_gives_back_what_it_took() -> None:
    line = fit([(100, 13.0, True)], Line(1.0, 2.0, 9.0))
    assert line.of(100) == pytest.approx(13.0)
    assert line.of(200) == pytest.approx(23.0)


def test_a_stage_without_a_run_takes_what_was_shipped() -> None:
    assert fit([], Line(1.0, 2.0, 3.0)) == Line(1.0, 2.0, 3.0)
    assert fit([(0, 0.5, False)], Line(1.0, 2.0, 3.0)) == Line(0.5, 2.0, 3.0)


def test_runs_of_a_few_rows_tell_what_starting_takes_and_not_what_a_row_takes() -> None:
    line = fit([(1, 15.0, True), (3, 15.2, True)], Line(0.0, 8.0, 0.025))
    assert line.each == 0.025
    assert 20 < line.of(400) < 30


def test_what_it_takes_that_rows_only_leave_is_learnt_apart() -> None:
    runs = [(0, 1.0, False), *[(0, 4.0, True)] * 2, (100, 14.0, True)]
    line = fit(runs, Line(0.0, 2.0, 0.5, 9.0))
    assert (line.of(0), line.of(0, touched=True), line.of(100, touched=True)) == (1.0, 4.0, 14.0)
    assert fit(runs[1:2], Line(1.0, 0.0, 0.0, 9.0)).touch == 6.0, "one run is held against what was shipped"


def cost(run: str, stage: str, cpu: float, **more: Any) -> StageCost:
    """Return what a stage of a run cost; the later the run's name, the later it was."""
    at = datetime(2026, 3, 1, ord(run) - ord("a"), tzinfo=UTC)
    return StageCost("works", run, stage, at, "4 x some CPU", cpu, cpu, **more)


def a_run(run: str, cpu: float, **more: Any) -> list[StageCost]:
    """Return what a run cost whose stages took ``cpu`` each; ``more`` says by stage what else there is to say."""
    return [cost(run, stage, cpu, **more.get(stage, {})) for stage in SHIPPED]


def release(number: int, model: str, created_at: datetime) -> ReleaseInfo:
    """Return a release that was made with a model."""
    empty: dict[str, int] = {}
    return ReleaseInfo(
        corpus="works",
        number=number,
        state="retained",
        parent=None,
        spec="",
        created_at=created_at,
        published_at=None,
        reason=None,
        table_versions=empty,
        counts=empty,
        checks=(),
        settings={"model": model},
        readers_version=None,
        redacted=False,
    )


def test_a_verdict_that_is_decided_anew_is_not_taken_for_a_document_that_is_read() -> None:
    runs = a_run("b", 0.2, quality_documents={"recomputed": 64})
    runs += a_run("a", 20.0, quality_documents={"recomputed": 400, "read_bytes": 10**6})
    line = rates(runs).lines["quality_documents"]["cpu_seconds"]
    assert line.of(0, touched=True) < 1
    assert line.of(400) == pytest.approx(20.0)


def test_what_a_run_takes_to_load_the_model_for_its_release_alone_is_learnt_from_such_runs() -> None:
    built = {"index_candidate": {"recomputed": 1000}, "retrieval_evaluation": {"recomputed": 1}}
    whole = {"source_objects": {"recomputed": 100}, "embeddings": {"recomputed": 1000, "tokens": 10**5}}
    shrunk = {"index_candidate": {"removed": 20}, "retrieval_evaluation": {"recomputed": 1}}
    assert rates(a_run("a", 3.0, **built, **whole)).cold["cpu_seconds"] == COLD["cpu_seconds"]
    found = rates(a_run("c", 6.0, **shrunk) + a_run("b", 6.0, **shrunk) + a_run("a", 3.0, **built, **whole))
    lines = [found.lines[stage]["cpu_seconds"] for stage in ("index_candidate", "retrieval_evaluation")]
    assert lines[0].of(0, touched=True) + lines[1].of(1) + found.cold["cpu_seconds"] == pytest.approx(12.0, rel=0.05)


def test_runs_of_another_embedding_model_say_nothing_about_its_tokens() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    embedded = {"embeddings": {"recomputed": 10, "tokens": 1000}}
    costs = a_run("c", 1.0) + a_run("b", 50.0, **embedded) + a_run("a", 5.0, **embedded)
    releases = [release(2, "slow", moment + timedelta(hours=1.5)), release(1, "fast", moment + timedelta(hours=0.5))]
    left = {model: of_model(costs, releases, model) for model in ("slow", "fast")}
    assert {cost.run for cost in left["fast"] if cost.tokens} == {"a"}
    assert {cost.run for cost in left["slow"] if cost.tokens} == {"b"}
    assert len(left["fast"]) == len(costs) - 1


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
