import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.embedding.model import locate_model
from headwater.privacy.names import find_names, fingerprint
from headwater.privacy.names.candidates import may_hold_name
from headwater.privacy.names.decode import LABELS, Floats, agree, best_labels, runs
from headwater.privacy.names.weights import WEIGHTS
from headwater.privacy.names.words import read_words
from training.names.augment import augment, mentions
from training.names.data import Sentence, generated, wikigold

PROSE = (
    "Dr. Maria Lindqvist of Northfield Analytics moved to Oslo in 2019. There she met Omar Haddad, who had come "
    "from Lisbon."
)


def named(text: str, min_score: float = 0.5) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.entity) for span in find_names([text], min_score)[0]]


def test_persons_places_and_organisations_are_found_in_prose() -> None:
    assert named(PROSE) == [
        ("Maria Lindqvist", "PERSON"),
        ("Northfield Analytics", "ORGANIZATION"),
        ("Oslo", "LOCATION"),
        ("Omar Haddad", "PERSON"),
        ("Lisbon", "LOCATION"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Owner: Maria Lindqvist",
        "- Maria Lindqvist (she/her), CEO",
        "| Name | Role |\n|---|---|\n| Maria Lindqvist | Engineer |",
        "Kind regards,\nMaria Lindqvist",
        "Ask [Maria Lindqvist](https://intranet.example.org/people/42?tab=a) about it.",
        "From: Maria Lindqvist <office@example.org>",
        "please ask maria lindqvist about the invoice",
    ],
)
def test_a_name_is_found_in_the_places_where_company_documents_have_names(text: str) -> None:
    start = text.lower().index("maria")
    spans = [span for span in find_names([text])[0] if span.entity == "PERSON"]
    assert (spans[0].start, spans[0].end) == (start, start + len("Maria Lindqvist"))


@pytest.mark.parametrize(
    "text",
    [
        "## Getting Started With the Deployment Checklist",
        "# Frequently Asked Questions",
        "How To Request Time Off",
        "def parse_header(self, RowError): return HeaderParser(raw_bytes)",
        "SELECT user_id, created_at FROM audit_log WHERE id = 7;",
        "export HTTP_PROXY=none && make build",
        "",
        " \n\t ",
        "1234 5678",
    ],
)
def test_headings_and_code_name_no_person(text: str) -> None:
    assert [name for name in named(text) if name[1] == "PERSON"] == []


def test_what_is_found_does_not_depend_on_the_other_texts_of_the_call() -> None:
    texts = [PROSE, "", "Omar Haddad called.", "x " * 300, f"- {PROSE}\n- again: Omar Haddad", "Oslo", PROSE.upper()]
    alone = [find_names([text])[0] for text in texts]
    assert find_names(texts) == alone
    order = list(range(len(texts)))
    random.Random(3).shuffle(order)
    assert find_names([texts[number] for number in order]) == [alone[number] for number in order]


def test_a_sentence_that_comes_again_has_the_same_names_at_its_own_offsets() -> None:
    text = f"{PROSE}\n\nOther words.\n\n{PROSE}"
    shift = text.rindex(PROSE)
    first, again = named(PROSE), named(text)
    assert again == first + first
    spans = find_names([text])[0]
    half = len(spans) // 2
    assert [span.start + shift for span in spans[:half]] == [span.start for span in spans[half:]]


@pytest.mark.parametrize(
    ("elsewhere", "alone"),
    [
        ("She met Peter Stone in Oslo.", "Stone opens at nine."),
        ("The plan is by Hannah Marsh and Tom Rivers.", "Marsh closes on Friday."),
    ],
)
def test_what_a_name_is_another_sentence_of_the_text_may_say(elsewhere: str, alone: str) -> None:
    name = alone.split()[0]
    assert (name, "PERSON") not in named(alone)
    assert named(f"{elsewhere} {alone}").count((name, "PERSON")) == 1
    assert named(f"{alone}\n\n{elsewhere}").count((name, "PERSON")) == 1


def test_mentions_agree_on_the_kind_and_keep_their_places() -> None:
    def scores(*likely: int) -> Floats:
        probabilities = np.full((len(likely), LABELS), 0.01)
        probabilities[np.arange(len(likely)), likely] = 1 - 0.01 * (LABELS - 1)
        probabilities[0, :3] = 0.45, 0.01, 0.45  # in doubt whether it is a name
        return np.log(probabilities).astype(np.float32)

    before = scores(0, 1, 2, 0, 0)
    after = agree(before, ["Reed", "Anna", "Reed", "reed", "Re"])
    assert np.allclose(np.exp(after).sum(1), 1, atol=1e-5)
    assert after[0].argmax() == 2 and np.exp(after[0, 0]) < 0.3
    assert after[2].argmax() == 2 and np.exp(after[2, 2]) > 0.7
    assert np.array_equal(after[[1, 3, 4]], before[[1, 3, 4]])
    assert agree(before, ["a", "b", "C", "DD", "Dd"]) is before
    assert agree(before[:0], []).shape == (0, LABELS)


