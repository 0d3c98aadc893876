"""Prompts: what is served is one version at a time, every change can be seen and taken back, and no text can do anything."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.cli import app
from headwater.errors import ConfigError, NotFoundError
from headwater.ledger import Ledger
from headwater.project import Project
from headwater.prompts import Prompt, PromptRegistry
from headwater.prompts import registry as registry_module
from headwater.prompts.files import TEMPLATES, read_prompt_files
from headwater.prompts.purposes import MAX_CHARACTERS, PURPOSES, normal

ANSWER = "Answer from the passages, in {{max_sentences}} sentences at most."
SHORTER = "Answer in {{max_sentences}} sentences."
OTHER = 'Quote, {{max_sentences}} sentences at most. A reply looks like this: {"refused": false, "sentences": [{"cites": [1]}]}'


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(Ledger(url)) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's own prompts: ``answer`` in three versions of which the file holds the first."""
    made = tmp_path / "prompts"
    made.mkdir()
    (made / "answer.md").write_text(ANSWER)
    return made


@pytest.fixture
def prompts(ledger: Ledger, folder: Path) -> PromptRegistry:
    """``answer`` in versions 1 (live, from the file), 2 and 3."""
    registry = PromptRegistry(ledger, folder)
    assert [registry.add("answer", text, source="by hand").version for text in (SHORTER, OTHER)] == [2, 3]
    return registry


def live(prompts: PromptRegistry, name: str = "answer") -> int:
    return prompts.choose(name, key="anyone").version


# --- rendering ----------------------------------------------------------------------------------------------------


def test_values_take_the_place_of_their_placeholders_and_nothing_else_changes() -> None:
    prompt = Prompt("rewrite", 4, 'Of {{history}}, {{ question }}? {"a": {"b": 1}} $history {history}', "live")
    assert prompt.id == "rewrite@4"
    assert prompt.placeholders == {"history", "question"}
    assert prompt.render(history="x", question="y") == 'Of x, y? {"a": {"b": 1}} $history {history}'


def test_a_value_that_looks_like_a_placeholder_is_not_filled_in() -> None:
    prompt = Prompt("rewrite", 1, "{{history}} | {{question}}")
    assert prompt.render(history="{{question}}", question=r"\1 {{history}}") == r"{{question}} | \1 {{history}}"


def test_a_missing_value_is_an_error_and_one_without_a_place_is_not() -> None:
    prompt = Prompt("rewrite", 2, "{{history}} {{question}}")
    with pytest.raises(ConfigError, match=r"rewrite@2 needs a value for \{\{question\}\}"):
        prompt.render(history="x")
    assert Prompt("answer", 1, "No placeholder").render(max_sentences=3) == "No placeholder"


@given(st.text())
def test_any_value_is_inserted_as_it_is(value: str) -> None:
    assert Prompt("answer", 1, "<{{max_sentences}}>").render(max_sentences=value) == f"<{value}>"


# --- what comes with Headwater ------------------------------------------------------------------------------------


def test_every_purpose_has_a_packaged_prompt_and_every_packaged_prompt_a_purpose() -> None:
    assert read_prompt_files().keys() == PURPOSES.keys()


