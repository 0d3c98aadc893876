"""What people say of answers: one word each, reviewed, and turned into golden questions that the gate asks."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headwater.answer_log.golden import promote
from headwater.answer_log.golden_file import forget_promoted
from headwater.audit import operator
from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.errors import ConfigError, NotFoundError
from headwater.ledger import Ledger
from headwater.pipeline import Pipeline
from headwater.project import Project
from headwater.stages.evaluation import read_golden
from headwater.types import Answer, Principal
from tests.conftest import SMALL, use_project, write_corpus

FILES = {
    "boats.md": "# Boats\n\nThe duty desk lends the green rowing boat for two hours to whoever asks before noon.\n",
    "keys.md": "# Keys\n\nSpare keys of the boathouse hang in the cupboard behind the duty desk of the east quay.\n",
    "gauge.md": "# Gauge\n\nThe gauge at the mill is checked against the calibration rail on every second Friday of a month.\n",
}
GOLDEN = [
    {
        "id": "q1",
        "question": "Where do spare keys of the boathouse hang?",
        "answers": [{"key": "keys.md", "quote": "Spare keys of the boathouse hang in the cupboard"}],
    }
]
BOAT = "For how long is the green rowing boat lent?"
GAUGE = "When is the gauge at the mill checked against the calibration rail?"


def record(ledger: Ledger, name: str = "a-1", corpus: str = "handbook") -> str:
    answer = Answer(name, "Why?", (), True, "Nothing was found.", 4, "extractive/1")
    ledger.record_answer(corpus, answer, passages=[], principal=Principal(), parameters={}, seconds=0.1, scrub=str)
    return name


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as opened:
        record(opened)
        yield opened


# --- one word each --------------------------------------------------------------------------------------------


def test_a_caller_has_one_vote_on_an_answer_and_may_change_it(ledger: Ledger) -> None:
    first = ledger.record_feedback("a-1", "thumbs_up", by="key:1")
    assert ledger.record_feedback("a-1", "thumbs_down", by="key:1") == first
    ledger.record_feedback("a-1", "thumbs_up", by="key:2")
    record(ledger, "a-2")
    ledger.record_feedback("a-2", "thumbs_up", by="key:1")
    votes = {(found.answer_id, found.given_by): found.kind for found in ledger.feedback("handbook")}
    assert votes == {("a-1", "key:1"): "thumbs_down", ("a-1", "key:2"): "thumbs_up", ("a-2", "key:1"): "thumbs_up"}


def test_a_vote_a_correction_and_wrong_citations_stand_side_by_side(ledger: Ledger) -> None:
    ledger.record_feedback("a-1", "thumbs_down", by="key:1")
    ledger.record_feedback("a-1", "correction", by="key:1", text="Six weeks.")
    ledger.record_feedback("a-1", "correction", by="key:1", text="Seven weeks.")
    for citation in (0, 1, 1, None):
        ledger.record_feedback("a-1", "wrong_citation", by="key:1", sentence=0, citation=citation)
    found = ledger.feedback("handbook", answer_id="a-1")
    assert sorted((f.kind, f.text, f.citation) for f in found if f.kind != "wrong_citation") == [
        ("correction", "Seven weeks.", None),
        ("thumbs_down", None, None),
    ]
    assert {f.citation for f in found if f.kind == "wrong_citation"} == {0, 1, None}
    assert len(found) == 5


def test_what_is_said_again_waits_for_review_again(ledger: Ledger) -> None:
    name = ledger.record_feedback("a-1", "correction", by="key:1", text="Six weeks.")
    ledger.review_feedback(name, "dismissed", by="os:me", note="It is eight.")
    (found,) = ledger.feedback("handbook", state="dismissed")
    assert (found.reviewed_by, found.note) == ("os:me", "It is eight.") and found.reviewed_at is not None
    ledger.record_feedback("a-1", "correction", by="key:1", text="It is six, see page 2.")
    (found,) = ledger.feedback("handbook")
    assert (found.id, found.state, found.reviewed_by, found.reviewed_at, found.note) == (name, "open", None, None, None)


def test_votes_at_once_are_one_vote(ledger: Ledger) -> None:
    names: list[str] = []
    start = threading.Barrier(8)

    def vote(number: int) -> None:
        start.wait()
        names.append(ledger.record_feedback("a-1", "thumbs_up" if number % 2 else "thumbs_down", by="key:1"))

    threads = [threading.Thread(target=vote, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8 and len(set(names)) == 1
    assert len(ledger.feedback("handbook")) == 1


def test_feedback_on_an_answer_that_is_not_there_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="a-9"):
        ledger.record_feedback("a-9", "thumbs_up", by="key:1")
    assert ledger.feedback("handbook") == []
    with pytest.raises(NotFoundError, match="f-9"):
        ledger.review_feedback("f-9", "dismissed", by="os:me")


def test_feedback_is_listed_newest_first_page_by_page(ledger: Ledger) -> None:
    names = [ledger.record_feedback("a-1", "thumbs_up", by=f"key:{number}") for number in range(7)]
    record(ledger, "elsewhere", "policies")
    ledger.record_feedback("elsewhere", "thumbs_up", by="key:1")
    seen: list[str] = []
    place = None
    while page := ledger.feedback("handbook", before=place, limit=3):
        seen += [found.id for found in page]
        place = (page[-1].given_at, page[-1].id)
    assert sorted(seen) == sorted(names)
    assert ledger.feedback("handbook", since=datetime.now(UTC) + timedelta(minutes=1)) == []


def test_feedback_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    name = ledger.record_feedback("a-1", "thumbs_up", by="key:1")
    assert ledger.one_feedback("handbook", name[:10]).id == name
    for given, corpus in ((name, "policies"), ("%", "handbook"), ("zzzz", "handbook")):
        with pytest.raises(NotFoundError):
            ledger.one_feedback(corpus, given)
    for number in range(20):  # seventeen ids have two that begin alike
        ledger.record_feedback("a-1", "thumbs_up", by=f"more:{number}")
    firsts = [found.id[0] for found in ledger.feedback("handbook")]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(NotFoundError, match="more than one"):
        ledger.one_feedback("handbook", twice)


def test_text_that_a_database_can_not_hold_is_stored_all_the_same(ledger: Ledger) -> None:
    ledger.record_feedback("a-1", "correction", by="key:1", text="No\x00 \ud800 six.")
    (found,) = ledger.feedback("handbook")
    assert found.text is not None and found.text.endswith("six.")


# --- from a correction to a golden question -------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("feedback") / "project"
    with pytest.MonkeyPatch.context() as patch:
        made = use_project(root, patch)
        folder = write_corpus(root, SMALL, FILES, gate={"golden": "golden.jsonl", "known_item_queries": 3})
        (folder / "golden.jsonl").write_text("\n".join(map(json.dumps, GOLDEN)))  # no line feed at the end
        with open_corpus(folder) as corpus:
            Pipeline(corpus, workers=1).run()
        yield made


@pytest.fixture
def corpus(built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    root = tmp_path / "copy"
    shutil.copytree(built.root, root, copy_function=shutil.copy2)
    use_project(root, monkeypatch)
    with open_corpus(root / "assets" / SMALL) as opened:
        yield opened


def golden_of(corpus: Corpus) -> list[dict[str, Any]]:
    text = Path(str(corpus.policy.gate.golden)).read_text()
    return [json.loads(line) for line in text.splitlines()]


def said(corpus: Corpus, question: str, kind: Any = "correction", **more: Any) -> tuple[Answer, str]:
    answer = corpus.answer(question)
    more = {"text": "That is not right."} | more if kind == "correction" else more
    return answer, corpus.ledger.record_feedback(answer.id, kind, by="key:1", **more)


def test_a_promoted_correction_is_asked_by_the_gate(corpus: Corpus) -> None:
    answer, name = said(corpus, BOAT)
    promotion = promote(corpus, name, by="os:me", documents=["boats.md"])
    assert promotion.added and promotion.question.question == BOAT
    (entry,) = corpus.ledger.audit_entries(corpus=corpus.name, action="feedback.promote")
    assert (entry.who, entry.target, entry.counts) == ("os:me", name, {"added": 1})
    kept, added = golden_of(corpus)
    assert kept == GOLDEN[0]
    (cited,) = added["answers"]
    assert cited["key"] == "boats.md" and cited["quote"] in FILES["boats.md"] and "two hours" in cited["quote"]
    origin = added["provenance"]
    assert (origin["feedback"], origin["answer"], origin["promoted_by"]) == (name, answer.id, "os:me")
    assert (origin["kind"], origin["release"]) == ("correction", answer.release)
    state = corpus.ledger.one_feedback(SMALL, name)
    assert (state.state, state.reviewed_by) == ("promoted", "os:me") and added["id"] in (state.note or "")
    (corpus.project.root / "assets" / SMALL / "documents" / "new.md").write_text(
        "# Lamps\n\nThe lamps of the north quay are lit by the night watch at dusk and put out at dawn.\n"
    )
    report = Pipeline(corpus, workers=1).run()
    (recall,) = [check for check in report.checks if check.name == "golden_recall"]
    assert recall.details["golden_questions"] == 2 and recall.passed


def test_a_reviewer_may_say_the_words_and_the_question(corpus: Corpus) -> None:
    _, name = said(corpus, "How long may I have it?")
    quote = "lends the  green rowing boat\nfor two hours"
    question = promote(corpus, name[:8], by="me", documents=["boats.md"], quotes=[quote], question=BOAT).question
    assert question.answers == (("boats.md", "lends the green rowing boat for two hours"),)
    assert read_golden(Path(str(corpus.policy.gate.golden)))[-1] == question


def test_every_document_keeps_its_own_quote_however_often_it_is_named(corpus: Corpus) -> None:
    _, name = said(corpus, BOAT)
    quotes = ["the green rowing boat", "for two hours"]
    question = promote(corpus, name, by="me", documents=["boats.md", "boats.md"], quotes=quotes).question
    assert question.answers == tuple(("boats.md", quote) for quote in quotes)


def test_a_question_with_a_gap_where_personal_data_was_is_said_anew(corpus: Corpus) -> None:
    _, name = said(corpus, "May Tom Aldersley have the green rowing boat for two hours?")
    with pytest.raises(ConfigError, match="--question"):
        promote(corpus, name, by="me", documents=["boats.md"], quotes=["for two hours"])
    assert golden_of(corpus) == GOLDEN
    promote(corpus, name, by="me", documents=["boats.md"], quotes=["for two hours"], question=BOAT)
    assert golden_of(corpus)[-1]["question"] == BOAT


def test_a_question_without_an_answer_is_promoted_as_one_to_refuse(corpus: Corpus) -> None:
    _, name = said(corpus, "What does a season ticket to the opera cost?")
    assert promote(corpus, name, by="me", unanswerable=True).question.answers == ()
    assert golden_of(corpus)[-1]["answers"] == []


def test_the_same_question_is_not_added_twice(corpus: Corpus) -> None:
    (_, first), (_, second) = said(corpus, BOAT), said(corpus, f"  {BOAT.upper()} ")
    once = promote(corpus, first, by="me", documents=["boats.md"])
    again = promote(corpus, second, by="me", documents=["boats.md"], quotes=[once.question.answers[0][1]])
    assert not again.added and again.question.id == once.question.id
    assert len(golden_of(corpus)) == 2
    assert {f.state for f in corpus.ledger.feedback(SMALL)} == {"promoted"}
    assert not promote(corpus, first, by="me", documents=["boats.md"]).added


def test_a_question_that_the_golden_set_answers_otherwise_is_left_to_people(corpus: Corpus) -> None:
    _, name = said(corpus, GOLDEN[0]["question"])
    with pytest.raises(ConfigError, match="'q1'"):
        promote(corpus, name, by="me", documents=["boats.md"], quotes=["The duty desk lends"])
    assert golden_of(corpus) == GOLDEN
    assert corpus.ledger.one_feedback(SMALL, name).state == "open"


def test_a_citation_that_was_called_wrong_is_not_taken_for_the_answer(corpus: Corpus) -> None:
    answer = corpus.answer(BOAT)
    cited = [(n, m) for n, s in enumerate(answer.sentences) for m, c in enumerate(s.citations) if c.key == "boats.md"]
    assert len(cited) == 1
    ((sentence, citation),) = cited
    name = corpus.ledger.record_feedback(answer.id, "wrong_citation", by="key:1", sentence=sentence, citation=citation)
    with pytest.raises(NotFoundError, match=r"boats\.md.*--quote"):
        promote(corpus, name, by="me", documents=["boats.md"])


def test_a_document_that_changed_since_needs_its_words_said(corpus: Corpus) -> None:
    _, name = said(corpus, BOAT)
    file = corpus.project.root / "assets" / SMALL / "documents" / "boats.md"
    file.write_text(
        "# News\n\nThere is a new house for boats at the west quay, opened by the crews in March.\n\n"
        + file.read_text()
    )
    Pipeline(corpus, workers=1).run()
    corpus.refresh()
    with pytest.raises(NotFoundError, match="--quote"):
        promote(corpus, name, by="me", documents=["boats.md"])
    assert promote(corpus, name, by="me", documents=["boats.md"], quotes=["for two hours"]).added


MAILED = (
    "# Boats\n\nWrite to karin.lindqvist@waterworks.example or to her deputy, jonas.ek@waterworks.example, about it.\n\n"
    "The duty desk lends the green rowing boat for two hours to whoever asks before noon.\n\n"
    "The harbour desk paints its jetties white every other spring, before the first of the regattas.\n"
)


def cleaned_otherwise(corpus: Corpus, text: str = MAILED, **settings: Any) -> None:
    """Make another text of the same bytes, and so other places of the same words."""
    folder = write_corpus(corpus.project.root, SMALL, {"boats.md": text}, gate={"golden": "golden.jsonl"}, **settings)
    with open_corpus(folder) as changed:
        Pipeline(changed, workers=1).run()
    corpus.refresh()


@pytest.mark.parametrize("gone", [False, True], ids=["kept", "gone"])
def test_words_that_settings_moved_are_quoted_from_where_they_stood(corpus: Corpus, gone: bool) -> None:
    cleaned_otherwise(corpus)
    answer, name = said(corpus, BOAT)
    assert [one.quote for one in answer.sentences[0].citations] == [MAILED.splitlines()[4]]
    cleaned_otherwise(corpus, privacy={"enabled": False})
    assert corpus.live() == answer.release + 1
    if gone:  # nobody can tell where the words are now
        corpus.ledger.set_state(corpus.name, answer.release, "dropped", reason="A test.")
        with pytest.raises(NotFoundError, match="--quote"):
            promote(corpus, name, by="me", documents=["boats.md"])
        return
    question = promote(corpus, name, by="me", documents=["boats.md"]).question
    assert question.answers == (("boats.md", MAILED.splitlines()[4]),)


def test_words_that_settings_took_out_have_to_be_said(corpus: Corpus) -> None:
    text = MAILED.replace("for two hours to", "for two hours, by karin.lindqvist@waterworks.org, to")
    cleaned_otherwise(corpus, text, privacy={"enabled": False})
    answer, name = said(corpus, BOAT)
    assert "karin.lindqvist" in answer.text
    cleaned_otherwise(corpus, text)
    with pytest.raises(NotFoundError, match="--quote"):
        promote(corpus, name, by="me", documents=["boats.md"])
    assert golden_of(corpus) == GOLDEN


def test_of_a_release_that_is_gone_words_are_quoted_that_are_still_at_their_place(corpus: Corpus) -> None:
    answer, name = said(corpus, BOAT)
    (corpus.project.root / "assets" / SMALL / "documents" / "new.md").write_text(
        "# Lamps\n\nThe lamps of the north quay are lit by the night watch at dusk and put out at dawn.\n"
    )
    Pipeline(corpus, workers=1).run()
    corpus.refresh()
    corpus.ledger.set_state(corpus.name, answer.release, "dropped", reason="A test.")
    assert "two hours" in promote(corpus, name, by="me", documents=["boats.md"]).question.answers[0][1]


@pytest.mark.parametrize(
    ("confirmed", "error", "words"),
    [
        ({}, ConfigError, "--document"),
        ({"documents": ["boats.md"], "unanswerable": True}, ConfigError, "--document"),
        ({"documents": ["boats.md"], "quotes": ["for three hours"]}, NotFoundError, "does not stand"),
        ({"documents": ["boats.md"], "quotes": [" "]}, NotFoundError, "does not stand"),
        ({"documents": ["boats.md"], "quotes": ["a", "b"]}, ConfigError, "one quote per document"),
        ({"documents": ["nowhere.md"], "quotes": ["a"]}, NotFoundError, "nowhere.md"),
        ({"documents": ["gauge.md"]}, NotFoundError, "--quote"),
    ],
)
def test_nothing_is_promoted_that_was_not_confirmed(
    corpus: Corpus, confirmed: Any, error: type[Exception], words: str
) -> None:
    _, name = said(corpus, BOAT)
    with pytest.raises(error, match=words) as raised:
        promote(corpus, name, by="me", **confirmed)
    assert "three hours" not in str(raised.value)
    assert golden_of(corpus) == GOLDEN
    assert corpus.ledger.one_feedback(SMALL, name).state == "open"


def test_a_corpus_without_a_golden_set_says_how_to_have_one(corpus: Corpus) -> None:
    _, name = said(corpus, BOAT)
    gate = corpus.policy.gate.model_copy(update={"golden": None})
    corpus.policy = corpus.policy.model_copy(update={"gate": gate})
    with pytest.raises(ConfigError, match="gate:"):
        promote(corpus, name, by="me", documents=["boats.md"])


def test_a_golden_set_that_is_not_there_yet_is_begun(corpus: Corpus, tmp_path: Path) -> None:
    _, name = said(corpus, BOAT)
    path = tmp_path / "evaluation" / "golden.jsonl"
    gate = corpus.policy.gate.model_copy(update={"golden": str(path)})
    corpus.policy = corpus.policy.model_copy(update={"gate": gate})
    promote(corpus, name, by="me", documents=["boats.md"])
    assert [question.question for question in read_golden(path)] == [BOAT]


def out_of_reach(corpus: Corpus, path: Path) -> None:
    """Let the corpus' golden set be a file that nobody can write, whoever runs the tests."""
    gate = corpus.policy.gate.model_copy(update={"golden": str(path)})
    corpus.policy = corpus.policy.model_copy(update={"gate": gate})


