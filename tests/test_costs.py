"""What a run costs: measured, kept in the ledger, shown, and priced."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from assets.metadata import costs as metadata_of
from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.costs import StageCost, folder_bytes, metered, note, price, priced, total
from headwater.ledger import Ledger
from headwater.ledger.costs import KEPT
from headwater.pipeline import STAGES, Pipeline
from headwater.policies import CostPolicy
from headwater.project import CORPUS_FILE, Project
from tests.conftest import SMALL, SMALL_FILES

COST = StageCost("works", "a", "chunks", datetime(2026, 3, 1, tzinfo=UTC), "4 x some CPU", 2.0, 7200.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


def busy(seconds: float) -> int:
    """Use the CPU for so long; return how often it went round."""
    until, rounds = time.process_time() + seconds, 0
    while time.process_time() < until:
        rounds += 1
    return rounds


def test_cpu_seconds_of_this_process_and_its_workers_count() -> None:
    from headwater.pool import WorkerPool

    with metered() as meter:
        busy(0.1)
        with WorkerPool("tests.test_costs:busy", workers=1) as pool:
            assert [index for index, _ in pool.map([0.3])] == [0]
            in_pool = 0.4
    assert meter.cpu_seconds >= in_pool
    assert meter.seconds > 0
    with metered() as quiet:
        pass
    assert quiet.cpu_seconds < in_pool / 2


def test_what_stages_note_counts_for_the_stage_that_is_measured_alone() -> None:
    note(read_bytes=7)
    with metered() as meter:
        note(read_bytes=5, tokens=3)
        note(read_bytes=1, gpu_seconds=0.5)
    note(tokens=9)
    assert (meter.read_bytes, meter.tokens, meter.gpu_seconds) == (6, 3, 0.5)


def test_without_a_price_there_is_no_money() -> None:
    assert price(CostPolicy(), cpu_seconds=1e6, gpu_seconds=1e6, tokens=10**9) is None
    assert priced(COST, CostPolicy(gb_month=1.0), endpoint=True).money is None


def test_money_is_what_was_used_by_its_price() -> None:
    prices = CostPolicy(cpu_hour=0.05, gpu_hour=2.0, thousand_tokens=0.01, currency="EUR")
    cost = priced(replace(COST, gpu_seconds=1800.0, tokens=50_000), prices, endpoint=True)
    assert cost.money == pytest.approx(2 * 0.05 + 0.5 * 2.0 + 50 * 0.01)
    assert cost.currency == "EUR"


def test_tokens_of_a_model_in_this_process_are_not_paid_for() -> None:
    prices = CostPolicy(thousand_tokens=0.01)
    assert priced(replace(COST, tokens=50_000), prices, endpoint=False).money == 0


def test_runs_come_newest_first_with_their_stages_in_order(ledger: Ledger) -> None:
    moment = datetime.now(UTC)
    for hours, run in ((3, "old"), (1, "new"), (2, "middle")):
        stages = [replace(COST, run=run, stage=s, at=moment - timedelta(hours=hours)) for s in ("chunks", "embeddings")]
        ledger.record_costs(stages)
    ledger.record_costs([replace(COST, corpus="other", run="foreign", at=moment)])
    found = ledger.costs("works", runs=2)
    assert [(cost.run, cost.stage) for cost in found] == [
        ("new", "chunks"),
        ("new", "embeddings"),
        ("middle", "chunks"),
        ("middle", "embeddings"),
    ]
    assert [cost.run for cost in ledger.costs("works", run="old")] == ["old", "old"]
    assert len(ledger.costs("works")) == 6


def test_a_cost_comes_back_as_it_was_kept(ledger: Ledger) -> None:
    cost = replace(
        COST, at=datetime.now(UTC), tokens=2**40, read_bytes=2**45, written_bytes=3, rows=4, recomputed=2, removed=1
    )
    ledger.record_costs([replace(cost, money=0.25, currency="EUR"), replace(cost, stage="embeddings")])
    assert ledger.costs("works") == [replace(cost, money=0.25, currency="EUR"), replace(cost, stage="embeddings")]


def test_costs_of_long_ago_go_when_new_ones_come(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    ledger.record_costs([replace(COST, run="ancient", at=now - KEPT - timedelta(days=1))])
    ledger.record_costs([replace(COST, run="recent", at=now)])
    assert {cost.run for cost in ledger.costs("works")} == {"recent"}


def test_a_reindex_keeps_what_each_stage_cost(small_corpus: Corpus) -> None:
    found = small_corpus.ledger.costs(small_corpus.name)
    assert [cost.stage for cost in found] == list(STAGES)
    by_stage = {cost.stage: cost for cost in found}
    assert len({cost.run for cost in found}) == 1
    size = sum(len(content.encode()) for content in SMALL_FILES.values())
    assert by_stage["source_objects"].read_bytes >= size
    assert by_stage["parsed_documents"].read_bytes >= size
    assert by_stage["embeddings"].tokens > 100
    assert by_stage["parsed_documents"].recomputed == len(SMALL_FILES)
    for stage in STAGES:
        assert by_stage[stage].seconds > 0
        if stage not in ("retrieval_evaluation", "live_release"):
            assert by_stage[stage].written_bytes > 0, stage
    assert all(cost.money is None for cost in found)


def test_a_run_without_a_change_writes_and_embeds_nothing_and_is_kept(indexed_copy: Project) -> None:
    folder = indexed_copy.root / "assets" / SMALL
    with open_corpus(folder) as corpus:
        Pipeline(corpus).source_objects()
        report = Pipeline(corpus, run="quiet").run()
        found = corpus.ledger.costs(corpus.name, run="quiet")
    assert [stage.cost for stage in report.stages] == found
    sums = total(found)
    assert (sums["tokens"], sums["recomputed"]) == (0, 0)
    assert sum(cost.written_bytes for cost in found) == 0


def test_what_a_run_cost_is_shown(indexed_copy: Project) -> None:
    file = indexed_copy.root / "assets" / SMALL / CORPUS_FILE
    document = yaml.safe_load(file.read_text())
    document["attributes"]["costs"] = {"cpu_hour": 36.0, "gb_month": 0.02, "currency": "EUR"}
    file.write_text(yaml.safe_dump(document))
    with open_corpus(file.parent) as corpus:
        Pipeline(corpus).source_objects()
    runner = CliRunner()
    shown = runner.invoke(app, ["costs", SMALL])
    assert shown.exit_code == 0, shown.output
    assert "EUR" in shown.output and "source_objects" in shown.output and "per month" in shown.output
    listed = json.loads(runner.invoke(app, ["costs", SMALL, "--json"]).output)
    newest, first = listed["runs"]
    assert newest["money"] == pytest.approx(newest["cpu_seconds"] / 100)
    assert first["money"] is None, "prices of later say nothing of what was paid then"
    assert [stage["stage"] for stage in first["stages"]] == list(STAGES)
    assert listed["stored_bytes"] > 0
    assert "Last reindex" in runner.invoke(app, ["status", SMALL]).output


def test_an_unknown_run_is_an_error_that_says_what_to_do(indexed: Project) -> None:
    shown = CliRunner().invoke(app, ["costs", SMALL, "--run", "nosuch"])
    assert shown.exit_code == 1
    assert "headwater costs" in shown.stderr


def test_dagster_is_shown_what_was_used_alone() -> None:
    assert metadata_of(replace(COST, tokens=5, money=0.5, currency="EUR")) == {
        "cpu_seconds": 7200.0,
        "tokens_embedded": 5,
        "cost_EUR": 0.5,
    }


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 8192)
    once = folder_bytes(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert folder_bytes(tmp_path) == once
    assert folder_bytes(tmp_path, since=time.time() + 60) == 0