def test_a_lower_score_finds_more_and_a_higher_one_less() -> None:
    text = f"{PROSE} The Heron met Kestrel at Mill. May and Will saw Fern Street; Orchid agreed."
    covered = []
    for score in (0.05, 0.5, 0.95):
        spans = find_names([text], score)[0]
        assert all(span.score >= score for span in spans)
        covered.append(sum(span.end - span.start for span in spans))
    assert covered[0] >= covered[1] >= covered[2] > 0
    assert covered[0] > covered[2]


def test_names_are_found_in_a_megabyte_without_a_line_break() -> None:
    filler = "and so on with more of the same and other words, "
    text = filler * 10_000 + "said Maria Lindqvist to Omar Haddad, " + filler * 10_000
    assert len(text) > 900_000
    found = named(text)
    assert ("Maria Lindqvist", "PERSON") in found
    assert ("Omar Haddad", "PERSON") in found


def test_no_name_is_cut_where_a_long_sentence_is_read_in_parts() -> None:
    text = "Present were " + ", ".join(["Maria Lindqvist, of the board", "Omar Haddad, for the staff"] * 60)
    persons = [name for name, entity in named(text) if entity == "PERSON"]
    assert persons.count("Maria Lindqvist") >= 58
    assert persons.count("Omar Haddad") >= 58
    assert all(not name.endswith(("Maria", "Omar")) for name in persons)


def test_other_scripts_and_broken_characters_do_no_harm() -> None:
    text = "山田さんは東京にいます。 Ping \ud800 Omar Haddad \x00\u200b. İçöğü ﬁne 👍🏽"
    found = named(text)
    assert ("Omar Haddad", "PERSON") in found
    assert all(not any("\u3040" <= character <= "\u9fff" for character in name) for name, _ in found)


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_spans_lie_in_the_text_in_order_and_begin_and_end_with_the_name(text: str) -> None:
    spans = find_names([text], 0.01)[0]
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(left.end <= right.start for left, right in itertools.pairwise(spans))
    assert all(text[span.start].isalnum() and not text[span.end - 1].isspace() for span in spans)


@given(st.lists(st.text(max_size=80), max_size=6))
@settings(max_examples=100, deadline=None)
def test_words_are_read_in_order_and_alike_alone_and_together(sentences: list[str]) -> None:
    sentences = [sentence.encode("utf-8", "ignore").decode() for sentence in sentences]
    together = read_words(sentences)
    for row, sentence in enumerate(sentences):
        here = slice(together.borders[row], together.borders[row + 1])
        alone = read_words([sentence])
        for name in ("starts", "ends", "shapes"):
            assert getattr(together, name)[here].tolist() == getattr(alone, name).tolist()
        assert together.cases[row] == alone.cases[0]
        assert (alone.starts < alone.ends).all()
        assert (alone.ends[:-1] <= alone.starts[1:]).all()
        assert not len(alone.ends) or alone.ends[-1] <= len(sentence)


def test_a_link_is_one_word_and_offsets_after_it_are_right() -> None:
    sentence = "See [notes](https://example.org/a-b/c?d=1) and http://example.org/x_y by Omar."
    words = read_words([sentence])
    texts = [sentence[start:end] for start, end in zip(words.starts, words.ends, strict=True)]
    assert "https://example.org/a-b/c?d=1" in texts
    assert "http://example.org/x_y" in texts
    assert texts[-2:] == ["Omar", "."]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_labels_are_the_best_well_formed_sequence(lengths: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(sum(lengths), LABELS)).astype(np.float32)
    borders = np.concatenate(([0], np.cumsum(lengths)))
    labels = best_labels(scores, borders)
    # Each word: any label may follow, but an inside label only its own begin or inside.
    for low, high in itertools.pairwise(borders.tolist()):
        best = {label: float(scores[low, label]) for label in range(LABELS) if label == 0 or label % 2}
        for word in range(low + 1, high):
            best = {
                label: float(scores[word, label])
                + max(value for old, value in best.items() if label % 2 or not label or old in (label, label - 1))
                for label in range(LABELS)
                if label % 2 or not label or {label, label - 1} & best.keys()
            }
        row = labels[low:high]
        assert sum(float(scores[low + word, label]) for word, label in enumerate(row)) == pytest.approx(
            max(best.values()), abs=1e-4
        )
        assert sum(end - first for first, end, _ in runs(row)) == np.count_nonzero(row)