@pytest.mark.parametrize("name", sorted(PURPOSES))
def test_a_packaged_prompt_renders_as_its_golden_file_says(name: str) -> None:
    """A changed template shows up in review as a changed golden file: run with HEADWATER_WRITE_GOLDEN=1 to write it."""
    import os

    values = {"max_sentences": 6, "history": "Question: When do you open?\nAnswer: At nine.", "question": "And close?"}
    rendered = Prompt(name, 1, read_prompt_files()[name].text).render(**values) + "\n"
    golden = Path(__file__).parent / "golden" / f"prompt_{name}.txt"
    if os.environ.get("HEADWATER_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered, encoding="utf-8")
    assert rendered == golden.read_text(encoding="utf-8")


def test_the_answer_prompt_leaves_the_context_to_the_passages() -> None:
    text = read_prompt_files()["answer"].text
    assert len(text) < 2400, "about 600 tokens: a model of 4,096 has to have room for ten passages"
    for rule in ("refuse", "never an instruction", "language of the question", '"sentences"'):
        assert rule in text


# --- what is refused at registration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("answer", "", "empty"),
        ("answer", " \n\n ", "empty"),
        ("answer", "Answer well.", r"has to hold \{\{max_sentences\}\}"),
        ("rewrite", "{{question}}", r"has to hold \{\{history\}\}"),
        ("answer", f"{ANSWER}\n{{{{language}}}}", r"x\.md:2: nothing fills the placeholder language"),
        ("answer", f"{ANSWER}\n\n{{{{max_sentences.__class__}}}}", r"x\.md:3: '\{\{' opens"),
        ("answer", f"{ANSWER} {{{{max_sentences[0]}}}}", "opens a placeholder that is not one"),
        ("answer", f"{ANSWER} {{{{max_sentences!r}}}}", "opens a placeholder that is not one"),
        ("answer", f"{ANSWER} {{{{Max}}}}", "opens a placeholder that is not one"),
        ("answer", f"{ANSWER} {{{{max_sentences\n}}}}", "opens a placeholder that is not one"),
        ("answer", f"{ANSWER} {{% include 'x' %}} {{{{", "opens a placeholder that is not one"),
        ("answer", f"{ANSWER}\n\x1b[2J", r"x\.md:2: .*control character"),
        ("answer", f"{ANSWER}\x00", "control character"),
        ("answer", ANSWER + "x" * MAX_CHARACTERS, "at most 20,000"),
        ("summary", ANSWER, "can't name a prompt"),
        ("Answer", ANSWER, "can't name a prompt"),
        ("answer.", ANSWER, "can't name a prompt"),
        ("answer.a.b", ANSWER, "can't name a prompt"),
        ("answer/../x", ANSWER, "can't name a prompt"),
    ],
)
def test_a_text_that_could_not_be_used_is_refused_with_its_place(
    prompts: PromptRegistry, name: str, text: str, message: str
) -> None:
    before = prompts.versions()
    with pytest.raises(ConfigError, match=message):
        prompts.add(name, text, source="x.md")
    assert prompts.versions() == before


def test_a_variant_is_held_to_the_rules_of_its_purpose(prompts: PromptRegistry) -> None:
    assert prompts.add("answer.legal", ANSWER, source="x").version == 1
    with pytest.raises(ConfigError, match="max_sentences"):
        prompts.add("answer.legal", "Cite the statute.", source="x")


# --- versions -----------------------------------------------------------------------------------------------------


def test_the_same_text_is_the_same_version_whatever_an_editor_did_to_its_ends(prompts: PromptRegistry) -> None:
    again = prompts.add("answer", f"\r\n{SHORTER}  \r\n\n", source="elsewhere", who="mira")
    assert (again.version, again.source, again.text) == (2, "by hand", SHORTER)
    assert [version.version for version in prompts.versions("answer")] == [1, 2, 3]


def test_a_version_says_where_it_is_from_and_never_changes(prompts: PromptRegistry) -> None:
    before = datetime.now(UTC)
    added = prompts.add("answer", "Four: {{max_sentences}}", source="four.md", who="mira")
    assert (added.version, added.source, added.added_by) == (4, "four.md", "mira")
    assert before <= added.added_at <= datetime.now(UTC)
    prompts.label("answer", 4, "live", "better")
    prompts.rollback("answer")
    assert prompts.get("answer", 4).text == "Four: {{max_sentences}}"


def test_versions_are_counted_by_prompt(prompts: PromptRegistry) -> None:
    assert prompts.get("rewrite", 1).text == normal((TEMPLATES / "rewrite.md").read_text())
    with pytest.raises(NotFoundError, match="rewrite@2"):
        prompts.get("rewrite", 2)


def test_the_difference_of_two_versions_shows_what_changed(prompts: PromptRegistry) -> None:
    assert prompts.diff("answer", 1, 2).splitlines() == [
        "--- answer@1",
        "+++ answer@2",
        "@@ -1 +1 @@",
        f"-{ANSWER}",
        f"+{SHORTER}",
    ]
    assert prompts.diff("answer", 2, 2) == ""
    with pytest.raises(NotFoundError, match="answer@9"):
        prompts.diff("answer", 1, 9)


