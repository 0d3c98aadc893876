"""The figures that watch answers: worked out by hand, honest when there is nothing, and shown without a question."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml

import definitions
from headwater.answer_log.gaps import Gap, find_gaps, question_drift
from headwater.answer_log.monitors import (
    between,
    drop_reasons,
    feedback_by_day,
    feedback_counts,
    figures,
    figures_by_day,
    sparkline,
    trends,
)
from headwater.answer_log.questions import drift, group, medoid, psi, psi_by_chance, terms
from headwater.answer_log.tables import ANSWER_LOG, FEEDBACK
from headwater.corpus import Corpus, open_corpus
from headwater.ledger.schema import answers as answers_table
from headwater.pipeline import Pipeline
from headwater.types import Answer, Principal
from tests.conftest import SMALL, use_project, write_corpus

START = datetime(2026, 3, 2, tzinfo=UTC)
END = datetime(2026, 3, 5, tzinfo=UTC)
EMPTY_LOG = pl.DataFrame(pl.from_arrow(ANSWER_LOG.empty_table()))
EMPTY_FEEDBACK = pl.DataFrame(pl.from_arrow(FEEDBACK.empty_table()))


def log(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return an answer log with these rows over one that was answered with one sentence in a second on the first day."""
    usual: dict[str, Any] = {
        "id": "a",
        "doc_id": "",
        "fingerprint": "",
        "asked_at": START,
        "release": 1,
        "method": "extractive/1",
        "prompt": None,
        "model": None,
        "refused": False,
        "fallback": False,
        "cached": False,
        "sentences": 1,
        "answer_characters": 40,
        "best_support": 0.8,
        "dropped": [],
        "passages_read": 10,
        "cited_documents": 1,
        "conversation": None,
        "turn": 0,
        "prompt_tokens": None,
        "completion_tokens": None,
        "cost": None,
        "answer_seconds": 1.0,
    }
    return pl.DataFrame([usual | row for row in rows], schema=EMPTY_LOG.schema)


def votes(*rows: tuple[str, datetime]) -> pl.DataFrame:
    usual = dict.fromkeys(EMPTY_FEEDBACK.columns)
    return pl.DataFrame([usual | {"kind": kind, "given_at": at} for kind, at in rows], schema=EMPTY_FEEDBACK.schema)


# --- figures --------------------------------------------------------------------------------------------------