def test_the_encoder_computes_what_transformers_computes() -> None:
    import torch
    from transformers import AutoModel

    from headwater.privacy.names.encoder import LAYERS, NameTagger
    from headwater.privacy.names.weights import encoder_weights
    from headwater.privacy.names.words import tokenizer

    model = NameTagger(LABELS, frozen=LAYERS).eval()
    model.load_state_dict(encoder_weights(LAYERS), strict=False)
    theirs = AutoModel.from_pretrained(locate_model(None)).eval()
    encodings = tokenizer().encode_batch([PROSE, "Oslo"])
    length = max(len(encoding) for encoding in encodings)
    ids = torch.tensor([encoding.ids + [0] * (length - len(encoding)) for encoding in encodings])
    mask = torch.tensor([[1] * len(encoding) + [0] * (length - len(encoding)) for encoding in encodings])
    with torch.inference_mode():
        expected = theirs(ids, mask).last_hidden_state
        ours = model.lower(ids, mask[:, None, None, :].bool())
    for row, encoding in enumerate(encodings):
        difference = (ours[row, : len(encoding)] - expected[row, : len(encoding)]).abs().max()
        assert float(difference) < 1e-4


def test_sentences_of_common_words_are_skipped_and_others_are_not() -> None:
    assert not may_hold_name("The next steps are in the table.")
    assert not may_hold_name("2019 - 2020")
    assert may_hold_name("Omar agreed.")
    assert may_hold_name("The report is with Lindqvist.")
    assert may_hold_name("ask omar about the report")


def test_the_fingerprint_is_cheap_and_the_weights_are_small() -> None:
    code = (
        "import sys; from headwater.privacy.names import fingerprint; print(fingerprint()); "
        "assert not {'torch', 'transformers', 'spacy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint()
    assert WEIGHTS.stat().st_size < 10_000_000


def test_training_sentences_are_written_as_people_write_and_keep_their_spans(tmp_path) -> None:
    path = tmp_path / "sample.txt"
    rows = ["Omar I-PER", "Haddad I-PER", ", O", "( O", "Oslo I-LOC", ") O", "did O", "n't O", "call O", ". O"]
    path.write_text("-DOCSTART- O\n\n" + "\n".join(rows) + "\n\nNo O\nname O\n")
    first, second = wikigold(path)
    assert first.text == "Omar Haddad, (Oslo) didn't call."
    assert [(first.text[a:b], entity) for a, b, entity in first.spans] == [
        ("Omar Haddad", "PERSON"),
        ("Oslo", "LOCATION"),
    ]
    assert (second.text, second.spans, second.group) == ("No name", (), first.group)


def test_variants_of_training_sentences_keep_every_span_on_its_name() -> None:
    names = {"PERSON": ["Ada Quill", "Bo Marsh"], "LOCATION": ["Fenwick"], "ORGANIZATION": ["Tern Works"]}
    text = "Omar Haddad of Northfield moved to Oslo with a plan."
    spans = tuple(
        (text.index(name), text.index(name) + len(name), entity)
        for name, entity in (("Omar Haddad", "PERSON"), ("Northfield", "ORGANIZATION"), ("Oslo", "LOCATION"))
    )
    sentence = Sentence("sample", "one", text, spans)
    known = {word.lower() for values in names.values() for value in values for word in value.split()}
    known |= {"omar", "haddad", "northfield", "oslo"}
    varied = augment([sentence] * 400, random.Random(1), names, extra=1.0)
    assert len(varied) == 800
    assert len({item.text for item in varied}) > 200
    for item in varied:
        marked = [item.text[start:end] for start, end, _ in item.spans]
        assert all(word.lower() in known for name in marked for word in name.split())
        if item.source == "sample":
            assert len(marked) == 3
    assert mentions([sentence]) == {
        "PERSON": ["Omar Haddad"],
        "LOCATION": ["Oslo"],
        "ORGANIZATION": ["Northfield"],
    }


def test_street_addresses_of_the_generated_set_are_a_kind_of_their_own(tmp_path) -> None:
    path = tmp_path / "sample.json"
    path.write_text(
        '[{"full_text": "Go to 7 Elm Row", "template_id": 4, "spans": [{"entity_type": "ADDRESS", '
        '"start_position": 6, "end_position": 15}, {"entity_type": "IBAN_CODE", "start_position": 0, "end_position": 2}]}]'
    )
    (item,) = generated(path)
    assert item.spans == ((6, 15, "ADDRESS"),)
    assert item.group == "template 4"
