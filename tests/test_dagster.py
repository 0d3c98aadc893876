"""The Dagster project around the library: what loads, what is declared, and what a real run does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

import definitions
from assets.attributes import attributes_model
from assets.bucket import store_kind
from assets.metadata import bars, markdown_table
from headwater.config import load_corpus_file, scaffold_corpus
from headwater.corpus import open_corpus
from headwater.errors import ConfigError
from headwater.gate import CHECKS
from headwater.pipeline import STAGES
from headwater.policies import CorpusPolicy
from headwater.reports import StageReport
from resources.headwater import LoggedProgress

CHECKOUT = Path(definitions.__file__).parent
HEAVY = (
    "numba",
    "presidio_analyzer",
    "qdrant_edge",
    "sentence_transformers",
    "spacy",
    "torch",
    "transformers",
    "unstructured",
)
ANSWERS = {
    "answer_log",
    "feedback",
    "answer_quality",
    "answer_costs",
    "unanswered_questions",
    "question_drift",
}
"""What is made of answers, after and beside the stages of a reindex."""

SUBJECTS = {
    "heating": "The heating of the east building is switched on when the outside temperature falls below twelve degrees.",
    "parking": "Visitors park on the gravel field behind the depot and leave the spaces near the ramp to delivery vans.",
    "travel": "Travel expenses are paid back within ten working days after the signed form reached the accounts office.",
    "library": "Borrowed books go back after four weeks unless a colleague has asked for them, then after one week.",
    "kitchen": "The dishwasher in the kitchen on the second floor is emptied every morning by the team on the rota.",
    "keys": "A lost key is reported to the front desk on the same day so that the lock can be changed in time.",
}


def make_project(root: Path, *corpora: str) -> Path:
    """Make a project with these corpora, each on a folder of six small documents."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "workspace.yaml", root)
    (root / "assets").mkdir()
    for corpus in corpora:
        folder = root / "assets" / corpus
        (folder / "documents").mkdir(parents=True)
        (folder / "defs.yaml").write_text(scaffold_corpus("./documents", f"House rules of {corpus}."))
        for name, text in SUBJECTS.items():
            (folder / "documents" / f"{name}.md").write_text(f"# About {name}\n\n{text}\n")
    return root


def load_project(root: Path) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWATER_PROJECT", str(root))
        return definitions.defs()


def run_job(defs: dg.Definitions, corpus: str) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def(f"reindex_{corpus}")
        return job.execute_in_process(instance=instance, raise_on_error=False)


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Return the metadata of every materialised asset, by its name in the corpus."""
    events = [event.event_specific_data.materialization for event in result.get_asset_materialization_events()]
    return {event.asset_key.path[-1]: {k: v.value for k, v in event.metadata.items()} for event in events}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """A project of two corpora, loaded and never run."""
    return load_project(make_project(tmp_path_factory.mktemp("declared") / "project", "manuals", "minutes"))


# --- what is declared -----------------------------------------------------------------------------------------


def test_every_asset_belongs_to_its_corpus_and_says_what_it_is(declared: dg.Definitions) -> None:
    specs = list(declared.resolve_all_asset_specs())
    assert {spec.key.path[0] for spec in specs} == {"manuals", "minutes"}
    for spec in specs:
        assert spec.group_name == spec.key.path[0], spec.key
        assert len(spec.description or "") > 20, spec.key
        assert spec.owners == ["team:data"], spec.key
        assert spec.kinds, spec.key


def test_each_corpus_has_every_stage_in_order_and_only_the_bucket_is_outside(declared: dg.Definitions) -> None:
    graph = declared.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys() if not graph.get(key).is_materializable} == {
        "manuals/bucket",
        "minutes/bucket",
    }
    order = [key.path[-1] for key in graph.toposorted_asset_keys if key.path[0] == "manuals"]
    assert order[: len(STAGES) + 1] == ["bucket", *STAGES]
    assert set(order[len(STAGES) + 1 :]) == ANSWERS


def test_a_golden_set_is_upstream_of_the_evaluation(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", "manuals")
    file = root / "assets" / "manuals" / "defs.yaml"
    file.write_text(file.read_text() + "  gate:\n    golden: questions.jsonl\n")
    graph = load_project(root).resolve_asset_graph()
    parents = graph.get(dg.AssetKey(["manuals", "retrieval_evaluation"])).parent_keys
    assert {key.path[-1] for key in parents} == {"index_candidate", "evaluation_questions"}


def test_jobs_and_schedules_cover_one_corpus_each(declared: dg.Definitions) -> None:
    for corpus in ("manuals", "minutes"):
        job = declared.resolve_job_def(f"reindex_{corpus}")
        assert {key.path[0] for key in job.asset_layer.executable_asset_keys} == {corpus}
        assert len(job.asset_layer.executable_asset_keys) == len(STAGES)
        assert job.tags["headwater/corpus"] == corpus
        assert job.executor_def is dg.in_process_executor
        assert {node.definition.pool for node in job.nodes} == {f"corpus_{corpus}"}
        schedule = declared.resolve_schedule_def(f"reconcile_{corpus}")
        assert schedule.job_name == f"reindex_{corpus}"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_every_gate_check_is_declared_and_blocks(declared: dg.Definitions) -> None:
    graph = declared.resolve_asset_graph()
    gate = dg.AssetKey(["manuals", "retrieval_evaluation"])
    checks = [graph.get_check_spec(key) for key in graph.asset_check_keys if key.asset_key == gate]
    assert {check.name for check in checks} == set(CHECKS)
    assert all(check.blocking and check.description for check in checks)


def test_a_changed_policy_changes_the_code_version_of_its_stage_only(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", "manuals")
    file = root / "assets" / "manuals" / "defs.yaml"

    def versions() -> dict[str, str | None]:
        return {spec.key.path[-1]: spec.code_version for spec in load_project(root).resolve_all_asset_specs()}

    before = versions()
    file.write_text(file.read_text() + "  dedup:\n    threshold: 0.7\n")
    after = versions()
    assert {name for name in before if before[name] != after[name]} == {"deduplicated_documents"}


@pytest.mark.parametrize(
    ("uri", "kind"),
    [("./documents", "file"), ("file:///data", "file"), ("s3://b/p", "s3"), ("gs://b", "gcs"), ("az://c", "azure")],
)
def test_the_bucket_shows_what_kind_of_store_it_is(uri: str, kind: str) -> None:
    assert store_kind(uri) == kind


# --- loading --------------------------------------------------------------------------------------------------

_LOAD = """
import json, sys, time
def forbid(event, args):
    if event == "socket.connect":
        raise RuntimeError("loading definitions opened a connection")
