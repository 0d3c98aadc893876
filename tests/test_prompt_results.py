"""What is shown of the versions of a prompt in use: figures by hand, intervals that hold, and no word where little is known."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

import definitions
from headwater.answer_log.prompt_results import compare_prompts, results_by_prompt
from headwater.answer_log.shares import difference_of, share_of
from headwater.cli.app import app
from headwater.corpus import open_corpus
from headwater.ledger import Ledger
from headwater.ledger.schema import answers as answers_table
from headwater.project import Project
from headwater.prompts import PromptRegistry
from headwater.types import Answer, Principal, Usage
from tests.conftest import SMALL, write_corpus
from tests.test_monitors import EMPTY_FEEDBACK, EMPTY_LOG, START, log

LIVE = {"answer": "answer@1"}


def written(number: int, version: int = 1, **fields: Any) -> dict[str, Any]:
    """A row of the log that a model wrote."""
    usual = {
        "id": f"{version}-{number:04}",
        "asked_at": START + timedelta(minutes=number),
        "prompt": f"answer@{version}",
        "model": "tiny",
        "prompt_tokens": 100,
        "completion_tokens": 10,
    }
    return usual | fields


def votes(*given: tuple[str, str]) -> pl.DataFrame:
    rows = [dict.fromkeys(EMPTY_FEEDBACK.columns) | {"answer_id": name, "kind": kind} for name, kind in given]
    return pl.DataFrame(rows, schema=EMPTY_FEEDBACK.schema)


# --- shares -----------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_share_and_of_a_difference_are_those_of_the_books() -> None:
    share = share_of([1] * 81 + [0] * 182, [1] * 263)  # Newcombe 1998, table I
    assert (share.count, share.of, share.independent) == (81, 263, pytest.approx(263))
    assert (share.low, share.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    less, more = share_of([1] * 48 + [0] * 32, [1] * 80), share_of([1] * 56 + [0] * 14, [1] * 70)
    found = difference_of(less, more)  # his second paper's first example, method 10
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert found.verdict == "higher" and difference_of(more, less).verdict == "lower"


def test_nothing_has_no_share_and_little_shows_nothing() -> None:
    nothing = share_of([0, 0], [0, 0])
    assert (nothing.of, nothing.share, nothing.low) == (0, None, None)
    assert difference_of(nothing, share_of([1] * 99, [1] * 99)).verdict == "too few"
    none, all_of_them = share_of([0] * 29, [1] * 29), share_of([1] * 29, [1] * 29)
    assert (
        (none.low, all_of_them.high) == (0.0, pytest.approx(1.0)) and none.high is not None and 0.05 < none.high < 0.2
    )
    assert difference_of(none, all_of_them).verdict == "too few"
    assert difference_of(share_of([0] * 30, [1] * 30), share_of([1] * 30, [1] * 30)).verdict == "higher"


def test_answers_of_one_conversation_count_less_than_as_many_of_different_ones() -> None:
    alone = share_of([1] * 50 + [0] * 50, [1] * 100)
    together = share_of([10] * 5 + [0] * 5, [10] * 10)
    assert (together.share, together.of) == (alone.share, alone.of)
    assert alone.independent == pytest.approx(100)
    assert together.independent == pytest.approx(100 / 11)
    assert share_of([0] * 10, [10] * 10).independent == 10  # all alike: no more is known than ten times
    assert share_of([5], [9]).independent == 1


def test_equal_versions_are_seldom_told_apart_also_when_conversations_differ() -> None:
    chance = random.Random(7)

    def side() -> tuple[list[int], list[int]]:
        sizes = [chance.randint(1, 6) for _ in range(120)]
        shares = [chance.choice((0.05, 0.6)) for _ in sizes]  # some conversations are about what nobody wrote down
        return [sum(chance.random() < share for _ in range(n)) for n, share in zip(sizes, shares, strict=True)], sizes

    told = [difference_of(share_of(*side()), share_of(*side())).verdict for _ in range(400)]
    assert told.count("no difference shown") >= 400 * 0.93


# --- by version and model ---------------------------------------------------------------------------------------------


def test_each_version_and_model_has_its_figures() -> None:
    frame = log(
        written(1, refused=True, sentences=0, answer_seconds=5.0),
        written(2, sentences=3, dropped=["number"], answer_seconds=2.0, completion_tokens=30),
        written(3, answer_seconds=3.0, prompt_tokens=None, completion_tokens=None),
        written(4, cached=True, refused=True, answer_seconds=0.1),
        written(5, 10, model="large"),
        written(6, 2, model="large"),
        written(7, 2),
        {"id": "quoted"},
    )
    given = votes(("1-0004", "thumbs_up"), ("1-0002", "thumbs_down"), ("1-0002", "correction"), ("quoted", "thumbs_up"))
    found = results_by_prompt(frame, given)
    versions = [(one.prompt, one.model, one.answers) for one in found]
    assert versions == [
        ("answer@1", "tiny", 3),
        ("answer@2", "large", 1),
        ("answer@2", "tiny", 1),
        ("answer@10", "large", 1),
    ]
    first = found[0]
    assert (first.shares["refused_share"].count, first.shares["refused_share"].of) == (1, 3)
    assert (first.shares["dropped_share"].count, first.shares["dropped_share"].of) == (1, 5)
    assert first.shares["down_share"].share == 0.5
    assert first.votes == {"thumbs_up": 1, "thumbs_down": 1, "correction": 1, "wrong_citation": 0}
    assert (first.seconds_p50, first.tokens) == (3.0, pytest.approx(120))
    assert results_by_prompt(EMPTY_LOG, EMPTY_FEEDBACK) == compare_prompts(EMPTY_LOG, EMPTY_FEEDBACK, LIVE) == []


def test_a_version_is_compared_with_the_live_one_of_the_same_model() -> None:
    rows = [written(n, v, refused=n % 10 < (1 if v == 1 else 5)) for n in range(100) for v in (1, 2)]
    rows += [written(n, 3, model="large") for n in range(100)]
    frame = log(*rows)
    (found,) = compare_prompts(frame, EMPTY_FEEDBACK, LIVE)
    assert (found.a, found.b, found.model) == ("answer@1", "answer@2", "tiny")
    refused = found.differences["refused_share"]
    assert refused.difference == pytest.approx(0.4) and refused.verdict == "higher"
    assert found.differences["dropped_share"].verdict == "no difference shown"
    assert found.differences["down_share"].verdict == "too few"
    (turned,) = compare_prompts(frame, EMPTY_FEEDBACK, {"answer": "answer@2"})
    assert (turned.b, turned.differences["refused_share"].verdict) == ("answer@1", "lower")


def test_only_the_time_counts_in_which_both_were_served() -> None:
    before = [written(n, 1, refused=True) for n in range(100)]
    both = [written(n, v) for n in range(100, 200) for v in (1, 2)]
    (found,) = compare_prompts(log(*before, *both), EMPTY_FEEDBACK, LIVE)
    assert (found.start, found.end) == (START + timedelta(minutes=100), START + timedelta(minutes=199))
    refused = found.differences["refused_share"]
    assert (refused.a.of, refused.a.count, refused.verdict) == (100, 0, "no difference shown")
    after = [written(n, 2) for n in range(100, 200)]
    (apart,) = compare_prompts(log(*before, *after), EMPTY_FEEDBACK, LIVE)
    assert (apart.start, apart.end) == (None, None)
    assert {difference.verdict for difference in apart.differences.values()} == {"too few"}


# --- the command and the asset ----------------------------------------------------------------------------------------


@pytest.fixture
def ledger(project: Project) -> Iterator[Ledger]:
    """Forty conversations answered by each of two versions: the new one refuses every other question."""
    write_corpus(project.root, SMALL, {"a.md": "# A\n\nThe duty desk lends the green rowing boat.\n"})
    with closing(Ledger(project.ledger_url)) as ledger:
        prompts = PromptRegistry(ledger)
        prompts.add("answer", prompts.find("answer").text + "\nBe brief.", source="a test")
        prompts.label("answer", 2, "candidate", "shorter")
        for number in range(80):
            version, refused = 1 + number % 2, number % 4 == 1
            answer = Answer(f"a{number:03}", "Why?", (), refused, None, 1, "generated/1")
            ledger.record_answer(
                SMALL,
                replace(answer, prompt=f"answer@{version}", model="tiny", usage=Usage(100, 20, None)),
                passages=[],
                principal=Principal(),
                parameters={"rewrite_prompt": "rewrite@1"} if number < 10 else {},
                seconds=1.0 + version,
                scrub=str,
            )
        ledger.record_feedback("a001", "thumbs_down", by="key:1")
        ledger.record_feedback("a000", "thumbs_up", by="key:1")
        yield ledger


def results(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["prompts", "results", *arguments])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.stdout


def test_the_command_shows_how_the_versions_of_a_test_do(ledger: Ledger) -> None:
    told = json.loads(results("answer", "--json"))
    assert (told["name"], told["live"]) == ("answer", "answer@1")
    first, second = told["results"]
    assert (first["prompt"], first["model"], first["answers"], first["tokens"]) == ("answer@1", "tiny", 40, 120)
    assert (first["seconds_p50"], second["seconds_p50"]) == (2.0, 3.0)
    assert (first["votes"]["thumbs_up"], second["votes"]["thumbs_down"]) == (1, 1)
    (compared,) = told["comparisons"]
    assert (compared["a"], compared["b"]) == ("answer@1", "answer@2")
    assert compared["differences"]["refused_share"]["verdict"] == "higher"
    text = results("answer", "--days", "2", "--corpus", SMALL)
    assert "answer@2 against answer@1" in text and "higher" in text and "too few" in text
    (rewritten,) = json.loads(results("rewrite", "--json"))["results"]
    assert (rewritten["prompt"], rewritten["answers"]) == ("rewrite@1", 10)
    assert "No answer of the last 30 days" in results("answer.legal")


def test_older_answers_are_left_out(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(days=20)
        connection.execute(answers_table.update().where(answers_table.c.prompt == "answer@1").values(asked_at=old))
    assert [one["prompt"] for one in json.loads(results("answer", "--days", "10", "--json"))["results"]] == ["answer@2"]
    assert [one["answers"] for one in json.loads(results("answer", "--json"))["results"]] == [40, 40]


@pytest.mark.parametrize(("arguments", "message"), [(("poem",), "poem"), (("answer", "--corpus", "none"), "'none'")])
def test_what_does_not_exist_is_one_message(ledger: Ledger, arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["prompts", "results", *arguments])
    assert done.exit_code == 1 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_dagster_shows_the_versions_beside_the_other_figures(ledger: Ledger, project: Project) -> None:
    with open_corpus(SMALL) as corpus, dg.DagsterInstance.ephemeral() as instance:
        from headwater.answer_log.tables import update_answer_log, update_feedback

        update_answer_log(corpus)
        update_feedback(corpus)
        job = definitions.defs().resolve_job_def(f"log_answers_{SMALL}")
        selected = [dg.AssetKey([SMALL, "answer_quality"])]
        done = job.execute_in_process(instance=instance, asset_selection=selected)
    (event,) = done.get_asset_materialization_events()
    shown = event.event_specific_data.materialization.metadata  # type: ignore[union-attr]
    assert "answer@2" in str(shown["prompts"].value) and "tiny" in str(shown["prompts"].value)
    assert "answer@2 against answer@1" in str(shown["prompts_compared"].value)
