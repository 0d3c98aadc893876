"""Two ways of answering, compared: the same questions, honest statistics, and no trace in what is kept of answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import yaml
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.answer_evaluation import (
    METRICS,
    Outcome,
    Side,
    compare,
    evaluate_answers,
    measure,
    outcome_of,
    parse_side,
)
from headwater.answer_evaluation.sides import changed_policy
from headwater.answer_evaluation.statistics import bootstrap_interval, mcnemar_exact
from headwater.cli import app
from headwater.corpus import Corpus, open_corpus
from headwater.errors import ConfigError, HeadwaterError
from headwater.ledger.schema import answers
from headwater.pipeline import Pipeline
from headwater.policies import CorpusPolicy, SourcePolicy
from headwater.stages.evaluation import GoldenQuestion
from headwater.types import Answer, Citation, Sentence, Usage
from tests.live_corpus import LEAVE, NOTICE, make_project
from tests.llm_server import MODEL, Reply, ScriptedServer, sentences, serving

GOLDEN = [
    GoldenQuestion("notice", "How long is the notice period for crew members?", (("leave.md", NOTICE),)),
    GoldenQuestion("keys", "Where do I hand in the boat pass?", (("leave.md", "Hand your keys and the boat pass"),)),
    GoldenQuestion("trains", "When is first class allowed on trains?", (("travel.md", "first class is allowed"),)),
    GoldenQuestion("night", "What is paid for a night away from home?", (("travel.md", "thirty-two crowns"),)),
    GoldenQuestion("pay", "Where does the pay band of field engineers start?", (("hr/pay.md", "forty-one thousand"),)),
    GoldenQuestion("gauge", "How often is the river gauge at the mill read out?", (("gauge.txt", "fifteen minutes"),)),
    GoldenQuestion("cup", "Who won the football cup in 1954?", ()),
    GoldenQuestion("mercury", "What is the boiling point of mercury?", ()),
]


# --- statistics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (0, 5, 0.0625),
        (6, 0, 0.03125),
        (1, 9, 22 / 1024),
        (3, 4, 1.0),
        (10, 10, 1.0),
    ],
)
def test_mcnemars_exact_test_gives_the_known_values(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, rel=0.05)
    assert mcnemar_exact(only_a, only_b) == mcnemar_exact(only_b, only_a)


@settings(deadline=None)  # the first example imports scipy
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemars_exact_test_is_the_binomial_test(only_a: int, only_b: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_an_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.normal(0.3, 1.0, size=80).tolist(), resamples=1000)
        held += low <= 0.3 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_an_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(3).normal(size=400)
    low, high = bootstrap_interval(values.tolist())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(400), rel=0.05)


def test_the_same_values_give_the_same_interval_around_their_mean() -> None:
    values = [0.0] * 20 + [1.0] * 5 + [-1.0] * 2
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert low < float(np.mean(values)) < high
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])


# --- what an answer is worth --------------------------------------------------------------------------------------


def citation(key: str, quote: str) -> Citation:
    return Citation("d", 0, len(quote), quote, key, key, (), None, "r", "c")


def answer(*cited: tuple[str, str], dropped: int = 0, **fields: object) -> Answer:
    """An answer with one sentence per citation; a refusal without any."""
    found = tuple(Sentence(quote, (citation(key, quote),), 0.9) for key, quote in cited)
    plain = Answer("a", "q", found, not found, None, 1, "m", dropped=("number",) * dropped)
    return replace(plain, **fields)


ASKED = GoldenQuestion("q", "?", (("a.md", "The gate opens at seven on working days."), ("b.md", "It closes at nine.")))


def figures(given: Answer, question: GoldenQuestion = ASKED) -> dict[str, float | None]:
    return dict(outcome_of(question, given, 0.25).figures)


def test_citations_are_held_against_the_golden_documents_and_quotes() -> None:
    found = figures(
        answer(("a.md", "The gate opens\nat seven on working days."), ("a.md", "The mill is old."), ("c.md", "x"))
    )
    assert found["right"] == 1
    assert (found["document_precision"], found["document_recall"]) == (pytest.approx(2 / 3), 0.5)
    assert (found["quote_precision"], found["quote_recall"]) == (pytest.approx(1 / 3), 0.5)
    assert (found["answered"], found["refused"], found["sentences"], found["seconds"]) == (1, None, 3, 0.25)


@pytest.mark.parametrize(
    ("cited", "met"),
    [
        ("Note: The gate opens at seven on working days. Bring a key.", True),  # more than the quote
        ("opens at seven", True),  # a part of it
        ("The gate opens at seven on Sundays.", True),  # its greater half
        ("The gate is green.", False),
        ("", False),
    ],
)
def test_a_citation_meets_a_quote_when_they_share_the_greater_half(cited: str, met: bool) -> None:
    assert outcome_of(ASKED, answer(("a.md", cited)), 0.1).right is met


def test_the_right_words_of_the_wrong_document_are_wrong() -> None:
    found = figures(answer(("z.md", "The gate opens at seven on working days.")))
    assert (found["right"], found["document_recall"], found["quote_recall"]) == (0, 0, 0)


def test_refusing_is_right_only_where_there_is_no_answer() -> None:
    nothing = GoldenQuestion("n", "?", ())
    assert figures(answer())["right"] == 0
    assert figures(answer())["quote_recall"] == 0
    assert figures(answer())["document_precision"] is None
    refused, guessed = figures(answer(), nothing), figures(answer(("a.md", "x")), nothing)
    assert (refused["right"], refused["refused"], refused["characters"], refused["answered"]) == (1, 1, None, None)
    assert (guessed["right"], guessed["refused"], guessed["quote_recall"]) == (0, 0, None)


def test_dropped_sentences_tokens_and_cost_are_counted() -> None:
    found = figures(answer(("a.md", "x"), dropped=3, usage=Usage(100, 20, 0.5)))
    assert (found["dropped"], found["tokens"], found["cost"]) == (0.75, 120, 0.5)
    assert figures(answer())["dropped"] is None
    assert outcome_of(ASKED, answer(("a.md", "x"), fallback="away"), 0.1).fallback


# --- what differs -------------------------------------------------------------------------------------------------


def outcomes(rights: Sequence[bool], seconds: float = 1.0) -> list[Outcome]:
    return [
        Outcome(f"q{n}", True, right, {**dict.fromkeys(METRICS), "right": float(right), "seconds": seconds})
        for n, right in enumerate(rights)
    ]


def test_sides_that_answer_alike_show_no_difference() -> None:
    same = outcomes([True] * 18 + [False] * 4)
    found = compare(same, same[::-1])
    assert (found.both_right, found.only_a, found.only_b, found.neither, found.p) == (18, 0, 0, 4, 1.0)
    assert found.verdict.startswith("No difference shown: a is right on 18 and b on 18 of 22")
    assert found.changed == ()
    assert not any(one.shown for one in found.differences)


def test_a_difference_that_chance_would_make_is_not_called_one() -> None:
    found = compare(outcomes([True] * 10 + [False] * 5), outcomes([True] * 15))
    assert (found.only_b, found.p) == (5, 0.0625)
    assert found.verdict.startswith("No difference shown")


@pytest.mark.parametrize("better", ["a", "b"])
def test_the_better_side_is_named(better: str) -> None:
    good, bad = outcomes([True] * 20), outcomes([True] * 12 + [False] * 8)
    found = compare(good, bad) if better == "a" else compare(bad, good)
    assert found.verdict.startswith(f"{better} is better") and found.p == pytest.approx(2 / 256)
    right = next(one for one in found.differences if one.metric == "right")
    assert right.difference == pytest.approx(0.4 if better == "b" else -0.4)
    assert right.shown and right.low is not None and right.high is not None
    assert right.low <= right.difference <= right.high
    assert found.changed == tuple(f"q{n}" for n in range(12, 20))


def test_a_slower_side_is_shown_as_slower_question_by_question() -> None:
    found = compare(outcomes([True] * 9, seconds=1.0), outcomes([True] * 9, seconds=1.5))
    seconds = next(one for one in found.differences if one.metric == "seconds")
    assert (seconds.difference, seconds.low, seconds.high, seconds.shown) == (0.5, 0.5, 0.5, True)
    assert found.verdict.startswith("No difference shown"), "the verdict goes by right and wrong alone"


def test_a_handful_of_questions_shows_nothing() -> None:
    found = compare(outcomes([False] * 5), outcomes([True] * 5))
    assert found.verdict.endswith("With fewer than 6 questions none can be.")
    assert all(one.low is None and not one.shown for one in found.differences)


def test_a_figure_counts_where_both_sides_have_it() -> None:
    a, b = outcomes([True] * 8), outcomes([True] * 8)
    a[0] = replace(a[0], figures={**a[0].figures, "tokens": 10.0})
    b[0] = replace(b[0], figures={**b[0].figures, "tokens": 40.0})
    a[1] = replace(a[1], figures={**a[1].figures, "tokens": 99.0})
    tokens = next(one for one in compare(a, b).differences if one.metric == "tokens")
    assert (tokens.pairs, tokens.a, tokens.b, tokens.difference) == (1, 10, 40, 30)
    assert "cost" not in {one.metric for one in compare(a, b).differences}


def test_sides_that_were_asked_different_questions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same questions"):
        compare(outcomes([True] * 3), outcomes([True] * 4))
    with pytest.raises(ValueError, match="same questions"):
        compare(outcomes([True] * 2), outcomes([True] * 2) + outcomes([True]))


# --- sides --------------------------------------------------------------------------------------------------------


def test_a_side_is_read_from_words() -> None:
    side = parse_side("prompt=answer@3, release=7,model=small,min_support=0.6,retrieval.x=off")
    assert side == Side(
        prompt="answer@3",
        release=7,
        settings={"answer.llm.model": "small", "answer.min_support": 0.6, "retrieval.x": False},
    )
    assert parse_side("model=none").settings == {"answer.llm": None}
    assert parse_side("") == Side()


@pytest.mark.parametrize(
    "text",
    [
        "prompt=answer",
        "prompt=@3",
        "prompt=answer@1,prompt=answer@2",
        "prompt=rewrite@1",
        "release=live",
        "release=1,release=2",
        "min_support",
        "=3",
        "passages=3,passages=4",
    ],
)
def test_what_describes_no_side_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_side(text)


def test_settings_are_checked_as_a_configuration_is() -> None:
    policy = CorpusPolicy(source=SourcePolicy(uri="file:///nowhere"))
    changed = changed_policy(policy, {"answer.min_support": 0.7, "answer.passages": 3})
    assert (changed.answer.min_support, changed.answer.passages) == (0.7, 3)
    assert policy.answer.passages == 10
    unmerged = changed_policy(policy, parse_side("retrieval.merge=no,retrieval.diversity=0.25").settings)
    assert (unmerged.retrieval.merge, unmerged.retrieval.diversity, unmerged.answer) == (False, 0.25, policy.answer)
    with pytest.raises(ConfigError, match=r"retrieval\.diversity"):
        changed_policy(policy, {"retrieval.diversity": 7})
    with pytest.raises(ConfigError, match=r"answer\.passages: .*greater than or equal to 1"):
        changed_policy(policy, {"answer.passages": 0})
    with pytest.raises(ConfigError, match=r"answer\.mood"):
        changed_policy(policy, {"answer.mood": "kind"})
    with pytest.raises(ConfigError, match=r"answer\.llm\.url"):
        changed_policy(policy, {"answer.llm.model": "small"})


# --- asking -------------------------------------------------------------------------------------------------------


def write_golden(path: Path, questions: Sequence[GoldenQuestion] = GOLDEN) -> Path:
    rows = [
        {"id": q.id, "question": q.question, "answers": [{"key": key, "quote": quote} for key, quote in q.answers]}
        for q in questions
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """A corpus with a golden set; in release 2 nothing is said of the notice period and the boat pass any more."""
    root = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
            patch.delenv(name, raising=False)
        file = make_project(root)
        with open_corpus(file) as opened:
            Pipeline(opened, workers=1).run()
            other = (
                LEAVE.partition("## Notice")[0]
                + "Ask the crew lead for a form, and bring it to the office in person.\n"
            )
            (root / "documents" / "leave.md").write_text(other, encoding="utf-8")
            Pipeline(opened, workers=1).run()
            assert opened.live() == 2
            golden = str(write_golden(root / "golden.jsonl"))
            opened.policy = opened.policy.model_copy(
                update={"gate": opened.policy.gate.model_copy(update={"golden": golden})}
            )
            yield opened


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with serving() as scripted:
        yield scripted


def llm(server: ScriptedServer) -> dict[str, object]:
    return {"answer.llm.url": server.url, "answer.llm.model": MODEL, "answer.llm.attempts": 1}


_AWAY = {"answer.llm.url": "http://127.0.0.1:9/v1", "answer.llm.model": "nobody"}


def kept(corpus: Corpus) -> int:
    with corpus.ledger._engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(answers)).scalar_one())


def test_quoted_answers_of_one_side_are_measured(corpus: Corpus) -> None:
    result = measure(corpus, Side(release=1))
    assert (result.release, result.prompts, result.models, result.fallbacks) == (1, (), (), 0)
    assert {outcome.question for outcome in result.outcomes} == {question.id for question in GOLDEN}
    right = {outcome.question for outcome in result.outcomes if outcome.right}
    assert {"cup", "mercury"} <= right and len(right) >= 6
    assert result.figures["refused"] == 1
    assert result.figures["tokens"] is None
    assert result.figures["seconds"] and math.isfinite(result.figures["seconds"])


def test_two_releases_are_compared_question_by_question(corpus: Corpus) -> None:
    a, b, comparison = evaluate_answers(corpus, Side(release=1), Side(release=2))
    assert (a.release, b.release, comparison.questions) == (1, 2, len(GOLDEN))
    assert "notice" in comparison.changed
    assert comparison.only_a >= 1 and comparison.only_b == 0
    assert comparison.verdict.startswith("No difference shown")


def test_a_policy_that_refuses_everything_is_worse_where_there_are_answers(corpus: Corpus) -> None:
    _, b, comparison = evaluate_answers(corpus, Side(release=1), Side(release=1, settings={"answer.min_support": 1.0}))
    assert b.figures["answered"] == 0 and b.figures["refused"] == 1
    assert comparison.only_b == 0 and set(comparison.changed).isdisjoint({"cup", "mercury"})


def test_asking_leaves_no_trace_and_no_answer_is_remembered(corpus: Corpus, server: ScriptedServer) -> None:
    server.say(Reply(sentences(refused=True)))
    before = kept(corpus)
    measure(corpus, Side(release=1))
    result = measure(corpus, Side(release=1, settings=llm(server)))
    assert kept(corpus) == before
    assert len(server.requests) == len(GOLDEN) + 1, "each question once, and the first one before the clock runs"
    assert result.models == (MODEL,) and result.figures["tokens"] == 18


def test_two_prompts_are_asked_in_turns_each_with_its_own_text(corpus: Corpus, server: ScriptedServer) -> None:
    second = corpus.prompts.add("answer", "Be short: {{max_sentences}} sentences.", source="test").version
    server.say(Reply(sentences(refused=True)))
    sides = [Side(prompt=f"answer@{n}", settings=llm(server)) for n in (1, second)]
    a, b, comparison = evaluate_answers(corpus, *sides)
    assert (a.prompts, b.prompts) == (("answer@1",), (f"answer@{second}",))
    short = [request["messages"][0]["content"].startswith("Be short: 6") for request in server.requests]
    assert short[:2] == [False, True], "once each, unmeasured"
    assert short[2:6] == [False, True, True, False]
    assert short[2:].count(True) == comparison.questions
    assert corpus.prompts.choose("answer", key="x").version == 1


def test_during_an_ab_test_a_side_is_one_version_all_the_same(corpus: Corpus, server: ScriptedServer) -> None:
    second = corpus.prompts.add("answer", "Other: {{max_sentences}}", source="test").version
    corpus.prompts.label("answer", second, "candidate", "try")
    corpus.prompts.weights("answer", {"live": 0.5, "candidate": 0.5})
    server.say(Reply(sentences(refused=True)))
    try:
        assert measure(corpus, Side(settings=llm(server))).prompts == ("answer@1",)
        by_label = measure(corpus, Side(prompt="answer@candidate", settings=llm(server)))
        assert by_label.prompts == (f"answer@{second}",)
    finally:
        corpus.prompts.weights("answer", {"live": 1})


def test_a_model_that_fails_is_reported_and_not_taken_for_one_that_quotes(
    corpus: Corpus, server: ScriptedServer
) -> None:
    server.say(Reply(status=400))
    result = measure(corpus, Side(release=1, settings={**llm(server), "answer.llm.breaker_failures": 1000}))
    assert result.fallbacks == len(result.outcomes)


def test_sides_that_are_the_same_in_other_words_are_refused(corpus: Corpus) -> None:
    passages = corpus.policy.answer.passages
    with pytest.raises(ConfigError, match="the same"):
        evaluate_answers(corpus, Side(release=2), Side(settings={"answer.passages": passages}))


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (Side(prompt="answer@99", settings=_AWAY), r"answer@99"),
        (Side(prompt="answer@nobody", settings=_AWAY), "no label 'nobody'"),
        (Side(prompt="answer.legal@1", settings=_AWAY), r"answer\.legal@1"),
        (Side(prompt="answer@1"), "answers without a model"),
        (Side(release=17), "17"),
    ],
)
def test_a_side_that_does_not_exist_is_named(corpus: Corpus, side: Side, message: str) -> None:
    with pytest.raises(HeadwaterError, match=message):
        measure(corpus, side)


def test_a_variant_of_the_prompt_can_be_a_side(corpus: Corpus, server: ScriptedServer) -> None:
    corpus.prompts.add("answer.legal", "Cite the statute, {{max_sentences}} times.", source="test")
    server.say(Reply(sentences(refused=True)))
    result = measure(corpus, Side(prompt="answer.legal@1", settings=llm(server)))
    assert result.prompts == ("answer.legal@1",)
    assert server.requests[-1]["messages"][0]["content"] == "Cite the statute, 6 times."


def test_questions_whose_documents_are_gone_are_asked_of_neither_side(corpus: Corpus, tmp_path: Path) -> None:
    gone = GoldenQuestion("gone", "What is in the attic?", (("attic.md", "nothing"),))
    golden = str(write_golden(tmp_path / "golden.jsonl", [*GOLDEN[:2], gone]))
    policy = corpus.policy
    corpus.policy = policy.model_copy(update={"gate": policy.gate.model_copy(update={"golden": golden})})
    try:
        result = measure(corpus, Side())
    finally:
        corpus.policy = policy
    assert [outcome.question for outcome in result.outcomes] == ["notice", "keys"]


# --- the command --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments])


@pytest.fixture
def name(corpus: Corpus) -> str:
    """The corpus as the command line finds it, its golden set configured."""
    file = corpus.project.root / "assets" / "works" / "defs.yaml"
    document = yaml.safe_load(file.read_text())
    document["attributes"]["gate"] = {"golden": "../../golden.jsonl"}
    file.write_text(yaml.safe_dump(document))
    return str(file)


def test_the_command_compares_two_sides_for_people_and_for_programs(name: str) -> None:
    arguments = (name, "--answers", "--a", "release=1", "--b", "release=2")
    shown = run(*arguments)
    assert shown.exit_code == 0, f"{shown.output}\n{shown.exception!r}"
    assert "No difference shown: a is right on" in shown.stdout and "quote_recall" in shown.stdout
    told = json.loads(run(*arguments, "--json").stdout)
    assert told["comparison"]["questions"] == len(GOLDEN)
    assert "notice" in told["comparison"]["changed"]
    assert (told["sides"]["a"]["release"], told["sides"]["b"]["release"]) == (1, 2)
    assert all(question.question not in json.dumps(told) for question in GOLDEN), "ids, no texts"


def test_the_command_measures_one_side(name: str) -> None:
    told = json.loads(run(name, "--answers", "--json").stdout)
    assert told["side"]["release"] == 2 and told["side"]["figures"]["refused"] == 1
    assert "right" in run(name, "--answers").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--a", "release=1"), 2), (("--answers", "--a", "release"), 1), (("--answers", "--b", "mood=kind"), 1)],
)
def test_what_can_not_be_compared_is_one_message(name: str, arguments: tuple[str, ...], code: int) -> None:
    result = run(name, *arguments)
    assert result.exit_code == code and "Traceback" not in result.output