sys.addaudithook(forbid)
import dagster
started = time.process_time()
import definitions
defs = definitions.defs()
defs.resolve_asset_graph()
jobs = [job.name for job in defs.resolve_all_job_defs()]
print(json.dumps({"seconds": time.process_time() - started, "modules": list(sys.modules), "jobs": jobs}))
"""


def test_loading_is_quick_and_touches_no_model_network_or_store(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", "manuals", "minutes")
    environment = {**os.environ, "HEADWATER_PROJECT": str(root)}
    output = subprocess.run(
        [sys.executable, "-c", _LOAD], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
    )
    loaded = json.loads(output.stdout.splitlines()[-1])
    assert {"reindex_manuals", "reindex_minutes"} <= set(loaded["jobs"])
    assert not set(HEAVY) & set(loaded["modules"])
    assert loaded["seconds"] < 3
    assert not (root / ".headwater").exists()


def test_a_project_variable_that_names_no_folder_stops_loading(tmp_path: Path) -> None:
    # A code location without corpora, sensors and schedules would look healthy.
    with pytest.raises(ConfigError, match="there is no such folder"):
        load_project(tmp_path / "mistyped")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of the Dagster project without corpora, so that a test may write to it."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("definitions.py", "pyproject.toml", "workspace.yaml", "dagster.yaml"):
        shutil.copy(CHECKOUT / name, root)
    for name in ("assets", "jobs", "resources", "sensors"):
        (root / name).mkdir()
        for module in (CHECKOUT / name).glob("*.py"):
            shutil.copy(module, root / name)
    return root


def command(root: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of Dagster's programs in a checkout, whose modules win over installed ones."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DAGSTER_"))}
    with tempfile.TemporaryDirectory() as home:
        shutil.copy(CHECKOUT / "dagster.yaml", home)
        environment |= {"PYTHONPATH": str(root), "DAGSTER_HOME": home, "NO_COLOR": "1"}
        line = [Path(sys.executable).parent / program, *arguments]
        return subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_scaffolded_corpus_passes_every_check(checkout: Path) -> None:
    for program, *arguments in (
        ("dg", "scaffold", "defs", "assets.corpus.Corpus", "manuals"),
        ("dg", "check", "toml"),
        ("dg", "check", "defs"),
        ("dagster", "definitions", "validate", "-w", "workspace.yaml"),
    ):
        done = command(checkout, program, *arguments)
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}{done.stderr}"
    listed = json.loads(command(checkout, "dg", "list", "defs", "--json").stdout)
    assert len(listed["assets"]) == len(STAGES) + 1 + len(ANSWERS)
    assert {asset["source"] for asset in listed["assets"]} == {"assets/manuals/defs.yaml:1"}


def test_the_checkout_itself_passes_every_check() -> None:
    for check in ("toml", "yaml", "defs"):
        done = command(CHECKOUT, "dg", "check", check)
        assert done.returncode == 0, f"{check}: {done.stdout}{done.stderr}"


# --- configuration --------------------------------------------------------------------------------------------

WRONG = """\
type: assets.corpus.Corpus
attributes:
  source:
    uri: ./documents
  chunk:
    max_tokenz: 200
    min_tokens: many
  dedup:
    survivor: shortest
