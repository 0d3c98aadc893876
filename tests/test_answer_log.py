"""What is kept of answers: without personal data, no longer than the policy says, and given again only to whom it may be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from headwater.answer_log import AnswerCache, AnswerKey, key_of, scrubber
from headwater.answer_log.retention import expire_answers
from headwater.answer_log.scrubbing import FAILED, is_withheld
from headwater.answer_log.tables import OVERLAP, update_answer_log, update_feedback
from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.errors import NotFoundError
from headwater.lake import Table
from headwater.ledger import Ledger, Pointer
from headwater.ledger.engine import create_engine
from headwater.ledger.schema import answers as answers_table
from headwater.pipeline import Pipeline
from headwater.policies import PrivacyPolicy
from headwater.project import Project
from headwater.releases import collect_garbage, rollback
from headwater.types import Alignment, Answer, Citation, Passage, Principal, Sentence, Turn, Usage
from tests.conftest import SMALL, use_project, write_corpus

QUESTION = "Can Margaret Thistlewood, margaret@thistlewood.org, take the boat out?"
PASSAGE = Passage("c-1", "d-1", "boats.md", "r-1", 3, "Boats", (), None, 10, 60, "The duty desk lends the boat.", 0.03)
CITATION = Citation("d-1", 10, 39, "The duty desk lends the boat.", "boats.md", "Boats", (), None, "r-1", "c-1")
SENTENCE = Sentence("The duty desk lends it.", (CITATION,), 0.75, "supported", (Alignment(0, 22, 0, 10, 38),))
ANSWER = Answer(
    "a-1",
    QUESTION,
    (SENTENCE,),
    refused=False,
    reason=None,
    release=3,
    method="generated/1",
    searched="boat lending " + QUESTION,
    prompt="answer@2",
    model="tiny",
    fallback=None,
    dropped=("number", "unsafe"),
    usage=Usage(812, 40, 0.0021),
    timings={"search": 0.02, "total": 0.5},
    conversation="c-77",
    turn=2,
)
STAFF = Principal(frozenset({"staff"}), "portal")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as opened:
        yield opened


def record(ledger: Ledger, answer: Answer, *, corpus: str = "handbook", scrub: Any = str) -> str:
    ledger.record_answer(
        corpus, answer, passages=[PASSAGE], principal=STAFF, parameters={"k": 1}, seconds=0.5, scrub=scrub
    )
    return answer.id


def age(url: str, answer_id: str, days: float) -> None:
    """Make an answer older than it is."""
    engine = create_engine(url)
    with engine.begin() as connection:
        then = datetime.now(UTC) - timedelta(days=days)
        connection.execute(answers_table.update().where(answers_table.c.id == answer_id).values(asked_at=then))
    engine.dispose()


# --- the record -----------------------------------------------------------------------------------------------


def test_an_answer_is_stored_with_how_it_was_made_and_what_it_took(ledger: Ledger) -> None:
    record(ledger, ANSWER)
    found = ledger.answer("a-1")
    assert found is not None
    assert (found.prompt, found.model, found.fallback, found.cached) == ("answer@2", "tiny", None, False)
    assert (found.dropped, found.prompt_tokens, found.completion_tokens) == (("number", "unsafe"), 812, 40)
    assert (found.cost, found.timings, found.seconds) == (0.0021, {"search": 0.02, "total": 0.5}, 0.5)
    assert (found.conversation, found.turn) == ("c-77", 2)
    (sentence,) = found.sentences
    assert (sentence["verdict"], sentence["support"], sentence["characters"]) == ("supported", 0.75, 23)
    assert sentence["alignments"] == [{"start": 0, "end": 22, "citation": 0, "source_start": 10, "source_end": 38}]


def test_personal_data_is_in_no_byte_of_what_is_stored(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        record(ledger, ANSWER, scrub=scrubber(PrivacyPolicy()))
        same = record(ledger, replace(ANSWER, id="a-2", searched=QUESTION), scrub=scrubber(PrivacyPolicy()))
        found, alike = ledger.answer("a-1"), ledger.answer(same)
        assert found is not None and alike is not None
        assert found.question == "Can <PERSON>, <EMAIL_ADDRESS>, take the boat out?"
        assert found.searched.startswith("boat lending") and "Thistlewood" not in found.searched
        assert alike.searched == alike.question == found.question
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"take the boat out" in stored
    assert b"Thistlewood" not in stored and b"thistlewood" not in stored
    assert b"duty desk" not in stored  # nor text of a document


def test_a_question_is_scrubbed_even_where_documents_are_not() -> None:
    assert scrubber(PrivacyPolicy(enabled=False))("Call 020 7946 0018 for me") == "Call <PHONE_NUMBER> for me"


def test_what_a_corpus_keeps_in_its_documents_it_keeps_in_questions() -> None:
    policy = PrivacyPolicy(allow=["desk@works.org"])
    assert scrubber(policy)("Is desk@works.org right?") == "Is desk@works.org right?"
    assert scrubber(PrivacyPolicy())("Is desk@works.org right?") == "Is <EMAIL_ADDRESS> right?"


@pytest.mark.parametrize(
    "policy",
    [
        PrivacyPolicy(actions={"EMAIL_ADDRESS": "hash"}, key_env="HEADWATER_NO_SUCH_KEY"),  # its key is not there
        PrivacyPolicy(spacy_model="no_such_pipeline"),
    ],
)
def test_a_question_that_could_not_be_scrubbed_is_withheld(policy: PrivacyPolicy) -> None:
    scrub = scrubber(policy)
    assert scrub("Is ilse@works.org on leave?") == FAILED
    assert is_withheld(FAILED)


def test_scrubbing_that_failed_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_TEST_KEY", raising=False)
    policy = PrivacyPolicy(actions={"EMAIL_ADDRESS": "hash"}, key_env="HEADWATER_TEST_KEY")
    assert scrubber(policy)("Is ilse@works.org on leave?") == FAILED
    monkeypatch.setenv("HEADWATER_TEST_KEY", "a secret of some length")
    found = scrubber(policy)("Is ilse@works.org on leave?")
    assert found != FAILED and "ilse" not in found and found.endswith("on leave?")


def test_a_question_with_what_no_document_may_hold_is_withheld_and_says_why() -> None:
    found = scrubber(PrivacyPolicy(actions={"EMAIL_ADDRESS": "reject_document"}))("Is ilse@works.org on leave?")
    assert is_withheld(found) and "EMAIL_ADDRESS" in found and "ilse" not in found


def test_the_same_text_is_searched_for_personal_data_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater import privacy

    calls = []
    real = privacy.anonymize

    def counted(texts: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(len(texts))
        return real(texts, *arguments, **options)

    monkeypatch.setattr(privacy, "anonymize", counted)
    scrub = scrubber(PrivacyPolicy(allow=["a policy of this test's own"]))
    first = [scrub(text) for text in ("Where is Bram Oosterhuis?", "Where is the boat?", "Where is Bram Oosterhuis?")]
    assert first[0] == first[2] == "Where is <PERSON>?" and len(calls) == 2
    scrubber(PrivacyPolicy(allow=["a policy of this test's own"]))("Where is the boat?")
    assert len(calls) == 2


# --- listing and keeping --------------------------------------------------------------------------------------


def test_answers_are_listed_newest_first_page_by_page(ledger: Ledger) -> None:
    names = [record(ledger, replace(ANSWER, id=f"a-{number}", refused=number % 2 == 0)) for number in range(7)]
    record(ledger, replace(ANSWER, id="elsewhere"), corpus="policies")
    seen: list[str] = []
    place = None
    while page := ledger.answers("handbook", before=place, limit=3):
        seen += [found.id for found in page]
        place = (page[-1].asked_at, page[-1].id)
    assert sorted(seen) == names and len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert [found.id for found in ledger.answers("handbook", refused=True)] == ["a-6", "a-4", "a-2", "a-0"]
    assert ledger.answers("handbook", since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert [found.id for found in ledger.each_answer("handbook")] == names
    assert ledger.answer_ids("policies") == {"elsewhere"}


def test_answers_leave_with_their_feedback_when_their_time_is_over(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("old", "new"):
        record(ledger, replace(ANSWER, id=name))
        ledger.record_feedback(name, "thumbs_down", by="key:1")
    record(ledger, replace(ANSWER, id="elsewhere"), corpus="policies")
    for name in ("old", "elsewhere"):
        age(f"sqlite:///{tmp_path}/ledger.db", name, 31)
    assert ledger.expire_answers("handbook", datetime.now(UTC) - timedelta(days=30)) == 1
    assert ledger.answer_ids("handbook") == {"new"} and ledger.answer_ids("policies") == {"elsewhere"}
    assert [found.answer_id for found in ledger.feedback("handbook")] == ["new"]


def test_an_erasure_takes_what_was_searched_for_and_what_people_wrote(ledger: Ledger) -> None:
    phrase = "the amber lantern hangs in the third boathouse"
    record(ledger, replace(ANSWER, id="a-2", question="Where?", searched=f"Is it true that {phrase}?"))
    record(ledger, replace(ANSWER, id="a-3"))
    quoting = ledger.record_feedback("a-3", "correction", by="key:1", text=f"No: {phrase}.")
    other = ledger.record_feedback("a-3", "correction", by="key:2", text="No, it is blue.")
    assert ledger.forget_answers("handbook", "d-9", phrases=[phrase]) == 1
    assert ledger.answer_ids("handbook") == {"a-3"}
    assert quoting not in [found.id for found in ledger.feedback("handbook")]
    assert [found.id for found in ledger.feedback("handbook")] == [other]
    assert ledger.forget_answers("handbook", "d-1") == 1
    assert ledger.feedback("handbook") == []


def test_a_ledger_of_before_keeps_its_answers(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from headwater.ledger.engine import write
    from headwater.ledger.migrate import MIGRATIONS

    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    with write(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        old = {
            **dict.fromkeys(("id", "corpus", "question", "principal", "method"), "x"),
            **dict.fromkeys(("groups", "passages"), "[]"),
            "parameters": "{}",
            "sentences": json.dumps([{"support": 0.6, "digest": "0", "citations": []}]),
            "asked_at": "2026-01-02 03:04:05",
            "refused": False,
            "release": 1,
            "seconds": 0.1,
        }
        names = ", ".join(old)
        values = ", ".join(f":{name}" for name in old)
        connection.execute(sa.text(f"INSERT INTO answers ({names}) VALUES ({values})"), old)
    engine.dispose()
    with closing(Ledger(url)) as ledger:
        (found,) = ledger.answers("x")
        assert (found.searched, found.dropped, found.timings, found.cached, found.turn) == ("", (), {}, False, 0)
        ledger.record_feedback("x", "thumbs_up", by="key:1")


# --- the cache ------------------------------------------------------------------------------------------------

POINTER = Pointer(3, 0)
ASKED: dict[str, Any] = {
    "corpus": "handbook",
    "pointer": POINTER,
    "release": 3,
    "readers": frozenset({"*", "staff"}),
    "question": "Who lends the boat?",
    "prompt": "answer@2",
    "model": "tiny",
    "parameters": {"a": 1, "b": [1, {"c": None}]},
    "filters": {"language": ["en", "de"]},
    "history": (Turn("Is there a boat?", "Yes."),),
}


def key(**changes: Any) -> AnswerKey:
    return key_of(**{**ASKED, **changes})


def cache(max_bytes: int = 10**6, seconds: float = 60.0) -> AnswerCache:
    made = AnswerCache(max_bytes, seconds)
    made.follow(POINTER)
    return made


CHANGES: dict[str, Any] = {
    "corpus": "policies",
    "pointer": Pointer(3, 1),
    "release": 2,
    "readers": frozenset({"*"}),
    "question": "Who lends the Boat?",
    "prompt": "answer@3",
    "model": "other",
    "rewrite": "rewrite@2",
    "parameters": {"a": 1, "b": [1, {"c": 0}]},
    "filters": {"language": ["de", "en"]},
    "history": (),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_answer_is_given_again_only_for_all_of_the_same(what: str) -> None:
    held = cache()
    held.put(key(), ANSWER, [PASSAGE])
    assert held.get(key()) is not None
    assert held.get(key(**{what: CHANGES[what]})) is None


def test_groups_do_not_run_together() -> None:
    assert key(readers=frozenset({"a", "b"})) == key(readers=frozenset({"b", "a"}))
    assert key(readers=frozenset({"a,b"})) != key(readers=frozenset({"a", "b"}))
    assert key(readers=frozenset({"ab", "c"})) != key(readers=frozenset({"a", "bc"}))


def test_order_of_names_and_white_space_do_not_matter() -> None:
    assert key(parameters={"b": [1, {"c": None}], "a": 1}) == key()
    held = cache()
    held.put(key(), ANSWER, [PASSAGE])
    assert held.get(key(question=" Who  lends the boat?\n")) is not None
    assert key(filters="language = 'en'").asked != key(filters="language = 'de'").asked


def test_an_answer_given_again_is_one_of_its_own() -> None:
    held = cache()
    held.put(key(), replace(ANSWER, searched=ANSWER.question), [PASSAGE], rewrite="rewrite@3")
    found = held.get(key(question="Who lends the  boat?"), conversation="c-9", turn=4)
    assert found is not None and (found.passages, found.rewrite) == ((PASSAGE,), "rewrite@3")
    again = found.answer
    assert again.id != ANSWER.id and again.cached and again.sentences == ANSWER.sentences
    assert (again.usage, dict(again.timings), again.conversation, again.turn) == (None, {}, "c-9", 4)
    assert (again.question, again.searched) == ("Who lends the  boat?", "Who lends the  boat?")
    second = held.get(key())
    assert second is not None and second.answer.id != again.id


def test_a_stopgap_is_not_kept() -> None:
    held = cache()
    held.put(key(), replace(ANSWER, fallback="The model is away."), [PASSAGE])
    assert len(held) == 0 and held.get(key()) is None


def test_the_least_recently_used_go_when_there_is_no_room() -> None:
    one = cache()
    one.put(key(), ANSWER, [PASSAGE])
    held = cache(int(one.bytes * 3.5))
    for number in range(3):
        held.put(key(question=f"{number}"), ANSWER, [PASSAGE])
    assert held.get(key(question="0")) is not None
    held.put(key(question="3"), ANSWER, [PASSAGE])
    assert [held.get(key(question=f"{number}")) is not None for number in range(4)] == [True, False, True, True]
    assert held.bytes <= one.bytes * 3.5
    long = replace(PASSAGE, text="x" * int(one.bytes * 4))
    held.put(key(question="long"), ANSWER, [long])
    assert held.get(key(question="long")) is None and len(held) == 3
    nothing = cache(0)
    nothing.put(key(), ANSWER, [PASSAGE])
    assert nothing.get(key()) is None


def test_an_answer_is_not_given_again_after_its_time() -> None:
    held = cache(seconds=0.05)
    held.put(key(), ANSWER, [PASSAGE])
    deadline = time.monotonic() + 20
    while held.get(key()) is not None:
        assert time.monotonic() < deadline
    assert len(held) == 0 and held.bytes == 0


def test_nothing_of_another_state_of_the_corpus_is_kept_or_given() -> None:
    held = cache()
    held.put(key(), ANSWER, [PASSAGE])
    held.follow(POINTER)
    assert len(held) == 1
    held.follow(Pointer(3, 1))
    assert len(held) == 0
    held.put(key(), ANSWER, [PASSAGE])  # begun before the change
    assert len(held) == 0
    held.follow(POINTER)  # back again: what was there is gone all the same
    assert held.get(key()) is None


# --- in a corpus ----------------------------------------------------------------------------------------------

FILES = {
    "pay.md": "# Pay\n\nThe pay band of field engineers starts at forty-one thousand crowns a year in Velmora.\n",
    "hr/pay.md": "# Pay of the board\n\nThe pay band of board members starts at ninety thousand crowns a year in Velmora.\n",
    "boats.md": "# Boats\n\nThe duty desk lends the green rowing boat for two hours to whoever asks before noon.\n",
}
ACCESS = [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]
HR = Principal(frozenset({"hr"}), "hr desk")
BOARD = "Where does the pay band of board members start?"
BOAT = "For how long is the green rowing boat lent?"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("answer_log") / "project"
    with pytest.MonkeyPatch.context() as patch:
        made = use_project(root, patch)
        folder = write_corpus(root, SMALL, FILES, access=ACCESS)
        with open_corpus(folder) as corpus:
            Pipeline(corpus, workers=1).run()
        yield made


@pytest.fixture
def corpus(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(project.root, root, copy_function=shutil.copy2)
    use_project(root, monkeypatch)
    with open_corpus(root / "assets" / SMALL) as opened:
        yield opened


def test_the_second_time_a_question_is_answered_from_the_cache_and_logged_as_such(corpus: Corpus) -> None:
    first, second = corpus.answer(BOAT), corpus.answer(BOAT)
    assert not first.refused and (first.cached, second.cached) == (False, True)
    assert first.id != second.id and first.sentences == second.sentences
    kept = corpus.ledger.answer(second.id)
    assert kept is not None and kept.cached and kept.passages and kept.sentences
    assert "two hours" not in json.dumps([*kept.passages, *kept.sentences])


def test_nobody_gets_an_answer_that_was_cached_for_others(corpus: Corpus) -> None:
    for _ in range(2):
        theirs = corpus.answer(BOARD, principal=HR)
        ours = corpus.answer(BOARD)
        others = corpus.answer(BOARD, principal=Principal(frozenset({"crew"}), "hr desk"))
        assert {c.key for s in theirs.sentences for c in s.citations} == {"hr/pay.md"}
        for answer in (ours, others):
            assert all(c.key != "hr/pay.md" for s in answer.sentences for c in s.citations)
            assert "ninety" not in answer.text
    assert theirs.cached and ours.cached and others.cached


def held(corpus: Corpus) -> int:
    """Return how many answers are cached, once the corpus has looked where its pointer is."""
    corpus.refresh()
    return len(corpus.answer_cache)


def reindexed(folder: Path) -> None:
    """Reindex as another process would."""
    with open_corpus(folder) as other:
        Pipeline(other, workers=1).run()


def folder_of(corpus: Corpus) -> Path:
    return corpus.project.root / "assets" / SMALL


def test_a_new_release_and_a_rollback_empty_the_cache(corpus: Corpus) -> None:
    assert not corpus.answer(BOAT).refused and held(corpus) == 1
    boats = folder_of(corpus) / "documents" / "boats.md"
    boats.write_text(boats.read_text().replace("two hours", "five hours"))
    reindexed(folder_of(corpus))
    assert held(corpus) == 0
    now = corpus.answer(BOAT)
    assert "five hours" in now.text and not now.cached and held(corpus) == 1
    with open_corpus(folder_of(corpus)) as other:
        rollback(other, reason="five is too long")
    assert held(corpus) == 0
    assert "two hours" in corpus.answer(BOAT).text


def test_a_revoked_permission_empties_the_cache(corpus: Corpus) -> None:
    assert "ninety" in corpus.answer(BOARD, principal=HR).text and held(corpus) == 1
    write_corpus(
        corpus.project.root, SMALL, {}, access=[{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["board"]}]
    )
    reindexed(folder_of(corpus))
    assert held(corpus) == 0
    assert "ninety" not in corpus.answer(BOARD, principal=HR).text


def test_an_erasure_empties_the_cache(corpus: Corpus) -> None:
    assert not corpus.answer(BOAT).refused and held(corpus) == 1
    with open_corpus(folder_of(corpus)) as other:
        assert erase(other, "boats.md", reason="asked").verified.found == 0
    assert held(corpus) == 0
    assert "two hours" not in corpus.answer(BOAT).text


# --- the tables -----------------------------------------------------------------------------------------------


def ids(corpus: Corpus) -> set[str]:
    return set(corpus.tables.answer_log.read(["id"])["id"])


def test_the_log_of_a_corpus_that_nobody_asked_is_empty(corpus: Corpus) -> None:
    report = update_answer_log(corpus)
    assert (report.rows, report.written, report.removed, report.version) == (0, 0, 0, None)
    assert update_feedback(corpus).rows == 0
    assert corpus.tables.answer_log.scan().collect().is_empty()


def test_the_log_takes_up_what_is_new_and_loses_what_is_too_old(corpus: Corpus) -> None:
    first, second = corpus.answer(BOAT), corpus.answer(BOAT)
    report = update_answer_log(corpus)
    assert (report.rows, report.written) == (2, 2)
    again = update_answer_log(corpus)
    assert (again.written, again.version) == (0, report.version)  # nothing new: nothing is written
    third = corpus.answer(BOARD)
    report = update_answer_log(corpus)
    assert (report.rows, report.written, report.removed) == (3, 1, 0)
    rows = {row["id"]: row for row in corpus.tables.answer_log.scan().collect().iter_rows(named=True)}
    assert rows[first.id]["cached"] is False and rows[second.id]["cached"] is True
    assert rows[first.id]["sentences"] == len(first.sentences)
    assert rows[first.id]["answer_characters"] == sum(len(sentence.text) for sentence in first.sentences)
    assert rows[first.id]["best_support"] == max(sentence.support for sentence in first.sentences)
    assert rows[third.id]["refused"] is third.refused
    age(corpus.project.ledger_url, first.id, 91)
    report = update_answer_log(corpus)
    assert (report.expired, report.removed, report.rows) == (1, 1, 2)
    assert ids(corpus) == {second.id, third.id}


def test_an_answer_whose_row_is_written_late_is_not_missed(corpus: Corpus) -> None:
    early, late = corpus.answer(BOAT), corpus.answer(BOARD)
    age(corpus.project.ledger_url, early.id, (OVERLAP / timedelta(days=1)) / 2)
    with corpus.ledger._engine.begin() as connection:  # as if its transaction had ended after the first update
        (row,) = connection.execute(answers_table.select().where(answers_table.c.id == early.id)).mappings().all()
        connection.execute(answers_table.delete().where(answers_table.c.id == early.id))
    update_answer_log(corpus)
    assert ids(corpus) == {late.id}
    with corpus.ledger._engine.begin() as connection:
        connection.execute(answers_table.insert().values(**row))
    update_answer_log(corpus)
    assert ids(corpus) == {late.id, early.id}


def test_no_text_of_a_question_or_document_is_in_the_lake(corpus: Corpus) -> None:
    asked = "How many sculls would Quillon lend beside the green rowing boat?"
    answer = corpus.answer(asked, conversation="chat of a certain person")
    corpus.ledger.record_feedback(answer.id, "correction", by="key:1", text="Quillon lends nothing at all")
    update_answer_log(corpus)
    update_feedback(corpus)
    assert update_feedback(corpus).written == 0
    for table in (corpus.tables.answer_log, corpus.tables.feedback):
        shown = str(table.scan().collect().to_dicts())
        assert answer.id in shown
        assert not any(word in shown for word in ("Quillon", "sculls", "rowing", "certain person"))


def test_feedback_that_is_replaced_reviewed_or_gone_is_followed(corpus: Corpus) -> None:
    answer = corpus.answer(BOAT)
    name = corpus.ledger.record_feedback(answer.id, "thumbs_up", by="key:1")
    update_feedback(corpus)
    corpus.ledger.record_feedback(answer.id, "thumbs_down", by="key:1")
    assert update_feedback(corpus).written == 1
    corpus.ledger.review_feedback(name, "dismissed", by="os:me")
    assert update_feedback(corpus).written == 1
    (row,) = corpus.tables.feedback.scan().collect().to_dicts()
    assert (row["kind"], row["review"], row["has_text"]) == ("thumbs_down", "dismissed", False)
    age(corpus.project.ledger_url, answer.id, 91)
    update_answer_log(corpus)
    assert update_feedback(corpus).removed == 1
    assert corpus.tables.feedback.scan().collect().is_empty()


def test_erasing_a_document_leaves_the_rows_of_other_answers(corpus: Corpus) -> None:
    about, other = corpus.answer(BOAT), corpus.answer("Where does the pay band of field engineers start?")
    update_answer_log(corpus)
    read = corpus.ledger.answer(other.id)
    assert read is not None
    receipt = erase(corpus, "boats.md", reason="asked")
    assert receipt.verified.found == 0 and receipt.removed.answers >= 1
    update_answer_log(corpus)
    assert about.id not in ids(corpus)
    assert ids(corpus) == corpus.ledger.answer_ids(SMALL)


def test_garbage_collection_takes_answers_beyond_their_time(corpus: Corpus) -> None:
    old, new = corpus.answer(BOAT), corpus.answer(BOARD)
    age(corpus.project.ledger_url, old.id, 90.5)
    assert collect_garbage(corpus).answers == 1
    assert corpus.ledger.answer_ids(SMALL) == {new.id}


def test_answers_are_kept_for_ever_where_the_policy_says_so(corpus: Corpus) -> None:
    old = corpus.answer(BOAT)
    age(corpus.project.ledger_url, old.id, 4000)
    corpus.policy = corpus.policy.model_copy(
        update={"answer": corpus.policy.answer.model_copy(update={"retention_days": None})}
    )
    assert expire_answers(corpus) == 0
    assert corpus.ledger.answer_ids(SMALL) == {old.id}
    assert expire_answers(corpus, datetime.now(UTC) + timedelta(days=9000)) == 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_table_of_an_earlier_version_is_made_anew(corpus: Corpus, asked: bool) -> None:
    table = corpus.tables.answer_log
    earlier = pa.schema([*list(table.schema)[:4], ("speed", pa.float64())])
    row = {"id": "a-0", "doc_id": "", "fingerprint": "", "asked_at": datetime.now(UTC), "speed": 1.0}
    Table(table.path, earlier).replace(pa.Table.from_pylist([row], schema=earlier).to_batches())
    kept = {corpus.answer(BOAT).id} if asked else set()
    assert update_answer_log(corpus).rows == len(kept)
    assert table.same_schema() and ids(corpus) == kept


def test_feedback_on_an_unknown_answer_is_an_error(corpus: Corpus) -> None:
    with pytest.raises(NotFoundError, match="no-such"):
        corpus.ledger.record_feedback("no-such", "thumbs_up", by="key:1")


def test_tables_of_the_log_are_in_no_release(corpus: Corpus) -> None:
    corpus.answer(BOAT)
    update_answer_log(corpus)
    assert {"answer_log", "feedback"}.isdisjoint(corpus.tables.versions())
    assert isinstance(corpus.tables.answer_log.scan().collect(), pl.DataFrame)


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_lists_answers_shows_one_and_says_what_is_missing(corpus: Corpus) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["answers", SMALL, *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert "No answers are kept." in run()
    good, again = corpus.answer(BOAT), corpus.answer(BOAT)
    opera = corpus.answer("What does a season ticket to the opera cost?")
    assert opera.refused
    listed = run()
    assert all(answer.id in listed for answer in (good, again, opera))
    assert "from the cache" in listed and "refused" in listed
    assert [row["id"] for row in json.loads(run("--refused", "--json"))] == [opera.id]
    assert json.loads(run("--limit", "1", "--days", "1", "--json"))[0]["id"] == opera.id
    shown = json.loads(run(good.id))
    assert shown["question"] == BOAT and shown["sentences"][0]["citations"][0]["key"] == "boats.md"
    (gap,) = json.loads(run("--missing", "--json"))
    assert (gap["question"], gap["refused"]) == (opera.question, 1)
    assert opera.question in run("--missing")


def test_an_answer_of_another_corpus_is_not_shown(corpus: Corpus) -> None:
    record(corpus.ledger, ANSWER, corpus="policies")
    done = CliRunner().invoke(app, ["answers", SMALL, ANSWER.id])
    assert done.exit_code == 1 and "boat" not in done.output