def test_a_golden_set_that_can_not_be_written_says_what_to_do(corpus: Corpus, tmp_path: Path) -> None:
    _, name = said(corpus, BOAT)
    (tmp_path / "file").touch()
    out_of_reach(corpus, tmp_path / "file" / "golden.jsonl")
    with pytest.raises(ConfigError, match=r"file/golden\.jsonl.*\(\w.*\).*--output FILE") as raised:
        promote(corpus, name, by="me", documents=["boats.md"])
    assert "rowing" not in str(raised.value)  # an error holds no text of documents or questions
    assert corpus.ledger.one_feedback(SMALL, name).state == "open"
    lines: list[str] = []
    assert promote(corpus, name, by="me", documents=["boats.md"], write=lines.append).added
    (tmp_path / "elsewhere.jsonl").write_text(lines[0])
    assert [question.question for question in read_golden(tmp_path / "elsewhere.jsonl")] == [BOAT]
    assert corpus.ledger.one_feedback(SMALL, name).state == "promoted"


def test_an_erasure_that_can_not_change_the_golden_set_waits_for_the_file(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, boat = said(corpus, BOAT)
    promote(corpus, boat, by="me", documents=["boats.md"])
    path = Path(str(corpus.policy.gate.golden))

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        with pytest.raises(ConfigError, match=r"golden\.jsonl.*1 promoted.*Read-only file system.*erase"):
            forget_promoted(path, {"boats.md"})
    assert len(golden_of(corpus)) == 2
    path.write_text("".join(f"{json.dumps(row)}\n" for row in GOLDEN))  # as the person does who keeps the file
    assert forget_promoted(path, {"boats.md"}) == 0


def test_an_erasure_takes_promoted_quotes_out_of_the_golden_set(corpus: Corpus) -> None:
    (_, boat), (_, gauge) = said(corpus, BOAT), said(corpus, GAUGE)
    promote(corpus, boat, by="me", documents=["boats.md"])
    promote(corpus, gauge, by="me", documents=["gauge.md"])
    erase(corpus, "boats.md", reason="asked")
    assert [row["question"] for row in golden_of(corpus)] == [GOLDEN[0]["question"], GAUGE]
    assert boat not in [found.id for found in corpus.ledger.feedback(SMALL)]


def test_only_promoted_lines_are_changed_by_an_erasure(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    own = json.dumps({"id": "q1", "question": "Mine?", "answers": [{"key": "a.md", "quote": "x"}]})
    both = [{"key": "a.md", "quote": "x"}, {"key": "b.md", "quote": "y"}]
    rows = [
        {"id": "f-1", "question": "One?", "answers": both[:1], "provenance": {}},
        {"id": "f-2", "question": "Two?", "answers": both, "provenance": {}},
        {"id": "f-3", "question": "None?", "answers": [], "provenance": {}},
    ]
    path.write_text("\n".join([own, "", "no json", *map(json.dumps, rows)]))
    assert forget_promoted(path, {"c.md"}) == 0
    assert forget_promoted(path, {"a.md"}) == 2
    left = path.read_text().splitlines()
    assert left[:2] == [own, "no json"]
    assert [json.loads(line)["id"] for line in left[2:]] == ["f-2", "f-3"]
    assert json.loads(left[2])["answers"] == both[1:]
    assert forget_promoted(tmp_path / "nowhere.jsonl", {"a.md"}) == 0


# --- the command ----------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["feedback", SMALL, *arguments])


def test_the_command_lists_promotes_and_dismisses(corpus: Corpus) -> None:
    assert "No feedback is open." in run("list").output
    (_, boat), (_, gauge) = said(corpus, BOAT), said(corpus, GAUGE, "thumbs_down")
    rows = json.loads(run("list", "--json").output)
    assert {row["feedback"]["id"]: row["question"] for row in rows} == {boat: BOAT, gauge: GAUGE}
    listed = run().output
    assert boat[:12] in listed and "That is not right." in listed and gauge[:12] in listed
    done = run("promote", boat[:12], "--document", "boats.md")
    assert done.exit_code == 0 and "Added" in done.output
    assert golden_of(corpus)[-1]["provenance"]["promoted_by"] == operator()
    done = run("dismiss", gauge[:12], "--reason", "Tom Aldersley said that it is right")
    assert done.exit_code == 0
    (dismissed,) = corpus.ledger.feedback(SMALL, state="dismissed")
    assert dismissed.id == gauge and dismissed.note == "<PERSON> said that it is right"
    assert "No feedback is open." in run("list").output
    assert len(json.loads(run("list", "--state", "all", "--json").output)) == 2


def test_the_command_gives_the_line_where_the_golden_set_can_not_be_written(corpus: Corpus, tmp_path: Path) -> None:
    (_, boat), (_, gauge) = said(corpus, BOAT), said(corpus, GAUGE)
    golden = Path(str(corpus.policy.gate.golden))
    golden.unlink()
    golden.mkdir()  # nobody can write a file that is a folder
    failed = run("promote", boat, "--document", "boats.md")
    assert failed.exit_code == 1 and str(golden) in failed.stderr and "--output" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
    printed = run("promote", boat, "--document", "boats.md", "--output", "-")
    assert printed.exit_code == 0 and json.loads(printed.stdout)["question"] == BOAT
    kept = tmp_path / "repository" / "golden.jsonl"
    done = run("promote", gauge, "--document", "gauge.md", "--output", str(kept))
    assert done.exit_code == 0 and str(kept) in done.stdout
    assert [question.question for question in read_golden(kept)] == [GAUGE]
    assert "No feedback is open." in run("list").output
    golden.rmdir()
    golden.write_text(printed.stdout)  # the line has arrived here
    again = run("promote", boat, "--document", "boats.md", "--output", "-")
    assert (again.exit_code, again.stdout) == (0, "") and "there already" in again.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote",),
        ("list", "--output", "-"),
        ("promote", "abc", "--output", "-", "--json"),
        ("dismiss",),
        ("list", "abc"),
        ("dismiss", "abc"),
        ("approve", "abc"),
        ("promote", "no-such-id"),
    ],
)
def test_the_command_says_what_is_missing(corpus: Corpus, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code != 0 and done.output