"""


def test_dagster_and_the_library_name_the_same_wrong_lines_and_fields(checkout: Path) -> None:
    file = checkout / "assets" / "manuals" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(WRONG)
    done = command(checkout, "dg", "check", "yaml", "assets/manuals")
    by_dagster = re.findall(r"assets/manuals/defs\.yaml:(\d+) - \S+ (attributes\.\S+) ", done.stdout)
    with pytest.raises(ConfigError) as raised:
        load_corpus_file(file)
    by_library = re.findall(r"assets/manuals/defs\.yaml:(\d+): (attributes\.\S+): ", str(raised.value))
    assert done.returncode == 1
    assert set(by_dagster) == set(by_library)
    assert set(by_library) == {
        ("6", "attributes.chunk.max_tokenz"),
        ("7", "attributes.chunk.min_tokens"),
        ("9", "attributes.dedup.survivor"),
    }


def test_one_wrong_corpus_among_several_is_found(checkout: Path) -> None:
    # `dg check yaml` without a path looks at one file per component type only, so the promise is `dg check defs`.
    for corpus, text in {"manuals": WRONG, "minutes": scaffold_corpus("./documents")}.items():
        folder = checkout / "assets" / corpus
        folder.mkdir()
        (folder / "defs.yaml").write_text(text)
    done = command(checkout, "dg", "check", "defs")
    assert done.returncode == 1
    assert "attributes.chunk.max_tokenz" in done.stdout + done.stderr
    assert "assets/manuals/defs.yaml:6" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("attributes", "valid"),
    [
        ({"source": {"uri": "./documents"}}, True),
        ({"source": {"uri": "{{ env.BUCKET }}"}}, True),
        ({"source": {"uri": "s3://b"}, "access": [{"prefix": "hr/", "groups": ["hr"]}]}, True),
        ({"source": {"uri": "s3://b"}, "gate": {"golden": None}}, True),
        ({"source": {"uri": "s3://b"}, "access": [{"prefix": "hr/", "group": ["hr"]}]}, False),
        ({"source": {}}, False),
        ({}, False),
        ({"source": {"uri": "s3://b"}, "chunk": {"max_tokens": 3}}, False),
        ({"source": {"uri": "s3://b"}, "chunk": 254}, False),
        ({"source": {"uri": "s3://b"}, "sources": {}}, False),
        ({"source": {"uri": ["s3://b"]}}, False),
    ],
)
def test_schema_and_policy_accept_the_same_attributes(attributes: dict[str, Any], valid: bool) -> None:
    model = attributes_model(CorpusPolicy)
    verdicts = [Draft202012Validator(model.model_json_schema()).is_valid(attributes)]
    for checked in (model, CorpusPolicy):
        try:
            checked.model_validate(attributes)
            verdicts.append(True)
        except ValidationError:
            verdicts.append(False)
    assert verdicts == [valid] * 3


def test_a_template_may_stand_for_any_plain_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """\
type: assets.corpus.Corpus
attributes:
  source:
    uri: ./documents
  chunk:
    max_tokens: "{{ env.MAX_TOKENS }}"
