"""Extractive answers: every sentence is a verbatim quote of a span, and what is not supported is not said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.answering import METHOD, answer_extractive, verify
from headwater.answering.candidates import candidates
from headwater.answering.extractive import NO_PASSAGES, NO_SUPPORT
from headwater.answering.kinds import fits_kind
from headwater.answering.support import coverage
from headwater.embedding import Embedder
from headwater.policies import AnswerPolicy
from headwater.types import Answer, Passage

LEAVE = (
    "Leaving us\n\nThe notice period for crew members is six weeks to the end of a month. "
    "It is three weeks in the first half year. Please return your boat pass to the duty desk.\n"
)
TRAVEL = (
    "Trains are booked through the office. First class is allowed on journeys of more than four hours. "
    "A night away from home is paid with thirty-two crowns on top of the hotel bill.\n"
)


def passage(text: str, doc: str = "leave", start: int = 1000, section: tuple[str, ...] = ("Leaving us",)) -> Passage:
    return Passage(
        chunk_id=f"{doc}-{start}",
        doc_id=doc,
        key=f"{doc}.md",
        revision="r-1",
        release=4,
        title=doc.title(),
        section=section,
        page=2,
        start=start,
        end=start + len(text),
        text=text,
        score=0.03,
    )


PASSAGES = [passage(LEAVE), passage(TRAVEL, "travel", 0, ("Travel",))]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def ask(embedder: Embedder, question: str, found: Sequence[Passage] = PASSAGES, **policy) -> Answer:
    return answer_extractive(question, found, embedder=embedder, policy=AnswerPolicy(**policy), release=4)


def texts(passages: Sequence[Passage]) -> list[str]:
    return [candidate.text for candidate in candidates(passages)]


# --- answers ------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_sentence_that_says_it_with_its_exact_span(embedder: Embedder) -> None:
    answer = ask(embedder, "How long is the notice period?", max_sentences=1)
    (sentence,) = answer.sentences
    (citation,) = sentence.citations
    assert sentence.text == "The notice period for crew members is six weeks to the end of a month."
    assert citation.quote == sentence.text == LEAVE[citation.start - 1000 : citation.end - 1000]
    assert (citation.doc, citation.key, citation.revision, citation.page, citation.section, citation.chunk_id) == (
        "leave",
        "leave.md",
        "r-1",
        2,
        ("Leaving us",),
        "leave-1000",
    )
    assert (answer.refused, answer.reason, answer.release, answer.method) == (False, None, 4, METHOD)


@pytest.mark.parametrize(
    "question",
    [
        "Who won the football cup in 1954?",
        "What is the boiling point of mercury?",
        "How do I reset my mailbox password?",
        "",
        "???",
    ],
)
def test_a_question_that_the_passages_do_not_answer_is_refused(embedder: Embedder, question: str) -> None:
    answer = ask(embedder, question)
    assert answer.refused
    assert answer.sentences == ()
    assert answer.reason == NO_SUPPORT
    assert answer.text == ""


def test_without_passages_the_question_is_refused(embedder: Embedder) -> None:
    answer = ask(embedder, "How long is the notice period?", [])
    assert (answer.refused, answer.reason) == (True, NO_PASSAGES)


def test_support_below_the_policy_is_refused(embedder: Embedder) -> None:
    assert not ask(embedder, "How long is the notice period?", min_support=0.3).refused
    assert ask(embedder, "How long is the notice period?", min_support=0.99).refused


def test_sentences_of_one_document_stand_in_reading_order(embedder: Embedder) -> None:
    text = (
        "Six weeks is the notice period of crew members. The kitchen opens at seven each day. "
        "The notice period of crew leads is ten weeks."
    )
    answer = ask(embedder, "How long is the notice period of crew leads?", [passage(text)], further_support=0.5)
    starts = [sentence.citations[0].start for sentence in answer.sentences]
    assert len(starts) >= 2
    assert starts == sorted(starts)


def test_a_fact_that_stands_in_two_documents_is_said_once(embedder: Embedder) -> None:
    same = "The notice period for crew members is six weeks to the end of a month."
    answer = ask(embedder, "How long is the notice period?", [passage(same, "a"), passage(same, "b")])
    assert [sentence.citations[0].doc for sentence in answer.sentences] == ["a"]


def test_sentences_far_below_the_best_are_not_added(embedder: Embedder) -> None:
    answer = ask(embedder, "How long is the notice period?", min_support=0.0)
    assert all("kitchen" not in sentence.text and "Trains" not in sentence.text for sentence in answer.sentences)


def test_only_as_many_passages_are_read_as_the_policy_says(embedder: Embedder) -> None:
    asked = "How long is the notice period?"
    assert ask(embedder, asked, [PASSAGES[1], PASSAGES[0]], passages=1).refused
    assert not ask(embedder, asked, [PASSAGES[1], PASSAGES[0]], passages=2).refused


def test_vectors_of_the_index_give_the_same_answer_as_embedding_the_passages(embedder: Embedder) -> None:
    vectors = embedder.encode_documents([f"{p.title}\n{p.text}" for p in PASSAGES])
    question = "How long is the notice period?"
    given_vectors = answer_extractive(
        question, PASSAGES, embedder=embedder, policy=AnswerPolicy(), release=4, passage_vectors=vectors
    )
    embedded = ask(embedder, question)
    assert [(s.text, s.citations) for s in given_vectors.sentences] == [
        (s.text, s.citations) for s in embedded.sentences
    ]
    # In bfloat16 a vector depends in its last bits on what it was batched with.
    for one, other in zip(given_vectors.sentences, embedded.sentences, strict=True):
        assert one.support == pytest.approx(other.support, abs=1e-3)


def test_the_same_passages_give_the_same_sentences(embedder: Embedder) -> None:
    first, second = (ask(embedder, "Is first class allowed on trains?") for _ in range(2))
    assert first.sentences == second.sentences
    assert first.id != second.id


def test_the_answer_to_a_question_of_a_faq_is_quoted_not_the_question(embedder: Embedder) -> None:
    faq = "Can I bring my dog to work?\nYes, on Fridays.\nHow long is the notice period?\nSix weeks.\nIs there a canteen?\nNo.\n"
    answer = ask(embedder, "Can I bring my dog to work?", [passage(faq)], max_sentences=1)
    assert [sentence.text for sentence in answer.sentences] == ["Yes, on Fridays."]


def test_a_passage_of_many_sentences_is_answered_from_any_of_them(embedder: Embedder) -> None:
    calm = " ".join(f"On day {day} of the season the keeper noted calm water and the usual boats." for day in range(99))
    text = f"{calm} A grey heron with a blue ring nested on the upper weir."
    answer = ask(embedder, "Where did the grey heron nest?", [passage(text)], min_support=0.4)
    assert "upper weir" in answer.text


# --- what can be an answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "Leaving us",
        "## Notice for members of the crew",
        "How long is the notice period?",
        "Q: tell me about the notice period",
        "See above.",
        "|---|:---:|",
        "----------",
        "| | |",
        "[Leave](leave.md) | [Travel](travel.md) | [Pay bands](hr/pay.md)",
        "https://works.example/policies/leave-and-notice-periods",
        "Notice and keys",
    ],
)
def test_headings_questions_fragments_rules_and_links_are_no_answers(line: str) -> None:
    text = f"The kitchen opens at seven each day.\n\n{line}\n\nThe river gauge is read by radio."
    assert line not in texts([passage(text)])
    assert len(texts([passage(text)])) == 2


@pytest.mark.parametrize(
    "line",
    [
        "The notice period is six weeks",
        "- Notice period: six weeks",
        "| Notice period | six weeks |",
        "See [the leave policy](leave.md) for the notice period of crew members.",
        "Die Kündigungsfrist beträgt sechs Wochen.",
    ],
)
def test_list_items_table_rows_and_plain_lines_can_be_answers(line: str) -> None:
    text = f"Some words about the works come first.\n\n{line}\n\nThe river gauge is read by radio."
    assert any(candidate in line and len(candidate) > len(line) / 2 for candidate in texts([passage(text)]))


def test_a_short_sentence_is_scored_with_its_heading() -> None:
    (found,) = candidates([passage("Notice period\n\nIt is six weeks.", section=("Notice period",))])
    assert (found.text, found.scored) == ("It is six weeks.", "Notice period\nIt is six weeks.")


def test_overlapping_passages_give_each_sentence_once() -> None:
    text = "The kitchen opens at seven each day. The river gauge is read by radio."
    second = text.index("The river")
    overlapping = [passage(text, start=0), passage(text[second:], start=second)]
    assert len(texts(overlapping)) == 2


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(0, 10**6))
def test_every_candidate_is_the_span_it_names(text: str, start: int) -> None:
    for candidate in candidates([passage(text, start=start)]):
        assert text[candidate.start : candidate.end] == candidate.text
        assert candidate.text.strip()


def test_coverage_counts_stems_and_weighs_numbers_double() -> None:
    found = candidates(
        [passage("The members of the crew paid 40 crowns. The member of our crew pays in 2031 perhaps.")]
    )
    shares = coverage("What did crew members pay in 2031?", found)
    assert shares[1] == pytest.approx(1.0)
    assert 0.3 < shares[0] < 0.7
    assert np.array_equal(coverage("what is it", found), [0.0, 0.0])


# --- the verifier ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "quote", "supported"),
    [
        ("Six weeks.", "It is so. Six weeks. Not more.", True),
        ("six\nweeks", "It is six   weeks long", True),
        ("(six weeks)", "x(six weeks)y", True),
        ("six weeks", "sixty-six weeksome", False),
        ("eight", "It is eighteen.", False),
        ("Six weeks", "It is six weeks", False),
        ("six weeks, always", "six weeks", False),
        ("", "six weeks", False),
        (" \n", "six weeks", False),
        ("a.b", "axb", False),
    ],
)
def test_the_verifier_asks_for_the_words_themselves(sentence: str, quote: str, supported: bool) -> None:
    assert verify(sentence, quote) is supported


@given(st.text(min_size=1, max_size=60), st.integers(0, 59), st.characters())
def test_a_sentence_supports_itself_and_no_changed_copy(text: str, at: int, other: str) -> None:
    if not text.strip():
        return
    assert verify(text, text)
    changed = text[:at] + other + text[at:]
    if not other.isspace() and len(" ".join(changed.split())) > len(" ".join(text.split())):
        assert not verify(changed, text)


# --- what a sentence is scored by -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "sentence", "fit"),
    [
        ("when does the lock open", "The lock opens every day in March.", 1.0),
        ("when does the lock open", "The lock belongs to the harbour.", -1.0),
        ("how many cars fit on it", "It carries forty cars and 9 bicycles.", 1.0),
        ("price of the crossing", "The crossing is popular with visitors.", -1.0),
        ("where is the yard", "The yard is located by the river.", 1.0),
        ("why is the gate shut", "The gate is shut because of the storm.", 1.0),
        ("who steers the ferry", "The ferry is steered by Ida Lund.", 1.0),
        ("who steers the ferry", "The ferry is steered with care.", -1.0),
        ("how is rope made", "Rope is twisted from strands.", 0.0),
        ("Wann öffnet die Schleuse?", "Sie öffnet im März.", 0.0),
    ],
)
def test_a_sentence_is_judged_by_the_kind_of_thing_asked_for(question: str, sentence: str, fit: float) -> None:
    assert fits_kind(question, sentence) == fit


def test_further_sentences_need_more_support_than_the_best(embedder: Embedder) -> None:
    text = (
        "Six weeks is the notice period of crew members. The kitchen opens at seven each day. "
        "The notice period of crew leads is ten weeks."
    )
    question = "How long is the notice period of crew leads?"
    lenient = ask(embedder, question, [passage(text)], further_support=0.3, min_support=0.3)
    strict = ask(embedder, question, [passage(text)], further_support=1.0, min_support=0.3)
    assert len(lenient.sentences) > len(strict.sentences) == 1


def test_a_quoted_sentence_is_aligned_with_its_whole_citation(embedder: Embedder) -> None:
    (sentence,) = ask(embedder, "How long is the notice period?", max_sentences=1).sentences
    (alignment,) = sentence.alignments
    (citation,) = sentence.citations
    assert sentence.text[alignment.start : alignment.end] == sentence.text
    assert (alignment.citation, alignment.source_start, alignment.source_end) == (0, citation.start, citation.end)
    assert sentence.verdict == "verbatim"
