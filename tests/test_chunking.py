from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from headwater import ChunkPolicy, Element, ParsedDocument, RowError, chunk
from headwater.chunking import embedded_text
from headwater.embedding import load_tokenizer, tokenizing
from headwater.embedding.tokenizing import TextTokenizer, text_tokenizer

MINILM = load_tokenizer(None)


def byte_level() -> Tokenizer:
    """A tokenizer of the other kind: spaces belong to tokens, and one character can take several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the pump and the valve of the pump house are in the valley"] * 3, trainer)
    return tokenizer


BYTE_LEVEL = byte_level()


def document(
    parts: list[tuple[str, str, tuple[str, ...]]], title: str | None = None, gap: str = "\n\n"
) -> ParsedDocument:
    """Make a document of ``(kind, text, section)`` parts."""
    text, elements = "", []
    for kind, piece, section in parts:
        text += gap if text else ""
        elements.append(Element(kind, piece, None, section, len(text), len(text) + len(piece)))
        text += piece
    return ParsedDocument(text, tuple(elements), {"title": title})


SLACK = 2
"""Tokens that an overlap may have more on its own than as a part of the text, with a tokenizer that looks at spaces."""


def check(parsed: ParsedDocument, policy: ChunkPolicy, tokenizer: Tokenizer, prompt: str = "") -> None:
    """Assert everything that must hold of any chunking."""
    title = parsed.metadata.get("title") or ""
    position = 0
    start = -1
    for piece in chunk(parsed, policy, tokenizer=tokenizer, prompt=prompt):
        assert piece.text == parsed.text[piece.start : piece.end] == piece.text.strip() != ""
        assert not parsed.text[position : piece.start].strip(), "text was left out"
        assert piece.start >= position or policy.overlap_tokens, "chunks overlap"
        assert piece.start > start and piece.end > position, "a chunk says nothing new"
        repeated = tokenizer.encode(parsed.text[piece.start : position], add_special_tokens=False).ids
        assert len(repeated) <= policy.overlap_tokens + SLACK
        start, position = piece.start, piece.end
        header = piece.table_header
        if header is not None:  # further up in the table that the chunk begins within
            (table,) = (e for e in parsed.elements if e.start <= piece.start < e.end)
            assert table.kind == "Table" and table.text.split("\n")[0].strip() == header
            assert "\n" in parsed.text[table.start : piece.start]
        embedded = prompt + embedded_text(title, piece.section, piece.text, policy, tokenizer, table_header=header)
        assert list(piece.ids) == tokenizer.encode(embedded).ids
        assert piece.tokens == len(piece.ids) <= policy.max_tokens
    assert not parsed.text[position:].strip(), "text was left out"


WORDS = st.one_of(
    st.text(min_size=1, max_size=12),
    st.sampled_from(
        ["valve", "pump", "a", "3.14", "don't", "[SEP]", "unaffable", "e.g.", "End.", "Why?", "\t", "\n", "\n\n"]
    ),
    st.sampled_from(
        ["ポンプを止めてください。次に弁を閉じます。" * 9, "ปิดวาล์วก่อนเปิดปั๊มน้ำ" * 30, "👩‍🔧🔧" * 40, "é" * 300]
    ),
    st.sampled_from(["x" * 10_000, "ab1/" * 700, "deadbeef" * 50, "|---|---|" * 30]),
)
ROWS = st.lists(
    st.lists(st.one_of(WORDS.map(lambda word: word[:90]), st.sampled_from(["Pump", "2024", "17.5"])), max_size=4).map(
        lambda cells: "| " + " | ".join(cells).replace("\n", " ") + " |"
    ),
    min_size=2,
    max_size=30,
)
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["NarrativeText", "Title", "ListItem", "Table", "Text"]),
        st.one_of(st.lists(WORDS, min_size=1, max_size=30).map(" ".join), ROWS.map("\n".join)),
        st.lists(
            st.sampled_from(["Safety", "Start", "A heading of several more words than usual", "弁"]), max_size=3
        ).map(tuple),
    ),
    max_size=8,
)


@pytest.mark.parametrize("tokenizer", [MINILM, BYTE_LEVEL], ids=["wordpiece", "byte-level"])
@settings(max_examples=60, deadline=None)
@given(
    parts=PARTS,
    title=st.one_of(st.none(), st.text(max_size=200)),
    gap=st.sampled_from(["\n\n", "\n", " ", "\n\nbetween the elements\n\n"]),
    max_tokens=st.integers(16, 80),
    min_tokens=st.integers(0, 40),
    context=st.booleans(),
    overlap=st.sampled_from([0, 0, 5, 8]),
    prompt=st.sampled_from(["", "passage: ", "passage:"]),
)
def test_no_text_is_lost_and_no_chunk_exceeds_the_cap(
    tokenizer: Tokenizer,
    parts: list[tuple[str, str, tuple[str, ...]]],
    title: str | None,
    gap: str,
    max_tokens: int,
    min_tokens: int,
    context: bool,
    overlap: int,
    prompt: str,
) -> None:
    cap = max_tokens + len(tokenizer.encode(prompt).ids)  # what is left is enough for any character
    policy = ChunkPolicy(max_tokens=cap, min_tokens=min_tokens, context=context, overlap_tokens=overlap)
    check(document(parts, title, gap), policy, tokenizer, prompt)


SENTENCE = "The pump of house number {} runs for nine hours every day and rests at night. "


def prose(sentences: int) -> str:
    return "".join(SENTENCE.format(i) for i in range(sentences)).strip()


def test_a_document_without_elements_is_cut_at_paragraphs_and_sentences() -> None:
    text = "\n\n".join(prose(n) for n in (3, 40, 2))
    chunks = chunk(ParsedDocument(text, ()))
    assert len(chunks) > 3
    assert all(piece.text.endswith("night.") for piece in chunks)
    check(ParsedDocument(text, ()), ChunkPolicy(), MINILM)


def test_a_chunk_stays_inside_its_section_and_a_heading_goes_with_what_follows() -> None:
    parsed = document(
        [
            ("Title", "Pumps", ()),
            ("NarrativeText", prose(4), ("Pumps",)),
            ("Title", "Valves", ()),
            ("Title", "Closing", ("Valves",)),
            ("NarrativeText", prose(4), ("Valves", "Closing")),
        ]
    )
    first, second = chunk(parsed)
    assert first.text.startswith("Pumps\n\nThe pump") and first.section == ("Pumps",)
    assert second.text.startswith("Valves\n\nClosing\n\nThe pump") and second.section == ("Valves", "Closing")


def test_a_heading_does_not_end_a_full_chunk() -> None:
    parts = [("NarrativeText", prose(5), ()), ("Title", "A note on noise", ()), ("NarrativeText", prose(5), ())]
    policy = ChunkPolicy(max_tokens=120)
    first, second = chunk(document(parts), policy)
    assert not first.text.endswith("noise")
    assert second.text.startswith("A note on noise")


def test_small_sections_join_under_their_parent_but_not_across_parents() -> None:
    parsed = document(
        [
            ("ListItem", "Bring gloves.", ("Safety", "Hands")),
            ("ListItem", "Bring a helmet.", ("Safety", "Head")),
            ("ListItem", "Press the button.", ("Start", "Button")),
        ]
    )
    first, second = chunk(parsed)
    assert first.text == "Bring gloves.\n\nBring a helmet." and first.section == ("Safety",)
    assert second.text == "Press the button." and second.section == ("Start", "Button")


def test_min_tokens_zero_keeps_small_sections_apart() -> None:
    parsed = document([("ListItem", "Bring gloves.", ("Hands",)), ("ListItem", "Bring a helmet.", ("Head",))])
    assert len(chunk(parsed, ChunkPolicy(min_tokens=0))) == 2
    assert len(chunk(parsed)) == 1


def test_a_long_table_is_cut_between_rows() -> None:
    rows = [f"pump {i} | house {i} | {i * 7} hours | checked" for i in range(60)]
    chunks = chunk(document([("Table", "\n".join(rows), ())]))
    assert len(chunks) > 2
    assert [row for piece in chunks for row in piece.text.split("\n")] == rows


def table(rows: int, header: str = "| Pump | Hours in 2023 | 2024 |") -> str:
    return "\n".join([header, "| --- | --- | --- |", *(f"| P{i} | {i * 7} | {i * 9} |" for i in range(rows))])


def test_every_later_piece_of_a_table_has_its_header() -> None:
    parts = [("NarrativeText", prose(2), ()), ("Table", table(60), ()), ("NarrativeText", prose(9), ())]
    first, *later = chunk(document(parts, "Log"))
    inside = [piece for piece in later if piece.text.startswith("| P")]
    assert len(inside) >= 2 and first.table_header is None
    assert {piece.table_header for piece in inside} == {"| Pump | Hours in 2023 | 2024 |"}
    assert {piece.table_header for piece in later if piece not in inside} <= {None}
    assert all("Pump" not in piece.text for piece in inside)
    check(document(parts, "Log"), ChunkPolicy(), MINILM)


@pytest.mark.parametrize("overlap", [0, 30])
def test_a_table_with_a_header_is_filled_evenly(overlap: int) -> None:
    policy = ChunkPolicy(max_tokens=120, overlap_tokens=overlap)
    *full, last = chunk(document([("Table", table(90), ())]), policy)
    assert min(piece.tokens for piece in full) > 0.7 * (120 - overlap) and last.tokens > 0.4 * (120 - overlap)
    check(document([("Table", table(90), ())]), policy, MINILM)


@pytest.mark.parametrize(
    "header",
    [
        "| Pump | 17.5 | 12 |",  # reads like data
        "| --- | --- | --- |",
        "| " + " | ".join(f"Hours that pump number {i} ran" for i in range(20)) + " |",  # leaves no room for rows
    ],
)
def test_what_names_no_columns_or_is_too_long_is_no_header(header: str) -> None:
    assert {piece.table_header for piece in chunk(document([("Table", table(60, header), ())]))} == {None}


def test_without_context_a_header_is_not_embedded() -> None:
    policy = ChunkPolicy(context=False)
    later = chunk(document([("Table", table(60), ())]), policy)[1:]
    assert {piece.table_header for piece in later} == {"| Pump | Hours in 2023 | 2024 |"}
    check(document([("Table", table(60), ())]), policy, MINILM)


def test_a_long_section_is_filled_evenly() -> None:
    policy = ChunkPolicy(max_tokens=200, context=False)
    sizes = [piece.tokens for piece in chunk(document([("NarrativeText", prose(13), ())]), policy)]
    assert len(sizes) == 2 and min(sizes) > 80


def test_a_long_paragraph_is_not_begun_at_the_end_of_a_chunk() -> None:
    policy = ChunkPolicy(max_tokens=120, context=False)
    text = f"{prose(3)}\n{prose(12)}"
    chunks = chunk(ParsedDocument(text, ()), policy)
    assert chunks[0].text == prose(3)
    check(ParsedDocument(text, ()), policy, MINILM)


def test_an_overlap_repeats_whole_sentences_of_the_same_section_only() -> None:
    policy = ChunkPolicy(max_tokens=120, overlap_tokens=40)
    parsed = document(
        [("NarrativeText", prose(12), ("Pumps",)), ("NarrativeText", "Valves are red. " * 12, ("Valves",))]
    )
    first, second, *_, last = chunk(parsed, policy)
    assert second.start < first.end and parsed.text[second.start : first.end].startswith("The pump of house number")
    assert parsed.text[second.start : first.end].count("night.") == 2  # 16 tokens each
    assert last.section == ("Valves",) and "pump" not in last.text
    assert max(piece.tokens for piece in chunk(parsed, policy)) <= 120
    check(parsed, policy, MINILM)


def test_an_overlap_of_more_than_half_the_cap_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ValueError, match="half of max_tokens"):
        ChunkPolicy(max_tokens=100, overlap_tokens=51)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from([" ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u00a0", "\u200b", "\u3000"]),
            st.sampled_from(
                ["[SEP]", "[sep]", "don't", "unaffable,", "\u0301", "弁ポ", "x" * 60, "https://a.b/c?d=e&f"]
            ),
        ),
        max_size=30,
    ).map("".join)
)
def test_a_word_that_was_seen_gives_the_tokenizers_own_ids(text: str) -> None:
    starts, counts, ids = text_tokenizer(MINILM).places(text)
    assert ids == MINILM.encode(text, add_special_tokens=False).ids
    assert starts == sorted(starts) and counts == sorted(counts)
    assert len(counts) == len(starts) + 1 and counts[-1] == len(ids)


def test_a_tokenizer_that_has_seen_too_many_words_forgets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "_MAX_WORDS", 3)
    tokenizer = TextTokenizer(MINILM)
    for text in ("one two", "three four", "five six seven eight", "one two"):
        assert tokenizer.ids(text) == MINILM.encode(text, add_special_tokens=False).ids
    assert len(tokenizer._words) <= 4


def test_the_page_is_that_of_the_first_element() -> None:
    text = prose(20)
    parsed = ParsedDocument(text, (Element("Text", text, 4, (), 0, len(text)),))
    assert {(piece.page, piece.page_breaks) for piece in chunk(parsed)} == {(4, ())}


@settings(max_examples=60, deadline=None)
@given(
    parts=PARTS,
    leaps=st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=8, max_size=8),
    overlap=st.sampled_from([0, 8]),
)
def test_a_chunk_knows_the_page_of_each_of_its_characters(
    parts: list[tuple[str, str, tuple[str, ...]]], leaps: list[int | None], overlap: int
) -> None:
    parsed, page, elements = document(parts), 1, []
    for element, leap in zip(parsed.elements, leaps, strict=False):
        page += leap or 0
        elements.append(replace(element, page=None if leap is None else page))
    parsed = replace(parsed, elements=tuple(elements))
    for piece in chunk(parsed, ChunkPolicy(max_tokens=40, overlap_tokens=overlap)):
        assert [one.start for one in piece.page_breaks] == sorted({one.start for one in piece.page_breaks})
        for offset in range(piece.start, piece.end):
            paged = [e.page for e in elements if e.page is not None and e.start <= offset]
            known = [piece.page, *(one.page for one in piece.page_breaks if one.start <= offset)]
            assert known[-1] == (paged[-1] if paged else None)


def test_the_context_line_names_title_and_headings_once() -> None:
    policy = ChunkPolicy()
    assert embedded_text("Manual", ("Manual", "Pumps"), "Body", policy, MINILM) == "Manual > Pumps\nBody"
    assert embedded_text("", (), "Body", policy, MINILM) == "Body"
    assert embedded_text("Manual", ("Pumps",), "Body", ChunkPolicy(context=False), MINILM) == "Body"


def test_a_long_context_loses_its_outer_headings_first() -> None:
    policy = ChunkPolicy(max_context_tokens=12)
    section = ("A rather long outer heading with many words", "Closing valves")
    assert embedded_text("Manual", section, "Body", policy, MINILM) == "Manual > Closing valves\nBody"


def test_words_that_the_tokenizer_does_not_know_still_make_readable_chunks() -> None:
    chunks = chunk(ParsedDocument("x" * 50_000, ()))
    assert max(len(piece.text) for piece in chunks) <= 254 * 16


def test_an_empty_document_has_no_chunks() -> None:
    assert chunk(ParsedDocument(" \n\n ", ())) == []


def test_a_cap_below_one_character_is_an_error_of_the_row_without_its_text() -> None:
    special = Tokenizer.from_str(BYTE_LEVEL.to_str())
    special.add_special_tokens([f"[{i}]" for i in range(16)])
    from tokenizers.processors import TemplateProcessing

    names = [f"[{i}]" for i in range(16)]
    special.post_processor = TemplateProcessing(
        single=" ".join(names) + " $A", special_tokens=[(name, special.token_to_id(name)) for name in names]
    )
    with pytest.raises(RowError) as error:
        chunk(ParsedDocument("pump", ()), ChunkPolicy(max_tokens=16), tokenizer=special)
    assert error.value.code == "chunk_cap" and "pump" not in str(error.value)
