from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["The pump runs.", "It is loud!", "Is it safe?", "Yes."],
        ["Ask Dr. Ilse Varga about it.", "She knows."],
        ["Use a small valve, e.g. Model 3, or i.e. none.", "Then wait."],
        ["The U.S. Navy ordered ten.", "They came late."],
        ["It was made in the U.S.", "The price rose."],
        ["Acme Inc. sells pumps.", "It was founded by J. R. Okafor."],
        ["We met at 5 p.m. on Monday.", "It rained."],
        ["Pi is about 3.14 and e is 2.72.", "Both are irrational."],
        ["See https://example.org/a.b?c=d. for details.", "Or call."],
        ["Open config.yaml.", "Then restart."],
        ["Wait... there is more.", "Well…", "Nothing happened."],
        ['"Stop!" she said.', '"Why?"', "He did not answer."],
        ["(See the annex.)", "It lists all parts."],
        ["He paid $4.50 (see Fig. 3) for No. 7.", "No.", "Yes."],
        ["We chose plan B.", "The first one failed."],
        ["Storage lasts 12 months.", "3 samples were lost."],
        ["Write to <PERSON>.", "<PERSON> answers."],
        ["Das Wasser ist kalt.", "Über Nacht friert es."],
    ],
)
def test_sentences_of_one_line(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


def test_scripts_with_their_own_full_stop_need_no_space() -> None:
    assert sentences("今日は晴れです。明日は雨です！本当？") == ["今日は晴れです。", "明日は雨です！", "本当？"]


def test_headings_list_items_and_table_rows_are_sentences() -> None:
    text = "Opening hours\n\nWe open at nine. We close at five.\n- bring water\n- bring shoes\n1. First do this. Then that.\n2. Go\nName | Price\nPump | 3.50"
    assert sentences(text) == [
        "Opening hours",
        "We open at nine.",
        "We close at five.",
        "- bring water",
        "- bring shoes",
        "1. First do this.",
        "Then that.",
        "2. Go",
        "Name | Price",
        "Pump | 3.50",
    ]


def test_a_wrapped_line_does_not_end_its_sentence() -> None:
    text = "The valve must be closed before the\nPump starts, or the seal\nbreaks. Afterwards,\nWednesday's shift opens it."
    assert sentences(text) == [
        "The valve must be closed before the\nPump starts, or the seal\nbreaks.",
        "Afterwards,\nWednesday's shift opens it.",
    ]


@pytest.mark.parametrize("text", ["", "   \n ", "...", ". . .", "\n\n.\n", "。"])
def test_little_or_no_text(text: str) -> None:
    assert "".join(sentences(text)).split() == "".join(text.split()).split()


@given(st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from(list(' .!?\n\n"ABab1,-。')))))
def test_spans_are_ordered_trimmed_and_cover_everything_but_space(text: str) -> None:
    spans = split_sentences(text)
    position = 0
    for start, end in spans:
        assert start < end
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip()
        position = end
    assert not text[position:].strip()