def test_many_who_add_at_once_get_different_numbers(url: str, folder: Path) -> None:
    numbers: list[int] = []

    def add(which: int) -> None:
        with closing(Ledger(url)) as ledger:
            registry = PromptRegistry(ledger, folder)
            numbers.extend(
                registry.add("answer", f"{which} {{{{max_sentences}}}} {n}", source="x").version for n in range(5)
            )

    Ledger(url).close()
    threads = [threading.Thread(target=add, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(2, 22))


# --- labels and rollback ------------------------------------------------------------------------------------------


def test_the_file_is_live_until_a_label_says_otherwise(prompts: PromptRegistry) -> None:
    chosen = prompts.choose("answer", key="c-1")
    assert (chosen.id, chosen.text, chosen.label) == ("answer@1", ANSWER, "live")
    prompts.label("answer", 2, "live", "shorter answers are read")
    assert prompts.choose("answer", key="c-1").id == "answer@2"
    prompts.label("answer", 3, "candidate", "to be tried")
    assert live(prompts) == 2


def test_every_move_of_a_label_is_kept_with_who_when_and_why(prompts: PromptRegistry) -> None:
    before = datetime.now(UTC)
    prompts.label("answer", 2, "live", " shorter\n answers ", who="mira")
    prompts.rollback("answer", "too short", who="juno")
    moves = prompts.history("answer")
    assert [(m.label, m.version, m.action, m.who, m.reason) for m in moves] == [
        ("live", 1, "seed", "headwater", "from prompts/answer.md"),
        ("live", 2, "label", "mira", "shorter answers"),
        ("live", 1, "rollback", "juno", "too short"),
    ]
    assert before <= moves[1].at <= moves[2].at <= datetime.now(UTC)


def test_what_people_do_to_labels_is_in_the_audit_log(prompts: PromptRegistry, ledger: Ledger) -> None:
    prompts.label("answer", 2, "live", "shorter", who="key:mira")
    prompts.rollback("answer")
    with pytest.raises(NotFoundError):
        prompts.rollback("answer", who="key:juno")
    noted = [(entry.action, entry.target, entry.outcome) for entry in ledger.audit_entries()]
    assert sorted(noted) == [
        ("prompt.label", "answer", "ok"),
        ("prompt.rollback", "answer", "ok"),
        ("prompt.rollback", "answer", "refused"),
    ]


def test_rolling_back_again_goes_further_back_and_not_forth(prompts: PromptRegistry) -> None:
    prompts.label("answer", 2, "live", "b")
    prompts.label("answer", 3, "live", "c")
    assert [prompts.rollback("answer").version, live(prompts)] == [2, 2]
    assert [prompts.rollback("answer").version, live(prompts)] == [1, 1]
    with pytest.raises(NotFoundError, match="No other version of prompt 'answer' was live"):
        prompts.rollback("answer")
    prompts.label("answer", 3, "live", "c after all")
    assert prompts.rollback("answer").version == 1


def test_a_label_needs_a_reason_a_name_and_a_version_that_exists(prompts: PromptRegistry) -> None:
    with pytest.raises(ConfigError, match="Say why"):
        prompts.label("answer", 2, "live", "  ")
    with pytest.raises(ConfigError, match="can't be a label"):
        prompts.label("answer", 2, "Live!", "why")
    with pytest.raises(NotFoundError, match="answer@8"):
        prompts.label("answer", 8, "live", "why")
    with pytest.raises(NotFoundError, match=r"answer\.legal@1"):
        prompts.label("answer.legal", 1, "live", "why")
    assert live(prompts) == 1


def test_what_has_no_live_version_is_not_served(prompts: PromptRegistry) -> None:
    prompts.add("answer.legal", ANSWER, source="x")
    with pytest.raises(NotFoundError, match=r"No version of prompt 'answer\.legal' is live"):
        prompts.choose("answer.legal", key="k")
    with pytest.raises(ConfigError, match="can't name a prompt"):
        prompts.choose("poem", key="k")


# --- A/B tests ----------------------------------------------------------------------------------------------------


def arms_of(prompts: PromptRegistry, keys: int = 2000) -> dict[str, str]:
    return {f"conversation-{n}": prompts.choose("answer", key=f"conversation-{n}").label for n in range(keys)}


def test_each_arm_is_served_its_share_and_a_key_always_the_same_arm(prompts: PromptRegistry, ledger: Ledger) -> None:
    prompts.label("answer", 2, "candidate", "try")
    prompts.weights("answer", {"live": 0.8, "candidate": 0.2})
    arms = arms_of(prompts)
    # Five standard errors of 2,000 draws at 0.2.
    assert Counter(arms.values())["candidate"] / 2000 == pytest.approx(0.2, abs=0.045)
    assert arms_of(PromptRegistry(ledger)) == arms
    assert {prompts.choose("answer", key=key).version for key, arm in arms.items() if arm == "candidate"} == {2}


def test_widening_a_test_moves_no_key_back(prompts: PromptRegistry) -> None:
    prompts.label("answer", 2, "candidate", "try")
    prompts.weights("answer", {"live": 0.9, "candidate": 0.1})
    narrow = {key for key, arm in arms_of(prompts).items() if arm == "candidate"}
    prompts.weights("answer", {"live": 0.5, "candidate": 0.5})
    wide = {key for key, arm in arms_of(prompts).items() if arm == "candidate"}
    assert narrow and narrow < wide


def test_a_test_ends_by_giving_everyone_live_or_by_rolling_back(prompts: PromptRegistry) -> None:
    prompts.label("answer", 2, "candidate", "try")
    prompts.weights("answer", {"live": 0.5, "candidate": 0.5})
    prompts.weights("answer", {"live": 1})
    assert set(arms_of(prompts, 50).values()) == {"live"}
    prompts.label("answer", 3, "live", "other")
    prompts.weights("answer", {"live": 0.5, "candidate": 0.5})
    assert prompts.rollback("answer").version == 1
    assert {prompts.choose("answer", key=str(n)).version for n in range(50)} == {1}


def test_three_arms_share_the_keys_among_them(prompts: PromptRegistry) -> None:
    prompts.label("answer", 2, "candidate", "try")
    prompts.label("answer", 3, "wild", "try")
    prompts.weights("answer", {"live": 0.2, "candidate": 0.3, "wild": 0.5})
    counts = Counter(arms_of(prompts).values())
    assert {label: count / 2000 for label, count in counts.items()} == pytest.approx(
        {"live": 0.2, "candidate": 0.3, "wild": 0.5}, abs=0.056
    )


@pytest.mark.parametrize(
    "weights",
    [
        {"live": 0.9},
        {"live": 0.9, "candidate": 0.2},
        {"live": 1.2, "candidate": -0.2},
        {"live": float("nan"), "candidate": 0.1},
        {"live": 0.5, "nobody": 0.5},
        {},
    ],
)
def test_shares_that_are_none_change_nothing(prompts: PromptRegistry, weights: dict[str, float]) -> None:
    prompts.label("answer", 2, "candidate", "try")
    before = prompts.history("answer")
    with pytest.raises(ConfigError, match=r"add up to 1|no label"):
        prompts.weights("answer", weights)
    assert prompts.history("answer") == before


def test_a_pinned_version_is_chosen_whatever_the_labels_say(prompts: PromptRegistry, ledger: Ledger) -> None:
    pinned = PromptRegistry(ledger, pins={"answer": 3})
    assert {pinned.choose("answer", key=str(n)).id for n in range(20)} == {"answer@3"}
    assert pinned.choose("rewrite", key="x").id == "rewrite@1"


# --- reading files ------------------------------------------------------------------------------------------------


def test_a_changed_file_goes_live_as_a_new_version(ledger: Ledger, folder: Path) -> None:
    assert PromptRegistry(ledger, folder).seed() == ["answer@1", "rewrite@1"]
    assert PromptRegistry(ledger, folder).seed() == []
    (folder / "answer.md").write_text(SHORTER)
    assert PromptRegistry(ledger, folder).seed() == ["answer@2"]
    assert live(PromptRegistry(ledger, folder)) == 2


def test_a_server_with_older_files_takes_nothing_back(ledger: Ledger, folder: Path) -> None:
    PromptRegistry(ledger, folder).seed()
    (folder / "answer.md").write_text(SHORTER)
    PromptRegistry(ledger, folder).seed()
    (folder / "answer.md").write_text(ANSWER)
    assert PromptRegistry(ledger, folder).seed() == []
    assert live(PromptRegistry(ledger, folder)) == 2


@pytest.mark.parametrize("how", ["label", "rollback", "the same label again", "test"])
def test_what_a_person_chose_stays_when_the_file_changes(
    prompts: PromptRegistry, folder: Path, ledger: Ledger, how: str
) -> None:
    if how == "label":
        prompts.label("answer", 2, "live", "chosen")
    elif how == "rollback":
        prompts.label("answer", 3, "live", "chosen")
        prompts.rollback("answer")
    elif how == "the same label again":
        prompts.label("answer", 1, "live", "chosen for good")
    else:
        prompts.label("answer", 2, "candidate", "try")
        prompts.weights("answer", {"live": 0.5, "candidate": 0.5})
    served = {str(n): prompts.choose("answer", key=str(n)).version for n in range(30)}
    (folder / "answer.md").write_text("Newer: {{max_sentences}}")
    later = PromptRegistry(ledger, folder)
    assert later.seed() == []
    assert {key: later.choose("answer", key=key).version for key in served} == served
    assert later.versions("answer")[-1].text == "Newer: {{max_sentences}}"


def test_a_project_without_prompts_of_its_own_has_the_packaged_ones(ledger: Ledger, tmp_path: Path) -> None:
    registry = PromptRegistry(ledger, tmp_path / "nowhere")
    assert registry.choose("answer", key="x").text == normal((TEMPLATES / "answer.md").read_text(encoding="utf-8"))
    assert registry.versions("answer")[0].source == "headwater/answer.md"


def test_a_file_that_can_not_be_used_is_named_with_its_line(ledger: Ledger, folder: Path) -> None:
    (folder / "README.md").write_text("What these are.")
    (folder / "answer.md").write_text(f"{ANSWER}\n{{{{mood}}}}")
    with pytest.raises(ConfigError, match=r"answer\.md:2: .*mood"):
        PromptRegistry(ledger, folder).choose("answer", key="x")
    (folder / "answer.md").write_bytes(b"\xff\xfe{{max_sentences}}")
    with pytest.raises(ConfigError, match=r"answer\.md:1: .* is not UTF-8"):
        PromptRegistry(ledger, folder).choose("answer", key="x")


def test_many_who_seed_at_once_make_one_version_and_one_move(url: str, folder: Path) -> None:
    Ledger(url).close()
    ready = threading.Barrier(4)

    def seed() -> None:
        with closing(Ledger(url)) as ledger:
            ready.wait()
            PromptRegistry(ledger, folder).seed()

    threads = [threading.Thread(target=seed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(Ledger(url)) as ledger:
        assert [(v.name, v.version) for v in ledger.prompt_versions()] == [("answer", 1), ("rewrite", 1)]
        assert len(ledger.label_moves()) == 2


# --- what a choice costs ------------------------------------------------------------------------------------------


def test_choosing_asks_the_ledger_once_in_a_while_and_sees_what_others_changed(
    prompts: PromptRegistry, url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy as sa

    asked: list[str] = []
    sa.event.listen(ledger._engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    assert live(prompts) == 1
    first = len(asked)
    assert {prompts.choose("answer", key=str(n)).version for n in range(100)} == {1}
    assert len(asked) == first
    with closing(Ledger(url)) as other:
        PromptRegistry(other).label("answer", 2, "live", "from another process")
    assert live(prompts) == 1
    monkeypatch.setattr(registry_module, "_FRESH_SECONDS", 0.0)
    assert live(prompts) == 2


# --- the command --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["prompts", *arguments])


def succeed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.stdout


def test_a_person_adds_tries_promotes_and_takes_back_a_prompt(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "new.md"
    file.write_text(SHORTER)
    assert json.loads(succeed("add", "answer", str(file), "--json")) == {
        "id": "answer@2",
        "name": "answer",
        "version": 2,
        "new": True,
    }
    assert "there already: answer@2" in succeed("add", "answer", str(file))
    succeed("label", "answer", "2", "candidate", "--reason", "shorter")
    succeed("weights", "answer", "live=90%", "candidate=0.1")
    (answer, rewrite) = json.loads(succeed("list", "--json"))
    assert answer == {
        "name": "answer",
        "served": [
            {"label": "live", "version": 1, "share": 0.9},
            {"label": "candidate", "version": 2, "share": 0.1},
        ],
        "labels": {"candidate": 2, "live": 1},
        "versions": 2,
    }
    assert rewrite["served"] == [{"label": "live", "version": 1, "share": 1.0}]
    succeed("label", "answer", "2", "live", "--reason", "it won")
    assert succeed("show", "answer").strip() == SHORTER
    assert f"+{SHORTER}" in json.loads(succeed("diff", "answer", "1", "2", "--json"))["diff"]
    assert "answer@1 now" in succeed("rollback", "answer")
    shown = json.loads(succeed("show", "answer", "--json"))
    assert (shown["id"], shown["placeholders"]) == ("answer@1", ["max_sentences"])
    told = json.loads(succeed("list", "answer", "--json"))
    assert [move["action"] for move in told["history"] if move["label"] == "live"] == [
        "seed",
        "weights",
        "label",
        "rollback",
    ]
    assert "it won" in succeed("list", "answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("label", "answer", "1", "live"), "Say why"),
        (("weights", "answer", "live"), "is not LABEL=SHARE"),
        (("weights", "answer", "live=1.2.3"), "is not LABEL=SHARE"),
        (("weights", "answer", "live=0.5", "live=0.5"), "twice"),
        (("weights", "answer", "live=0.5"), "add up to 1"),
        (("rollback", "answer"), "No other version"),
        (("show", "answer", "7"), "answer@7"),
        (("show", "poem"), "can't name a prompt"),
        (("add", "answer", "missing.md"), "can't be read"),
    ],
)
def test_what_can_not_be_done_is_one_message(project: Project, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_a_projects_own_prompt_is_served_there(project: Project) -> None:
    (project.root / "prompts").mkdir()
    (project.root / "prompts" / "answer.md").write_text(SHORTER)
    assert succeed("show", "answer").strip() == SHORTER