"""
    attributes_model(CorpusPolicy).model_validate(yaml.safe_load(text)["attributes"])
    file = tmp_path / "manuals" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.setenv("MAX_TOKENS", "128")
    assert load_corpus_file(file).chunk.max_tokens == 128


def test_every_attribute_is_described_in_the_schema() -> None:
    def undescribed(model: type[BaseModel]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            if not field.description:
                yield f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from undescribed(field.annotation)

    assert list(undescribed(attributes_model(CorpusPolicy))) == []


def test_the_instance_runs_one_reindex_per_corpus_and_reports_to_nobody(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        limits = instance.get_concurrency_config()
        assert limits.run_queue_config is not None
        assert limits.run_queue_config.tag_concurrency_limits == [
            {"key": "headwater/corpus", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        ]
        assert limits.pool_config.default_pool_limit == 1
        assert not instance.telemetry_enabled
        assert not instance.run_retries_enabled


# --- what is shown --------------------------------------------------------------------------------------------


def test_reasons_are_drawn_longest_first_and_none_is_invisible() -> None:
    lines = bars({"too_short": 1, "ok": 900}).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["ok", "too_short"]
    assert [line.count("█") for line in lines] == [30, 1]


def test_a_sample_cell_can_not_break_out_of_its_table() -> None:
    table = markdown_table(pl.DataFrame({"key": ["a|b\nc", "<script>", "x" * 500]}))
    assert "a\\|b c" in table
    assert "<script>" not in table
    assert all(len(line) < 130 for line in table.splitlines())


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(("pause", "expected"), [(0.0, 102), (3600.0, 2)])
def test_progress_is_logged_no_more_often_than_asked(pause: float, expected: int) -> None:
    log = Lines()
    progress = LoggedProgress(log, pause)  # type: ignore[arg-type]
    progress.start("chunks", 100)
    for _ in range(100):
        progress.advance("chunks", 1)
    progress.finish(StageReport("chunks", rows=100, recomputed=100, removed=0, quarantined=0, seconds=1.0))
    assert len(log.lines) == expected


# --- real runs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dg.Definitions, dict[str, dict[str, Any]]]:
    """A project whose one corpus was reindexed once: its folder, definitions and the run's metadata."""
    root = make_project(tmp_path_factory.mktemp("indexed") / "project", "manuals")
    defs = load_project(root)
    result = run_job(defs, "manuals")
    assert result.success
    return root, defs, materializations(result)


@pytest.mark.slow
def test_a_run_publishes_a_release_that_answers(indexed: tuple[Path, dg.Definitions, dict[str, Any]]) -> None:
    root, _, metadata = indexed
    assert list(metadata) == list(STAGES)
    corpus = open_corpus(root / "assets" / "manuals" / "defs.yaml")
    try:
        assert corpus.live() is not None
        assert corpus.search("when is the heating switched on", k=1)[0].key == "heating.md"
    finally:
        corpus.close()


@pytest.mark.slow
def test_every_materialisation_shows_rows_reasons_columns_and_a_sample(
    indexed: tuple[Path, dg.Definitions, dict[str, Any]],
) -> None:
    _, _, metadata = indexed
    for name, shown in metadata.items():
        assert shown["dagster/row_count"] >= 1, name
        assert {"recomputed", "removed", "quarantined", "seconds", "rows_per_second", "reasons"} <= set(shown), name
        if name != "live_release":
            assert all(column.description for column in shown["dagster/column_schema"].columns), name
            assert shown["sample"].startswith("| "), name
            assert Path(shown["dagster/uri"].removeprefix("file://")).is_dir(), name
    assert metadata["source_objects"]["dagster/row_count"] == len(SUBJECTS)
    assert metadata["source_objects"]["recomputed"] == len(SUBJECTS)
    assert {"cpu_seconds", "bytes_read", "bytes_written"} <= set(metadata["parsed_documents"])
    assert metadata["embeddings"]["tokens_embedded"] > 0


@pytest.mark.slow
def test_dagster_is_shown_no_document_text(
    indexed: tuple[Path, dg.Definitions, dict[str, Any]],
) -> None:
    _, _, metadata = indexed
    for name in STAGES:
        assert not any(text[:30] in str(metadata[name]) for text in SUBJECTS.values()), name


@pytest.mark.slow
def test_a_run_without_a_change_recomputes_nothing_and_is_quick(
    indexed: tuple[Path, dg.Definitions, dict[str, Any]],
) -> None:
    _, defs, _ = indexed
    started = time.process_time()
    result = run_job(defs, "manuals")
    seconds = time.process_time() - started
    assert result.success
    assert {name: shown["recomputed"] for name, shown in materializations(result).items()} == dict.fromkeys(STAGES, 0)
    assert seconds < 10


@pytest.mark.slow
def test_a_failed_check_stops_the_release_in_the_same_run(
    indexed: tuple[Path, dg.Definitions, dict[str, Any]], tmp_path: Path
) -> None:
    root = tmp_path / "project"
    shutil.copytree(indexed[0], root)
    file = root / "assets" / "manuals" / "defs.yaml"
    file.write_text(file.read_text() + "  gate:\n    max_quarantined_share: 0.1\n")
    (file.parent / "documents" / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (file.parent / "documents" / "bicycles.md").write_text(
        "# About bicycles\n\nBicycles stand in the shed by the gate.\n"
    )
    corpus = open_corpus(file)
    try:
        live = corpus.live()
        result = run_job(load_project(root), "manuals")
        corpus.refresh()
        assert corpus.live() == live
        assert corpus.releases()[0].state == "rejected"
    finally:
        corpus.close()
    assert not result.success
    assert "live_release" not in materializations(result)
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == ["quarantine_within_bounds"]
    assert failed[0].metadata["figure"].value > failed[0].metadata["threshold"].value == 0.1
