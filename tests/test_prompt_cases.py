"""Prompt tests: the packaged ones hold, a wrong answer fails them, and a wrong file is named with its place.

With HEADWATER_PROMPT_TEST_URL and HEADWATER_PROMPT_TEST_MODEL set, the packaged cases run on that model as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headwater.answering.generation import open_client
from headwater.cli import app
from headwater.embedding import Embedder
from headwater.errors import ConfigError
from headwater.policies import LlmPolicy
from headwater.project import Project
from headwater.prompts import Prompt
from headwater.prompts.files import read_prompt_files
from headwater.prompts.testing import AnswerCase, CaseResult, RewriteCase, packaged_cases, read_cases, run_case, ways_of
from headwater.prompts.testing.cases import Case, Way
from tests.llm_server import MODEL, Reply, ScriptedServer, sentences, serving

URL, NAME = (os.environ.get(f"HEADWATER_PROMPT_TEST_{name}") for name in ("URL", "MODEL"))
CASES = packaged_cases()
RUNS = [(name, case, way) for name, case in CASES for way in ways_of(case, model=URL is not None)]

NOTICE = "The notice period for crew members is six weeks to the end of a month."
QUESTION = "How long is the notice period for crew members?"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with serving() as scripted:
        yield scripted


def prompt(name: str = "answer") -> Prompt:
    return Prompt(name, 1, read_prompt_files()[name].text)


def answer_case(**expect: object) -> AnswerCase:
    passages = [{"title": "Leaving us", "text": NOTICE}, {"title": "Canteen", "text": "The canteen opens at eleven."}]
    return AnswerCase.model_validate({"name": "x", "question": QUESTION, "passages": passages, "expect": expect})


def rewrite_case(**expect: object) -> RewriteCase:
    history = [{"question": "When does the canteen open?", "answer": "At eleven."}]
    return RewriteCase.model_validate(
        {"name": "x", "question": "And on Sundays?", "history": history, "expect": expect}
    )


def on_model(case: Case, server: ScriptedServer, reply: Reply, embedder: Embedder) -> CaseResult:
    server.say(reply)
    policy = LlmPolicy(url=server.url, model=MODEL, attempts=1, breaker_failures=1000)
    name = "rewrite" if isinstance(case, RewriteCase) else "answer"
    return run_case(case, "model", prompt(name), encoder=embedder, client=open_client(policy))


# --- the packaged cases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "case", "way"), RUNS, ids=[f"{n}-{w}-{c.name}" for n, c, w in RUNS])
def test_a_packaged_case_holds(name: str, case: Case, way: Way, embedder: Embedder) -> None:
    client = open_client(LlmPolicy(url=URL, model=NAME)) if way == "model" and URL and NAME else None
    result = run_case(case, way, prompt(name), encoder=embedder, client=client)
    assert result.failures == (), result.text


def test_every_prompt_has_cases_and_every_case_is_run_without_a_model() -> None:
    assert {name for name, _ in CASES} == read_prompt_files().keys()
    assert all(ways_of(case, model=False) for _, case in CASES)


# --- a wrong answer fails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "failure"),
    [
        ({"refused": True}, "was answered and should have been refused"),
        ({"cites": [2]}, "does not cite passage 2"),
        ({"cites_only": [2]}, "cites passage 1"),
        ({"contains": ["eight weeks"]}, "does not say 'eight weeks'"),
        ({"excludes": ["SIX Weeks"]}, "says 'SIX Weeks'"),
    ],
)
def test_a_quoted_answer_that_is_not_as_expected_fails(
    expect: dict[str, object], failure: str, embedder: Embedder
) -> None:
    result = run_case(answer_case(**expect), "quoted", prompt(), encoder=embedder)
    assert result.failures == (failure,) and not result.passed
    assert NOTICE in result.text


def test_a_refusal_where_an_answer_is_expected_fails(embedder: Embedder) -> None:
    case = answer_case(refused=False).model_copy(update={"question": "Who won the football cup in 1954?"})
    assert run_case(case, "quoted", prompt(), encoder=embedder).failures == ("was refused",)


def test_a_model_is_held_to_the_same_case_with_the_prompt_under_test(
    server: ScriptedServer, embedder: Embedder
) -> None:
    case = answer_case(refused=False, cites=[1], cites_only=[1], contains=["six weeks"])
    good = on_model(case, server, Reply(sentences((NOTICE, [1]))), embedder)
    assert good.passed and good.text == NOTICE
    assert server.requests[0]["messages"][0]["content"] == prompt().render(max_sentences=6)
    assert not on_model(case, server, Reply(sentences(refused=True)), embedder).passed


def test_what_the_checks_leave_out_of_a_models_reply_is_not_the_answer(
    server: ScriptedServer, embedder: Embedder
) -> None:
    invented = NOTICE.replace("six", "nine")
    found = on_model(answer_case(excludes=["nine"]), server, Reply(sentences((invented, [1]), (NOTICE, [1]))), embedder)
    assert found.passed and found.text == NOTICE


def test_a_model_that_can_not_be_had_fails_the_case(server: ScriptedServer, embedder: Embedder) -> None:
    for case in (answer_case(refused=True), rewrite_case(excludes=["purple"])):
        (failure,) = on_model(case, server, Reply(status=400), embedder).failures
        assert "model" in failure


def test_a_rewritten_question_is_held_to_its_case(server: ScriptedServer, embedder: Embedder) -> None:
    case = rewrite_case(contains=["canteen", "sundays"], excludes=["eleven"])
    assert on_model(case, server, Reply("When does the canteen open on Sundays?"), embedder).passed
    asked = server.requests[0]["messages"][0]["content"]
    assert "Question: When does the canteen open?" in asked and "And on Sundays?" in asked
    wrong = on_model(case, server, Reply("Is the kitchen shut at eleven on Sundays?"), embedder)
    assert wrong.failures == ("does not say 'canteen'", "says 'eleven'")
    other = on_model(case, server, Reply("Does the canteen open at eleven?"), embedder)
    assert other.failures == ("the model failed: what it wrote was no rewritten question",)
    unchanged = run_case(rewrite_case(unchanged=True), "rule", prompt("rewrite"), encoder=embedder)
    assert unchanged.failures == ("changed the question",)


@pytest.mark.parametrize("dropped", [[], ["name"], ["number", "number"]])
def test_sentences_left_out_for_other_reasons_fail_a_scripted_case(dropped: list[str], embedder: Embedder) -> None:
    (case,) = (case for _, case in CASES if case.name == "a changed number is left out")
    assert isinstance(case, AnswerCase)
    changed = case.model_copy(update={"expect": case.expect.model_copy(update={"dropped": dropped})})
    (failure,) = run_case(changed, "scripted", prompt(), encoder=embedder).failures
    assert "['number']" in failure


def test_a_case_is_not_run_a_way_that_it_skips_or_that_needs_a_model(embedder: Embedder) -> None:
    skipping = answer_case(refused=False).model_copy(update={"skip": ["quoted"]})
    assert ways_of(skipping, model=True) == ["model"] and ways_of(skipping, model=False) == []
    for way in ("quoted", "model", "rule"):
        with pytest.raises(ValueError, match="not run the way"):
            run_case(skipping, way, prompt(), encoder=embedder)


# --- the file format ----------------------------------------------------------------------------------------------

GOOD = {"name": "x", "question": "?", "passages": [{"text": "y"}], "expect": {"refused": True}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cases: [", r"answer\.yaml:1: not valid YAML"),
        ("- name: x", "a list named 'cases'"),
        ("cases: []\nmore: 1", "a list named 'cases'"),
        ({"question": None}, "case 2: question: .*string"),
        ({"expects": {}}, "case 2: expects: Extra inputs"),
        ({"expect": {}}, "case 2: .*nothing could make the case fail"),
        ({"expect": {"refuse": True}}, r"case 2: expect: refuse: Extra"),
        ({"expect": {"cites": [2]}}, "case 2: .*no passage 2"),
        ({"expect": {"cites_only": [0]}}, "case 2: .*no passage 0"),
        ({"expect": {"dropped": ["number"]}}, "case 2: .*scripted reply"),
        ({"passages": []}, "case 2: passages"),
        ({"skip": ["shouted"]}, "case 2: skip"),
        ({}, "case 2: there is another case of the name 'x'"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_place(tmp_path: Path, content: object, message: str) -> None:
    text = content if isinstance(content, str) else json.dumps({"cases": [GOOD, {**GOOD, **content}]})
    (tmp_path / "answer.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_cases(tmp_path)


def test_a_file_is_named_after_its_prompt(tmp_path: Path) -> None:
    (tmp_path / "answer.legal.yaml").write_text(json.dumps({"cases": [GOOD]}))
    assert [name for name, _ in read_cases(tmp_path)] == ["answer.legal"]
    (tmp_path / "poem.yaml").write_text(json.dumps({"cases": [GOOD]}))
    with pytest.raises(ConfigError, match="'poem' can't name a prompt"):
        read_cases(tmp_path)


# --- the command --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    without_model = {"HEADWATER_PROMPT_TEST_URL": None, "HEADWATER_PROMPT_TEST_MODEL": None}
    return CliRunner().invoke(app, ["prompts", "test", *arguments], env=without_model)


def test_the_command_runs_a_projects_cases_and_fails_with_them(project: Project) -> None:
    folder = project.root / "prompts" / "tests"
    folder.mkdir(parents=True)
    passing = {"name": "kept", "question": QUESTION, "passages": [{"text": NOTICE}], "expect": {"cites": [1]}}
    failing = {**passing, "name": "wrong", "expect": {"contains": ["ten weeks"]}}
    (folder / "answer.yaml").write_text(json.dumps({"cases": [passing, failing]}))
    result = run("--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["failed"], told["passed"]) == (1, 1 + len([way for *_, way in RUNS if way != "model"]))
    (wrong,) = (one for one in told["results"] if one["failures"])
    assert (wrong["case"], wrong["prompt"], wrong["way"]) == ("wrong", "answer@1", "quoted")
    shown = run(str(folder))
    assert shown.exit_code == 1 and "does not say 'ten weeks'" in shown.stdout and "1 passed, 1 failed" in shown.stdout


def test_the_command_tests_another_version_on_a_model(project: Project, server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "new.md").write_text("Quote, {{max_sentences}} sentences.")
    assert CliRunner().invoke(app, ["prompts", "add", "answer", str(tmp_path / "new.md")]).exit_code == 0
    case = {"name": "kept", "question": QUESTION, "passages": [{"text": NOTICE}], "expect": {"cites": [1]}}
    (tmp_path / "answer.yaml").write_text(json.dumps({"cases": [{**case, "skip": ["quoted"]}]}))
    server.say(Reply(sentences((NOTICE, [1]))))
    result = run(str(tmp_path), "--url", server.url, "--model", MODEL, "--prompt", "answer@2", "--json")
    assert result.exit_code == 0, result.output
    assert [one["prompt"] for one in json.loads(result.stdout)["results"]] == ["answer@2"]
    assert server.requests[0]["messages"][0]["content"] == "Quote, 6 sentences."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--url", "http://127.0.0.1:9/v1"), "both --url and --model"),
        (("--prompt", "answer@9"), "answer@9"),
        (("--prompt", "answer@nobody"), "no label 'nobody'"),
        (("nowhere",), "no prompt test"),
    ],
)
def test_what_can_not_be_tested_is_one_message(project: Project, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output