def test_shares_lengths_times_and_costs_are_those_of_the_rows() -> None:
    found = figures(
        log(
            {
                "answer_characters": 100,
                "dropped": ["number"],
                "sentences": 3,
                "conversation": "x",
                "answer_seconds": 2.0,
            },
            {"answer_characters": 300, "dropped": ["number", "unsafe"], "sentences": 2, "conversation": "x"},
            {"refused": True, "sentences": 0, "answer_characters": 0, "conversation": "y", "answer_seconds": 4.0},
            {"fallback": True, "answer_characters": 200, "sentences": 2, "cost": 0.5, "answer_seconds": 3.0},
            {"cached": True, "prompt_tokens": 7, "answer_characters": 200, "sentences": 0, "answer_seconds": 99.0},
        )
    )
    assert found["answers"] == 5
    assert found["refused_share"] == pytest.approx(1 / 5)
    assert found["dropped_share"] == pytest.approx(3 / 10)
    assert (found["fallback_share"], found["cached_share"]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert found["answer_characters"] == pytest.approx(200)
    assert found["turns_per_conversation"] == pytest.approx(1.5)
    # Of 1, 2, 3 and 4 seconds; what came from the cache does not count.
    assert (found["seconds_p50"], found["seconds_p95"]) == (pytest.approx(2.5), pytest.approx(3.85))
    assert (found["prompt_tokens"], found["completion_tokens"], found["cost"]) == (7, 0, 0.5)


def test_nothing_has_no_shares() -> None:
    found = figures(EMPTY_LOG)
    assert found["answers"] == 0
    assert all(
        found[name] is None
        for name in ("refused_share", "dropped_share", "answer_characters", "turns_per_conversation", "seconds_p95")
    )
    assert drop_reasons(EMPTY_LOG) == {}
    assert figures(log({"sentences": 0}))["dropped_share"] is None


def test_every_day_of_the_period_has_a_row() -> None:
    frame = log(
        {"asked_at": START + timedelta(hours=23, minutes=59)},
        {"asked_at": END - timedelta(microseconds=1), "refused": True},
        {"asked_at": END - timedelta(hours=2)},
    )
    daily = figures_by_day(frame, START, END)
    assert [f"{day:%d}" for day in daily["day"]] == ["02", "03", "04"]
    assert daily["answers"].to_list() == [1, 0, 2]
    assert daily["refused_share"].to_list() == [0.0, None, 0.5]
    assert figures_by_day(EMPTY_LOG, START, END)["answers"].to_list() == [0, 0, 0]


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    frame = log(*({"asked_at": at} for at in (START - timedelta(microseconds=1), START, END)))
    assert between(frame, "asked_at", START, END)["asked_at"].to_list() == [START]


def test_feedback_is_counted_by_day_and_kind() -> None:
    later = START + timedelta(days=2)
    frame = votes(("thumbs_up", START), ("thumbs_down", START), ("thumbs_down", START), ("correction", later))
    daily = feedback_by_day(frame, START, END)
    assert daily["thumbs_down"].to_list() == [2, 0, 0] and daily["correction"].to_list() == [0, 0, 1]
    assert daily["down_share"].to_list() == [pytest.approx(2 / 3), None, None]
    assert feedback_counts(frame) == {"thumbs_up": 1, "thumbs_down": 2, "correction": 1, "wrong_citation": 0}
    assert feedback_by_day(EMPTY_FEEDBACK, START, END)["thumbs_up"].to_list() == [0, 0, 0]


def test_reasons_are_counted_most_frequent_first() -> None:
    frame = log({"dropped": ["unsafe"]}, {"dropped": ["number", "name"]}, {"dropped": ["number"]}, {})
    assert list(drop_reasons(frame).items()) == [("number", 2), ("name", 1), ("unsafe", 1)]


def test_a_trend_shows_where_there_is_nothing() -> None:
    assert sparkline([0, None, 1, 0.5]) == "▁·█▅"
    assert sparkline([]) == "" and sparkline([None]) == "·" and sparkline([0, 0]) == "▁▁"
    daily = pl.DataFrame({"day": [1, 2, 3], "seconds_p50": [2.0, 0.25, None], "cost": [None, None, None]})
    first, second = trends(daily, ["seconds_p50", "cost"]).to_dicts()
    assert first == {"figure": "seconds_p50", "trend": "[█▂·]", "least": "0.25", "most": "2", "latest": "0.25"}
    assert (second["trend"], second["latest"]) == ("[···]", "")


# --- questions ------------------------------------------------------------------------------------------------


def unit(*rows: tuple[float, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.asarray(rows, dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_stability_index_is_what_it_is_by_hand() -> None:
    assert psi([50, 50], [50, 50]) == 0
    assert psi([50, 50], [75, 25]) == pytest.approx(0.25 * math.log(1.5) - 0.25 * math.log(0.5))
    assert psi([500, 500], [7, 7]) == pytest.approx(0)
    assert math.isfinite(psi([10, 0], [0, 10])) and psi([10, 0], [0, 10]) > 1


def test_chance_alone_gives_few_questions_a_larger_index() -> None:
    # The 99 % quantile of chi-square with nine degrees of freedom is 21.666.
    assert psi_by_chance(10, 100, 100) == pytest.approx(21.666 * 0.02, rel=0.002)
    assert psi_by_chance(10, 50, 100) > psi_by_chance(10, 500, 1000)


def test_samples_of_one_population_seldom_drift_and_those_of_two_do() -> None:
    rng = np.random.default_rng(5)
    centres = unit(*np.eye(6).tolist())

    def sample(count: int, weights: list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
        chosen = rng.choice(6, count, p=weights)
        return unit(*(centres[chosen] + rng.normal(0, 0.1, (count, 6))).tolist())

    def compared(now: np.ndarray[Any, np.dtype[np.float32]], before: np.ndarray[Any, np.dtype[np.float32]]) -> bool:
        return drift(before, now, [""] * len(before), [""] * len(now), max_drift=0.25, min_questions=50).drifted

    even, odd = [1 / 6] * 6, [0.02, 0.02, 0.02, 0.02, 0.46, 0.46]
    same = [compared(sample(60, even), sample(200, even)) for _ in range(20)]
    moved = [compared(sample(60, odd), sample(200, even)) for _ in range(20)]
    assert sum(same) <= 1 and all(moved)


def test_drift_names_the_topics_that_grew() -> None:
    boats, keys = unit((1, 0.02, 0)), unit((0, 1, 0.02))
    before = np.repeat(boats, 90, axis=0).tolist() + np.repeat(keys, 10, axis=0).tolist()
    now = np.repeat(boats, 10, axis=0).tolist() + np.repeat(keys, 90, axis=0).tolist()
    asked_before = ["Who lends boats?"] * 90 + ["Where are spare keys?"] * 10
    asked_now = ["Who lends boats?"] * 10 + ["Where are spare keys?"] * 90
    arrays = (np.asarray(before, dtype=np.float32), np.asarray(now, dtype=np.float32))
    found = drift(*arrays, asked_before, asked_now, max_drift=0.25, min_questions=50)
    assert found.drifted and found.psi == pytest.approx(psi([90, 10], [10, 90]))
    shares = {("keys" in topic.terms): (topic.before, topic.now) for topic in found.topics}
    assert shares == {True: (0.1, 0.9), False: (0.9, 0.1)}
    assert found.distance is not None and 0.3 < found.distance < 1


def test_few_questions_say_nothing_of_drift() -> None:
    some, many = unit(*[(1.0, 0.0)] * 49), unit(*[(0.0, 1.0)] * 200)
    found = drift(many, some, [""] * 200, [""] * 49, max_drift=0.25, min_questions=50)
    assert (found.psi, found.drifted, found.questions, found.reference) == (None, False, 49, 200)


def test_questions_about_the_same_are_grouped() -> None:
    rows = unit((1, 0), (0, 1), (0.99, 0.1), (0.05, 1), (0.98, -0.1), (-1, 0))
    assert group(rows, 0.9) == [[0, 2, 4], [1, 3], [5]]
    assert medoid(rows, [2, 0, 4]) == 0
    assert group(rows[:1], 0.9) == [[0]] and group(rows[:0], 0.9) == []


def test_terms_tell_a_group_from_the_others_and_hold_no_placeholder() -> None:
    inside = ["Where is the boat of <PERSON>?", "Who lends the boat?", "Is the Boat green?"]
    others = ["Where is the key?", "Who lends the key?", "Is there leave?"]
    found = terms(inside, others)
    assert found[0] == "boat" and "person" not in found
    assert terms([], others) == ()


# --- in a corpus ----------------------------------------------------------------------------------------------

FILES = {
    "boats.md": "# Boats\n\nThe duty desk lends the green rowing boat for two hours to whoever asks before noon.\n",
    "keys.md": "# Keys\n\nSpare keys of the boathouse hang in the cupboard behind the duty desk of the east quay.\n",
    "leave.md": "# Leave\n\nEveryone has twenty-eight days of paid leave each year, and asks for it two weeks before.\n",
}
OPERA = (
    "What does a season ticket to the opera cost?",
    "How much is a season ticket for the opera?",
    "What is the price of an opera season ticket?",
)
CHESS = "Who won the chess tournament in spring?"
BOAT = "For how long is the green rowing boat lent?"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("monitors") / "project"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        with open_corpus(write_corpus(root, SMALL, FILES)) as corpus:
            Pipeline(corpus, workers=1).run()
        yield root


@pytest.fixture
def corpus(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    root = tmp_path / "copy"
    shutil.copytree(built, root, copy_function=shutil.copy2)
    use_project(root, monkeypatch)
    with open_corpus(root / "assets" / SMALL) as opened:
        yield opened


def refused(corpus: Corpus, number: int, question: str, days_ago: float = 0.0, **more: Any) -> str:
    """Store a refusal of so many days ago."""
    answer = Answer(f"a-{number:04}", question, (), True, "Nothing was found.", 1, "extractive/1", searched=question)
    answer = replace(answer, **more)
    corpus.ledger.record_answer(
        SMALL, answer, passages=[], principal=Principal(), parameters={}, seconds=0.1, scrub=str
    )
    with corpus.ledger._engine.begin() as connection:
        then = datetime.now(UTC) - timedelta(days=days_ago)
        connection.execute(answers_table.update().where(answers_table.c.id == answer.id).values(asked_at=then))
    return answer.id


def test_what_is_missing_is_told_by_groups_of_questions(corpus: Corpus) -> None:
    for number, question in enumerate((*OPERA, CHESS)):
        refused(corpus, number, question, days_ago=number / 2)
    refused(corpus, 90, "What did the opera cost long ago?", days_ago=9)
    refused(corpus, 91, "[withheld: it holds US_SSN]")
    good = corpus.answer(BOAT)
    assert not good.refused and max(s.support for s in good.sentences) >= corpus.policy.monitor.weak_support
    opera, chess = find_gaps(corpus)
    assert opera.question in OPERA and (opera.asked, opera.refused, opera.best_support) == (3, 3, None)
    assert "opera" in opera.terms and "chess" in chess.terms
    assert chess.question == CHESS and chess.answer_id == "a-0003"
    assert opera.last_asked == max(r.asked_at for r in corpus.ledger.answers(SMALL) if r.question in OPERA)
    assert opera.nearest in FILES and opera.similarity is not None and opera.similarity < 0.5
    assert [gap.asked for gap in find_gaps(corpus, limit=1)] == [3]
    assert sum(gap.asked for gap in find_gaps(corpus, days=30)) == 5


def test_a_weak_answer_counts_as_missing_and_a_document_ends_that(corpus: Corpus) -> None:
    record = corpus.answer("How many days of leave are there?")
    support = max((sentence.support for sentence in record.sentences), default=0.0)
    strict = corpus.policy.monitor.model_copy(update={"weak_support": min(1.0, support + 0.01)})
    corpus.policy = corpus.policy.model_copy(update={"monitor": strict})
    (gap,) = find_gaps(corpus)
    assert gap.best_support == pytest.approx(support) and gap.nearest == "leave.md"
    loose = strict.model_copy(update={"weak_support": 0.0})
    corpus.policy = corpus.policy.model_copy(update={"monitor": loose})
    assert find_gaps(corpus) == []


def test_a_corpus_that_nobody_asked_has_no_gaps_and_no_drift(corpus: Corpus) -> None:
    assert find_gaps(corpus) == []
    found = question_drift(corpus)
    assert (found.questions, found.reference, found.psi, found.drifted) == (0, 0, None, False)


def test_gaps_of_a_corpus_without_a_live_release_name_no_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = use_project(tmp_path / "project", monkeypatch)
    with open_corpus(write_corpus(project.root, SMALL, {})) as corpus:
        refused(corpus, 1, CHESS)
        (gap,) = find_gaps(corpus)
        assert isinstance(gap, Gap) and gap.nearest is None and gap.similarity is None


def test_questions_about_something_else_are_drift(corpus: Corpus) -> None:
    subjects = ("boat", "keys", "leave", "desk", "quay")
    for number in range(60):
        refused(corpus, number, f"May I ask about {subjects[number % 5]} number {number}?", days_ago=8 + number / 5)
        refused(corpus, 100 + number, f"What does opera ticket {number} cost at the theatre?", days_ago=number / 10)
    found = question_drift(corpus)
    assert (found.questions, found.reference) == (60, 60)
    assert found.drifted and found.distance is not None and found.distance > 0.1
    assert any({"opera", "theatre", "ticket"} & set(topic.terms) for topic in found.topics)


# --- in Dagster -----------------------------------------------------------------------------------------------


def run(root: Path, job: str = f"log_answers_{SMALL}") -> dg.ExecuteInProcessResult:
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("HEADWATER_PROJECT", str(root))
        return definitions.defs().resolve_job_def(job).execute_in_process(instance=instance)


def shown(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    events = [event.event_specific_data.materialization for event in result.get_asset_materialization_events()]
    return {event.asset_key.path[-1]: {name: v.value for name, v in event.metadata.items()} for event in events}


def test_a_job_shows_an_empty_log_as_nothing_yet(corpus: Corpus) -> None:
    result = run(corpus.project.root)
    assets = shown(result)
    assert set(assets) == {
        "answer_log",
        "feedback",
        "answer_quality",
        "answer_costs",
        "unanswered_questions",
        "question_drift",
    }
    assert assets["answer_log"]["dagster/row_count"] == 0
    for asset, entry in (
        ("answer_log", "days"),
        ("feedback", "days"),
        ("answer_quality", "days"),
        ("answer_costs", "days"),
        ("unanswered_questions", "missing"),
        ("question_drift", "topics"),
    ):
        assert str(assets[asset][entry]).startswith("Nothing yet."), (asset, entry)
    (check,) = result.get_asset_check_evaluations()
    assert check.passed and check.severity is dg.AssetCheckSeverity.WARN


def test_a_job_brings_answers_and_feedback_back_without_a_question(corpus: Corpus) -> None:
    for number, question in enumerate((*OPERA, CHESS)):
        refused(corpus, number, question)
    good = corpus.answer(BOAT)
    corpus.answer(BOAT)
    corpus.ledger.record_feedback(good.id, "thumbs_down", by="key:1")
    corpus.ledger.record_feedback(good.id, "correction", by="key:1", text="It is three hours, says Quillon.")
    refused(corpus, 50, "Too old to be kept", days_ago=91)
    assets = shown(run(corpus.project.root))
    assert (assets["answer_log"]["dagster/row_count"], assets["answer_log"]["expired"]) == (6, 1)
    assert assets["answer_log"]["refused_share"] == pytest.approx(4 / 6)
    assert assets["answer_log"]["cached_share"] == pytest.approx(1 / 6)
    assert (assets["feedback"]["thumbs_down"], assets["feedback"]["open"]) == (1, 2)
    assert assets["answer_quality"]["down_share"] == 1.0
    assert "down_share" in assets["answer_quality"]["days"] and "seconds_p95" in assets["answer_costs"]["days"]
    assert assets["answer_costs"]["seconds_p95"] > 0
    assert (assets["unanswered_questions"]["groups"], assets["unanswered_questions"]["questions"]) == (2, 4)
    table = assets["unanswered_questions"]["missing"]
    assert "opera" in table and "a-0003" in table
    everything = str(assets)
    for text in (*OPERA, CHESS, BOAT, "season ticket", "Quillon"):
        assert text not in everything
    again = shown(run(corpus.project.root))
    assert (again["answer_log"]["written"], again["feedback"]["written"]) == (0, 0)


def test_the_schedule_runs_every_day_unless_the_policy_says_otherwise(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(built / "assets", root / "assets")
    (root / "workspace.yaml").touch()

    def schedule() -> dg.ScheduleDefinition:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HEADWATER_PROJECT", str(root))
            return definitions.defs().resolve_schedule_def(f"log_answers_{SMALL}")

    assert (schedule().cron_schedule, schedule().job_name) == ("0 4 * * *", f"log_answers_{SMALL}")
    assert schedule().default_status is dg.DefaultScheduleStatus.RUNNING
    file = root / "assets" / SMALL / "defs.yaml"
    document = yaml.safe_load(file.read_text())
    document["attributes"]["monitor"] = {"enabled": False}
    file.write_text(yaml.safe_dump(document))
    assert schedule().default_status is dg.DefaultScheduleStatus.STOPPED


def test_a_reindex_leaves_the_log_alone(built: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWATER_PROJECT", str(built))
        defs = definitions.defs()
    reindexed = {key.path[-1] for key in defs.resolve_job_def(f"reindex_{SMALL}").asset_layer.executable_asset_keys}
    logged = {key.path[-1] for key in defs.resolve_job_def(f"log_answers_{SMALL}").asset_layer.executable_asset_keys}
    assert "live_release" in reindexed and "answer_log" in logged
    assert reindexed.isdisjoint(logged)
