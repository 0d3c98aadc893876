"""Reading a model's reply while it is written, cutting passages to its context, and questions of conversations."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.answering.contract import Draft
from headwater.answering.generation.budget import estimate, fit
from headwater.answering.generation.conversation import MAX_CARRIED, MAX_HISTORY, MAX_TURNS, bounded, by_rule
from headwater.answering.generation.reply import ReplyReader, answer_schema
from headwater.embedding import Bm25Encoder
from headwater.errors import GenerationError
from headwater.sentences import split_sentences
from headwater.types import Passage, Turn
from tests.llm_server import sentences

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)


def read(text: str, passages: int = 9, piece: int = 5) -> tuple[ReplyReader, list[Draft]]:
    reader = ReplyReader(passages)
    drafts = []
    for start in range(0, len(text), piece):
        drafts += reader.feed(text[start : start + piece])
    return reader, drafts


# --- the reply --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(TEXT, st.lists(st.integers(-2, 12), max_size=5)), max_size=6), st.integers(1, 30), st.booleans()
)
def test_a_reply_gives_its_sentences_in_whatever_pieces_it_comes(
    written: list[tuple[str, list[int]]], piece: int, ascii_only: bool
) -> None:
    reply = json.dumps(
        {"refused": False, "sentences": [{"text": t, "cites": c} for t, c in written]}, ensure_ascii=ascii_only
    )
    reader, drafts = read(reply, 9, piece)
    assert reader.complete and reader.refused is False
    assert [draft.text for draft in drafts] == [" ".join(text.split()) for text, _ in written if text.split()]
    assert all(0 <= cite < 9 for draft in drafts for cite in draft.cites)


def test_a_bare_line_break_in_a_sentence_is_white_space() -> None:
    text = '{"refused": false, "sentences": [{"text": "Six\n\tweeks\x01of notice.", "cites": [2]}]}'
    reader, drafts = read(text)
    assert reader.complete and drafts == [Draft("Six weeks of notice.", (1,))]


def test_a_sentence_is_given_with_its_last_brace_not_later() -> None:
    reader = ReplyReader(3)
    reply = sentences(("Six weeks.", [1, 3]), ("Ten.", [2]))
    end = reply.index("}") + 1
    assert reader.feed(reply[: end - 1]) == []
    assert reader.feed(reply[end - 1 : end]) == [Draft("Six weeks.", (0, 2))]
    assert not reader.complete
    assert reader.feed(reply[end:]) == [Draft("Ten.", (1,))]
    assert reader.complete


def test_names_in_another_order_and_further_names_are_read() -> None:
    reply = '{"note": {"sentences": [1]}, "sentences": [{"cites": [2], "why": ["x", {"text": "no"}], "text": "A."}], "refused": false}'
    reader, drafts = read(reply)
    assert drafts == [Draft("A.", (1,))]
    assert reader.refused is False and reader.complete


def test_a_refusal_is_known_before_the_end() -> None:
    reader = ReplyReader(3)
    reader.feed('{"refused": true, "sen')
    assert reader.refused is True and not reader.complete


@pytest.mark.parametrize(
    ("cites", "left"),
    [
        ([0], ()),
        ([4], ()),
        ([-1], ()),
        ([], ()),
        ([1.5, 2], (1,)),
        ([3, 3, 1], (2, 0)),
        ([10**30, 1], (0,)),
        ([1, 2, 3, 1, 2], (0, 1, 2)),
    ],
)
def test_only_cites_of_given_passages_are_left(cites: list[float], left: tuple[int, ...]) -> None:
    _, drafts = read(json.dumps({"refused": False, "sentences": [{"text": "A.", "cites": cites}]}), 3)
    assert drafts == [Draft("A.", left)]


@pytest.mark.parametrize("around", ["```json\n{}\n```", "Here it is: {}", "<think>\n</think>\n\n{}  \n"])
def test_what_stands_around_the_object_is_passed_over(around: str) -> None:
    for piece in (1, 4, 1000):
        reader, drafts = read(around.replace("{}", sentences(("A.", [1]))), 3, piece)
        assert drafts == [Draft("A.", (0,))] and reader.complete


@pytest.mark.parametrize(
    "text",
    [
        '{"refused": fal se}',
        "{'refused': false}",
        '{"sentences": [}',
        '{"refused": false, "sentences": [{"text": "a" "b"}',
        "{]",
    ],
)
def test_what_is_no_json_is_malformed(text: str) -> None:
    with pytest.raises(GenerationError) as caught:
        read(text)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    "text",
    ["", "I can't say.", '{"refused": "yes"', '{"sentences": {"text": "A.", "cites": [1]}}', '{"sentences": ["A."]}'],
)
def test_what_has_no_sentences_gives_none(text: str) -> None:
    reader, drafts = read(text)
    assert drafts == [] and reader.refused is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}[]":, truefalsn0123abc\\', max_size=60), st.integers(1, 9))
def test_any_text_is_read_or_malformed(text: str, piece: int) -> None:
    try:
        _, drafts = read("{" + text, 5, piece)
    except GenerationError as error:
        assert error.code == "malformed"
    else:
        assert all(draft.text for draft in drafts)


def test_the_schema_admits_the_given_passages_alone() -> None:
    schema = answer_schema(3, 6, 400)
    sentence = schema["properties"]["sentences"]["items"]
    assert sentence["properties"]["cites"]["items"]["enum"] == [1, 2, 3]
    assert (sentence["properties"]["cites"]["minItems"], sentence["properties"]["cites"]["maxItems"]) == (1, 3)
    assert sentence["properties"]["text"]["maxLength"] == 400
    assert schema["properties"]["sentences"]["maxItems"] == 6
    assert list(schema["properties"]) == ["refused", "sentences"]  # a refusal is known first


# --- the budget -------------------------------------------------------------------------------------------------------


def passage(text: str, start: int = 100, name: str = "a") -> Passage:
    return Passage(name, name, f"{name}.md", "r", 1, name, (), None, start, start + len(text), text, 0.5)


LONG = [
    passage(" ".join(f"On day {day} of week {i} the keeper noted calm water." for day in range(30)), 50 * i, str(i))
    for i in range(6)
]


def words(passages: Sequence[Passage]) -> int:
    """A tokenizer: words, and 40 for the rest of the prompt."""
    return 40 + sum(len(one.text.split()) + 3 for one in passages)


@settings(deadline=None)
@given(st.integers(45, 2200))
def test_passages_fit_their_room_in_whole_sentences_with_their_true_spans(room: int) -> None:
    try:
        kept = fit(LONG, room, words)
    except GenerationError as error:
        assert error.code == "too_long" and room < 80
        return
    assert kept and words(kept) <= room
    for one, source in zip(kept, LONG, strict=False):
        assert source.text.startswith(one.text) and one.end == one.start + len(one.text) and one.start == source.start
        ends = [end for _, end in split_sentences(source.text)]
        assert len(one.text) in ends
    assert [one.text for one in kept[:-1]] == [one.text for one in LONG[: len(kept) - 1]]  # only the last is cut


def test_what_fits_is_left_as_it_is() -> None:
    assert fit(LONG, 10**6, words) == LONG


@settings(deadline=None)
@given(st.integers(200, 2200))
def test_most_of_the_room_is_used(room: int) -> None:
    assert words(fit(LONG, room, words)) > min(0.75 * room, words(LONG) - 1) - 25


def test_a_prompt_that_leaves_no_room_is_too_long() -> None:
    with pytest.raises(GenerationError, match="41 tokens"):
        fit(LONG, 41, words)


def test_the_estimate_errs_on_the_safe_side() -> None:
    for text in (
        LONG[0].text,
        "Die Kündigungsfrist beträgt sechs Wochen zum Monatsende.",
        "通知期間は六週間です。",
        "🚣" * 20,
    ):
        assert estimate(text) >= len(text.split())


# --- conversations ----------------------------------------------------------------------------------------------------

ENGLISH = Bm25Encoder()
NOTICE = Turn("How long is the notice period for crew members?", "Six weeks to the end of a month.")


@pytest.mark.parametrize(
    "question",
    [
        "And for crew leads?",
        "What about the first half year?",
        "Is it paid?",
        "Why?",
        "How do they hand it in?",
        "Und im ersten Jahr?",
    ],
)
def test_a_question_that_leans_on_the_last_one_takes_its_words_along(question: str) -> None:
    searched = by_rule(question, [NOTICE], ENGLISH)
    assert searched.startswith(question)
    assert {"notice", "period"} <= set(searched.split())


@pytest.mark.parametrize(
    "question",
    [
        "Which trains may be booked in first class by field engineers?",
        "Is it allowed to bring a dog to the canteen on the ground floor on Fridays?",
        "And which trains may field engineers book in first class on long journeys?",
        "What does a night away from home pay on top of the hotel bill?",
    ],
)
def test_a_question_that_stands_alone_is_left_as_it_is(question: str) -> None:
    assert by_rule(question, [NOTICE], ENGLISH) == question


def test_without_a_conversation_a_question_is_left_as_it_is() -> None:
    assert by_rule("And why?", [], ENGLISH) == "And why?"


def test_a_chain_of_follow_ups_reaches_back_to_the_question_that_stood_alone() -> None:
    older = Turn("Which trains may be booked in first class by engineers of the works?", "Those of four hours.")
    searched = by_rule("And then?", [older, NOTICE, Turn("And for crew leads?", "Ten weeks.")], ENGLISH)
    assert {"leads", "notice", "period"} <= set(searched.split())
    assert "trains" not in searched


def test_no_word_is_taken_along_twice_or_without_end() -> None:
    turns = [Turn(" ".join(f"and gauge{i}x{j}" for j in range(20)), "") for i in range(5)]
    carried = by_rule("And the gauge gauges?", turns, ENGLISH).removeprefix("And the gauge gauges? ").split()
    assert len(carried) == len(set(carried)) == MAX_CARRIED


@settings(deadline=None)
@given(st.lists(st.builds(Turn, st.text(max_size=5000), st.text(max_size=5000)), max_size=40))
def test_a_history_is_bounded_and_its_last_turns_are_kept(history: list[Turn]) -> None:
    kept = bounded(history)
    assert len(kept) <= MAX_TURNS
    assert sum(len(turn.question) + len(turn.answer) for turn in kept) <= MAX_HISTORY
    assert bool(kept) == bool(history)
    if history and len(history[-1].question) + len(history[-1].answer) <= MAX_HISTORY:
        assert kept[-1] == history[-1]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.lists(st.builds(Turn, st.text(max_size=60), st.text(max_size=20)), max_size=4))
def test_any_question_can_be_made_to_stand_alone(question: str, history: list[Turn]) -> None:
    assert by_rule(question, history, ENGLISH).startswith(question)
