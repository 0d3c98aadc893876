from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater import ConfigError, HeadwaterError, PiiSpan, PrivacyPolicy, RowError, anonymize, find_pii
from headwater.config import load_corpus_file
from headwater.edits import Edit, apply_edits
from headwater.privacy import engine, leak_scan, names_left, nlp_pipeline, reveal
from headwater.privacy.cleaned import Cleaned
from headwater.privacy.entities import COUNTRIES, DEFAULT_COUNTRY_ENTITIES, EVERYWHERE, NAMES, known_entities
from headwater.privacy.pieces import MARGIN, PATTERN_PIECE, split
from headwater.privacy.spans import resolve
from headwater.privacy.triggers import Scanner, Trigger
from headwater.privacy.weaken import Underivable, skeleton, weaken

PATTERNS = PrivacyPolicy(names=False)
EXACT = PrivacyPolicy(names=False, keep_identifiers=False)
KEY = "a secret of this test, not of anyone"

# One sentence for each structured entity that is looked for by default; numbers are test numbers of their issuers.
FOUND = {
    "EMAIL_ADDRESS": ("Write to ilse.varga@example.org today.", "ilse.varga@example.org"),
    "PHONE_NUMBER": ("Her phone is (212) 555-0142 since May.", "(212) 555-0142"),
    "CREDIT_CARD": ("Charge card 4111 1111 1111 1111 for it.", "4111 1111 1111 1111"),
    "IBAN_CODE": ("Pay to IBAN GB82 WEST 1234 5698 7654 32 please.", "GB82 WEST 1234 5698 7654 32"),
    "US_SSN": ("His social security number is 536-90-4399 here.", "536-90-4399"),
    "IP_ADDRESS": ("The printer sits at 203.0.113.77 now.", "203.0.113.77"),
    "CRYPTO": ("Send it to the wallet 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa only.", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    "MAC_ADDRESS": ("The card answers at 00:1B:44:11:3A:B7 now.", "00:1B:44:11:3A:B7"),
    "UK_NHS": ("The NHS number 943 476 5919 is a test.", "943 476 5919"),
    "MEDICAL_LICENSE": ("Her medical certificate BB1388568 was renewed.", "BB1388568"),
    "US_PASSPORT": ("He showed his passport 912803456 at the desk.", "912803456"),
    "US_DRIVER_LICENSE": ("The driver license number is D1234567 there.", "D1234567"),
    "US_BANK_NUMBER": ("The bank account 945456787654 was closed.", "945456787654"),
    "US_ITIN": ("The taxpayer has the ITIN 911-70-1234 by now.", "911-70-1234"),
    "STREET_ADDRESS": ("Deliver it to 17 Old Mill Road before noon.", "17 Old Mill Road"),
}


def values(text: str, spans: list[PiiSpan]) -> list[tuple[str, str]]:
    return [(span.entity, text[span.start : span.end]) for span in spans]


@pytest.mark.parametrize("entity", FOUND)
def test_structured_entities_are_found_and_replaced(entity: str) -> None:
    text, value = FOUND[entity]
    assert values(text, find_pii([text], PATTERNS)[0]) == [(entity, value)]
    assert anonymize([text], PATTERNS)[0].text == text.replace(value, f"<{entity}>")


@pytest.mark.parametrize(
    "text",
    [
        "The order of 2024-05-03 lists 1,250 parts and version 3.11.7.",
        "Room 4711 is free at 09:30; see section 12.4 on page 230.",
        "Public holidays: 12345678 visits. The policy has 123456789 users.",
        "See https://example.org/articles/360000653472?id=1492037656#gid=1737248463 for it.",
        "The commit 7c7ced4911904 follows a0f26a932ee6759039 in 4ba1382895cb1691434.",
        "The record is c9eb5200-ba6f-11ea-8816-63249f9b4d86.",
        "",
    ],
)
def test_ordinary_numbers_links_and_hashes_are_left_alone(text: str) -> None:
    assert find_pii([text], PATTERNS) == [[]]


def test_what_a_link_gives_away_is_found() -> None:
    text = "https://example.org/?mail=ilse@example.org&card=4111111111111111&call=212-555-0142"
    assert {entity for entity, _ in values(text, find_pii([text], PATTERNS)[0])} >= {"EMAIL_ADDRESS", "CREDIT_CARD"}
    text = "https://example.org/articles/2125550142"
    assert values(text, find_pii([text], EXACT)[0]) == [("PHONE_NUMBER", "2125550142")]


def plain_findings(text: str) -> set[tuple[int, int, str, float]]:
    """What Presidio finds in the whole text without any of the shortcuts: every token read, every line dialled."""
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

    from headwater.privacy.presidio import WholeWordContext

    class WordsAsLemmas(SpacyNlpEngine):
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            doc = self.nlp[language](text)
            return NlpArtifacts([], doc, [token.idx for token in doc], [token.text for token in doc], self, language)

    class Everywhere(WholeWordContext):
        def _extract_surrounding_words(self, nlp_artifacts: Any, word: str, start: int) -> list[str]:
            return LemmaContextAwareEnhancer._extract_surrounding_words(self, nlp_artifacts, word, start)

    analyzer = AnalyzerEngine(nlp_engine=WordsAsLemmas(), context_aware_enhancer=Everywhere())
    found = analyzer.analyze(text, "en", entities=PRESIDIOS, score_threshold=EXACT.min_score)
    return {(item.start, item.end, item.entity_type, item.score) for item in found}


PRESIDIOS = sorted({*EVERYWHERE, *DEFAULT_COUNTRY_ENTITIES} - {"STREET_ADDRESS", "DATE_TIME", "URL", "UUID"})


@pytest.fixture
def presidios_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave out the recognisers that Presidio doesn't have."""
    from headwater.privacy import presidio
    from headwater.privacy.address import StreetAddressRecognizer
    from headwater.privacy.phone import LabelledPhoneRecognizer

    everything = presidio.all_recognizers
    ours = (LabelledPhoneRecognizer, StreetAddressRecognizer)
    monkeypatch.setattr(
        presidio, "all_recognizers", lambda policy: [r for r in everything(policy) if not isinstance(r, ours)]
    )
    engine._load.cache_clear()
    yield
    engine._load.cache_clear()


FILLER = "The pump of the north house runs at night, and nobody counts its turns. " * 3
HARD = [
    *(text for text, _ in FOUND.values()),
    " ".join(text for text, _ in FOUND.values()),
    "Ärger: Straße 4111 1111 1111 1111, ‘ilse@bücher.example’ — “+49 30 901820”, ٣٣ NHS 943\u00a0476 5919, K 203.0.113.77",
    "Numbers: 164858, 3.63 - 3.94, 2912539462, +43 1 2345, +49 30 901820, 00 44 20 7946 0958, 911, (0)20 7946 0958 x12",
    "bank account\n\n945456787654\n\npassport_number: 912803456; accounts: 12345678, license(s) D1234567",
    "fe80::1 and ::ffff:192.0.2.1, dead:beef::, aa-bb-cc-dd-ee-ff, abcd.abcd.abcd, ١٢٣٤٥٦٧٨٩٠",
    "\n\n".join(f"{FILLER}\n{text}" for text, _ in FOUND.values()),
    "\n".join(f"| pump {i} | {i * 7919} | +1 212 555 {i:04} | x{i}@example.org |" for i in range(400)),
    FILLER * 9 + " ".join(f"{FILLER}{text}" for text, _ in FOUND.values()),
    "x" * 9000 + " ilse@example.org " + "y" * 9000,
]


@pytest.mark.parametrize("index", range(len(HARD)))
def test_the_shortcuts_lose_nothing_that_presidio_finds(index: int, presidios_only: None) -> None:
    text = Cleaned.of(HARD[index]).text  # both look in the same text
    expected = [PiiSpan(*item) for item in plain_findings(text)]
    assert find_pii([text], EXACT)[0] == resolve(text, expected)


# --- the scan ---------------------------------------------------------------------------------------------------


def every_trigger() -> list[tuple[str, Trigger]]:
    """All patterns of all recognisers of all countries, without the condition of a context word."""
    from headwater.privacy.presidio import all_recognizers

    return [
        (recognizer.supported_entities[0], Trigger(recognizer.id, pattern.regex, recognizer.global_regex_flags))
        for recognizer in all_recognizers(PATTERNS)
        for pattern in getattr(recognizer, "patterns", ())
    ]


def test_every_recogniser_that_runs_by_default_is_scanned_for() -> None:
    assert engine.load_engine(PATTERNS).recognition.scanner.always == set()


NUMBERS_OF_LIBPHONENUMBER = {"ZA_MOBILE_NUMBER", "ZA_TELEPHONE_NUMBER"}


def test_a_recogniser_without_patterns_reads_everything() -> None:
    policy = PrivacyPolicy(names=False, countries=["za"])
    assert len(engine.load_engine(policy).recognition.scanner.always) == len(NUMBERS_OF_LIBPHONENUMBER)
    text = f"{FILLER}\nReach me on +27 82 123 4567."
    found = find_pii([text], PrivacyPolicy(names=False, entities=["ZA_MOBILE_NUMBER"]))[0]
    assert values(text, found) == [("ZA_MOBILE_NUMBER", "+27 82 123 4567")]


def test_every_pattern_of_every_country_can_be_weakened() -> None:
    assert {entity for entity, _ in every_trigger()} == known_entities() - NAMES - NUMBERS_OF_LIBPHONENUMBER
    for _, trigger in every_trigger():
        assert Scanner([trigger], ()).always == set(), trigger.pattern


@cache
def generated() -> list[tuple[str, Any, Scanner, Trigger]]:
    return [
        (entity, regex.compile(trigger.pattern, trigger.flags), Scanner([trigger], ()), trigger)
        for entity, trigger in every_trigger()
    ]


@cache
def cases() -> list[st.SearchStrategy[tuple[int, str]]]:
    """Texts that a pattern matches, for all patterns that Python's own module can read, too."""
    result = []
    for index, (_, _, _, trigger) in enumerate(generated()):
        try:
            pattern = re.compile(trigger.pattern, re.IGNORECASE | re.DOTALL | re.MULTILINE)
        except re.error:  # a look-behind without a fixed length
            continue
        result.append(st.tuples(st.just(index), st.from_regex(pattern)))
    return result


AROUND = st.text("ab1 -.:@_\n\u00a0\u0663é–", max_size=4)


def test_nearly_all_patterns_are_tried_with_generated_matches() -> None:
    assert len(cases()) > 0.9 * len(generated())


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), AROUND, AROUND)
def test_whatever_a_pattern_matches_is_scanned_for(data: st.DataObject, before: str, after: str) -> None:
    index, inside = data.draw(st.one_of(cases()))
    _, pattern, scanner, trigger = generated()[index]
    text = engine.readable(before + inside + after)
    windows = scanner.windows(text)
    for match in pattern.finditer(text):
        if match[0] and windows is not None and len(match[0]) < MARGIN:
            mine = windows.get(trigger.owner, ())
            assert any(s <= match.start() and match.end() <= e for s, e in mine), (trigger.pattern, match.span())


LABELLED = {
    "US_CLAIM_NUMBER": "claim number 12345678",
    "US_PRESCRIPTION_NUMBER": "prescription no. 1234567",
    "US_PRIOR_AUTHORIZATION_NUMBER": "prior authorization 1234567",
    "US_REFERRAL_NUMBER": "referral 1234567",
    "US_PROVIDER_TAX_ID": "provider tax id 12-3456789",
    "PHONE_NUMBER": "call 92 34 70 or 24 428557-Office",
}


@pytest.mark.parametrize("entity", LABELLED)
def test_a_label_before_or_after_a_number_is_scanned_for(entity: str) -> None:
    text = f"Nothing here, but {LABELLED[entity]}, and nothing there."
    for name, pattern, scanner, trigger in generated():
        if name == entity:
            for match in pattern.finditer(text):
                windows = (scanner.windows(text) or {}).get(trigger.owner, ())
                assert any(start <= match.start() and match.end() <= end for start, end in windows)


@pytest.mark.parametrize(
    "pattern", [r"\p{Lu}x", r"(?V1)[a--b]", r"(?:cat){e<=1}", r"\N{BULLET}", r"(?(1)a|b)", r"a(?R)?"]
)
def test_a_pattern_without_a_rule_makes_its_recogniser_read_everything(pattern: str) -> None:
    with pytest.raises(Underivable):
        weaken(pattern)
    assert Scanner([Trigger("its id", pattern, 0)], ()).always == {"its id"}


def test_without_hyperscan_everything_is_read_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.privacy import triggers

    monkeypatch.setattr(triggers, "hyperscan", None)
    engine._load.cache_clear()
    for text, value in FOUND.values():
        assert value in {found for _, found in values(text, find_pii([text], PATTERNS)[0])}
    engine._load.cache_clear()


def test_several_threads_may_search_at_once() -> None:
    text = " ".join(f"{FILLER}{sentence}" for sentence, _ in FOUND.values())
    alone = find_pii([text], PATTERNS)
    with ThreadPoolExecutor(4) as threads:
        assert all(found == alone for found in threads.map(lambda _: find_pii([text], PATTERNS), range(12)))


@given(st.text(max_size=40))
def test_a_skeleton_has_one_byte_for_each_character_and_keeps_words(text: str) -> None:
    clean = engine.readable(text)
    bones = skeleton(clean)
    assert len(bones) == len(clean)
    assert [m.span() for m in re.finditer(rb"\w+", bones)] == [m.span() for m in regex.finditer(r"\w+", clean)]


def test_a_recogniser_of_ones_own_is_scanned_for_too() -> None:
    badge = {"entity": "BADGE", "patterns": [r"\bHW-\d{5}\b"], "score": 0.2, "context": ["badge"]}
    policy = PrivacyPolicy(names=False, recognizers=[badge], actions={"BADGE": "mask"})
    assert engine.load_engine(policy).recognition.scanner.always == set()
    assert anonymize(["Her badge is HW-12345, the part HW-54321."], policy)[0].text.startswith("Her badge is ********,")
    assert find_pii(["The part HW-54321 came."], policy) == [[]]


PHONE_LIKE = st.lists(
    st.sampled_from(
        [
            "+",
            "00",
            "1",
            "49",
            "30",
            "212",
            "555",
            "0142",
            "7946",
            " ",
            "-",
            ".",
            "(",
            ")",
            "/",
            "x",
            "ext. ",
            "\n",
            "a",
            "١",
        ]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(PHONE_LIKE)
def test_the_phone_recogniser_finds_what_presidios_finds(text: str) -> None:
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    from headwater.privacy.phone import CandidatePhoneRecognizer

    ours, whole = CandidatePhoneRecognizer("en"), PhoneRecognizer()
    spans = [{(r.start, r.end) for r in one.analyze(text, ["PHONE_NUMBER"], None)} for one in (ours, whole)]
    assert spans[0] >= spans[1]
    assert resolve(text, [PiiSpan(*s, "P", 0.4) for s in spans[0]]) == resolve(
        text, [PiiSpan(*s, "P", 0.4) for s in spans[1]]
    )


def test_a_replacement_is_an_edit_of_the_original() -> None:
    text = " ".join(sentence for sentence, _ in FOUND.values())
    for action in ("replace", "mask"):
        done = anonymize([text], PrivacyPolicy(names=False, default_action=action))[0]
        assert apply_edits(text, [Edit(item.start, item.end, item.text) for item in done.replacements]) == done.text
        assert {item.entity for item in done.replacements} == set(FOUND)
        assert not any(value in done.text for _, value in FOUND.values())


@pytest.mark.parametrize("hidden", ["\xad", "\u200b", "\u200d", "\ufe0f\u2060", "\U000e0041"])
def test_what_nobody_sees_hides_no_value_and_spans_are_of_the_text_that_was_given(hidden: str) -> None:
    mail, iban = f"il{hidden}se@exam{hidden}ple.org", f"DE89{hidden}370400440532013000"
    text = f"\ufeff Cafe\u0301:{hidden}\xa0 \r\n{mail}{hidden}, and {hidden}{iban}.  "
    assert values(text, find_pii([text], PATTERNS)[0]) == [("EMAIL_ADDRESS", mail), ("IBAN_CODE", iban)]
    done = anonymize([text], PATTERNS)[0]
    assert done.text == text.replace(mail, "<EMAIL_ADDRESS>").replace(iban, "<IBAN_CODE>")
    assert apply_edits(text, [Edit(item.start, item.end, item.text) for item in done.replacements]) == done.text


def test_a_name_that_was_found_before_keeps_its_place_in_a_text_that_is_not_clean() -> None:
    text = "\u200bAsk Il\xadse Var\u200bga,  \r\n please."
    name = PiiSpan(text.index("Il"), text.index(","), "PERSON", 0.9)
    assert anonymize([text], PrivacyPolicy(), names=[[name]])[0].text == "\u200bAsk <PERSON>,  \r\n please."


@given(st.text(st.sampled_from("ab \n\r\u200b\u200d\xa0e\u0301\ufffd\ud800"), max_size=30), st.data())
def test_spans_of_a_cleaned_text_lead_back_to_what_they_were_made_of(text: str, data: st.DataObject) -> None:
    cleaned = Cleaned.of(text)
    ends = sorted(data.draw(st.sets(st.integers(0, len(cleaned.text)), max_size=6)))
    spans = [PiiSpan(start, end, "X", 1.0) for start, end in pairwise(ends)]
    given_spans = cleaned.given(spans)
    assert all(one.end <= other.start for one, other in pairwise(given_spans))
    for span, back in zip(spans, given_spans, strict=True):
        letters = re.sub("[^abe]", "", cleaned.text[span.start : span.end].replace("\xe9", ""))
        assert letters in re.sub("[^abe]", "", text[back.start : back.end])


def test_a_mask_keeps_the_length() -> None:
    done = anonymize(["Write to ilse@example.org."], PrivacyPolicy(names=False, default_action="mask"))[0]
    assert done.text == "Write to ****************."


def test_allowed_strings_and_unlisted_entities_stay() -> None:
    text = "Write to help@example.org or ilse@example.org from 203.0.113.77."
    policy = PrivacyPolicy(names=False, allow=["help@example.org"], entities=["EMAIL_ADDRESS"])
    assert anonymize([text], policy)[0].text == "Write to help@example.org or <EMAIL_ADDRESS> from 203.0.113.77."


def test_a_disabled_policy_changes_nothing() -> None:
    assert anonymize(["Write to ilse@example.org."], PrivacyPolicy(enabled=False))[0].replacements == ()


def test_numbers_of_other_countries_are_found_when_named() -> None:
    text = "Her national insurance number is AB123456C here."
    assert find_pii([text], PATTERNS) == [[]]
    for policy in (PrivacyPolicy(names=False, entities=["UK_NINO"]), PrivacyPolicy(names=False, countries=["UK"])):
        assert values(text, find_pii([text], policy)[0]) == [("UK_NINO", "AB123456C")]


def test_an_unknown_entity_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"unknown entity EMAIL\..*EMAIL_ADDRESS"):
        PrivacyPolicy(entities=["EMAIL"])


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ConfigError, match="privacy"):
        find_pii(["text"], PrivacyPolicy(names=False, language="xq"))


def test_broken_characters_keep_their_place() -> None:
    text = "\ud800\ud83d broken \udfff, write to ilse@example.org"
    assert values(text, find_pii([text], PATTERNS)[0]) == [("EMAIL_ADDRESS", "ilse@example.org")]


# --- leaks ------------------------------------------------------------------------------------------------------


def test_a_leak_scan_finds_what_is_left_and_ignores_placeholders() -> None:
    text = " ".join(sentence for sentence, _ in FOUND.values())
    clean = anonymize([text], PATTERNS)[0].text
    assert leak_scan([clean]) == [[]]
    assert leak_scan(["The <US_BANK_NUMBER> 945456787654 and <PERSON>"]) == [[]]
    left = f"{clean} ilse@example.org"
    assert values(left, leak_scan([left])[0]) == [("EMAIL_ADDRESS", "ilse@example.org")]


def test_a_chunk_that_begins_inside_a_link_is_no_leak() -> None:
    assert leak_scan(["2ba-4954&pf=6FC&qid=2125550142&sbo=1 is the page."]) == [[]]
    assert leak_scan(["2125550142 is her phone."]) != [[]]


def test_no_value_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    anonymize([sentence for sentence, _ in FOUND.values()], PATTERNS)
    assert not [record for record in caplog.records for _, value in FOUND.values() if value in record.getMessage()]


def test_an_error_of_a_recogniser_does_not_quote_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine.load_engine(PATTERNS)

    def fail(text: str, *_: object, **__: object) -> None:
        raise ValueError(f"did not find {text}")

    monkeypatch.setattr(loaded.recognition.analyzer, "analyze", fail)
    with pytest.raises(RowError) as error:
        find_pii(["Write to ilse@example.org."], PATTERNS)
    assert error.value.code == "privacy_failed"
    assert "ilse" not in str(error.value) and error.value.__suppress_context__


# --- pipelines --------------------------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path: Path) -> str:
    """A spaCy pipeline on disk that knows two invented people and a company."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns(
        [
            {"label": "PERSON", "pattern": "Ilse Varga"},
            {"label": "PERSON", "pattern": "Tomoko Lindqvist"},
            {"label": "ORG", "pattern": "Norddeich Pumps"},
            {"label": "MONEY", "pattern": "nine euros"},
        ]
    )
    nlp.meta["name"], nlp.meta["version"] = "invented_names", "1.2"
    folder = tmp_path / "names"
    nlp.to_disk(folder)
    return str(folder)


def test_without_names_only_patterns_are_used() -> None:
    assert nlp_pipeline(PATTERNS) == "none: patterns only"
    assert find_pii(["Ilse Varga called."], PATTERNS) == [[]]


def test_a_pipeline_finds_names_also_across_the_pieces_of_a_long_text(names: str) -> None:
    policy = PrivacyPolicy(spacy_model=names)
    assert re.fullmatch("en_invented_names 1.2 [0-9a-f]{12}", nlp_pipeline(policy) or "")
    text = (
        "Norddeich Pumps pays nine euros. "
        + f"{FILLER}\nTomoko Lindqvist wrote to ilse@example.org. Ilse Varga left.\n\n" * 200
    )
    found = values(text, find_pii([text], policy)[0])
    three = [("PERSON", "Tomoko Lindqvist"), ("EMAIL_ADDRESS", "ilse@example.org"), ("PERSON", "Ilse Varga")]
    assert found == [("ORGANIZATION", "Norddeich Pumps"), *three * 200]
    people = find_pii([text], PrivacyPolicy(spacy_model=names, entities=["PERSON"]))[0]
    assert {entity for entity, _ in values(text, people)} == {"PERSON"}


def test_a_missing_model_is_an_error_and_never_a_download(tmp_path: Path) -> None:
    for call in (nlp_pipeline, lambda policy: find_pii(["text"], policy)):
        with pytest.raises(ConfigError, match="en_core_web_nowhere"):
            call(PrivacyPolicy(spacy_model="en_core_web_nowhere"))
        with pytest.raises(ConfigError, match="downloads no models"):
            call(PrivacyPolicy(transformers_model="someone/names"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "meta.json").write_text(json.dumps({"lang": "en", "name": "broken", "version": "1"}))
    with pytest.raises(ConfigError, match="can't load"):
        find_pii(["text"], PrivacyPolicy(spacy_model=str(broken)))


def test_a_transformers_model_in_a_folder_finds_names(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    _tiny_transformer(folder)
    policy = PrivacyPolicy(transformers_model=str(folder), names_min_score=0.0, min_score=0.0, entities=["PERSON"])
    text = "varga went home. " * 150
    found = find_pii([text], policy)[0]
    assert nlp_pipeline(policy).startswith("tiny ")
    assert found and all(span.entity == "PERSON" for span in found)
    assert found[-1].end >= len(text) - 3  # also in the last piece


def _tiny_transformer(folder: Path) -> None:
    """Write a token classifier that calls everything a person: one layer, a vocabulary of words of this test."""
    import torch
    from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "varga", "went", "home", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label={0: "B-PER", 1: "B-LOC"},
        label2id={"B-PER": 0, "B-LOC": 1},
    )
    model = BertForTokenClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([5.0, -5.0]))
    model.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def test_the_bundled_model_finds_names_and_allow_and_deny_hold_for_them() -> None:
    text = "Yesterday Tomoko Lindqvist met Peter Marsh in Utrecht, and Bluebird was launched."
    assert nlp_pipeline(PrivacyPolicy()).startswith("bundled ")
    assert anonymize([text])[0].text == "Yesterday <PERSON> met <PERSON> in Utrecht, and Bluebird was launched."
    policy = PrivacyPolicy(allow=["Tomoko Lindqvist"], deny={"PERSON": ["Bluebird"]})
    assert anonymize([text], policy)[0].text == (
        "Yesterday Tomoko Lindqvist met <PERSON> in Utrecht, and <PERSON> was launched."
    )


def test_names_left_are_people_that_the_policy_takes_out() -> None:
    texts = ["Yesterday Tomoko Lindqvist met <PERSON> in Utrecht.", "Yesterday <PERSON> met <PERSON> in Utrecht."]
    assert names_left(texts) == [1, 0]
    assert names_left(texts, PrivacyPolicy(actions={"PERSON": "keep"})) == [0, 0]
    assert names_left(texts, PrivacyPolicy(allow=["Tomoko Lindqvist"])) == [0, 0]
    assert names_left(texts, PrivacyPolicy(allow_patterns=[r"\w+ Lindqvist"])) == [0, 0]
    assert names_left(texts, PrivacyPolicy(allow_patterns=["Lindqvist"])) == [1, 0]


# --- what is done with findings ---------------------------------------------------------------------------------

PERSON_AT = [[PiiSpan(0, 10, "PERSON", 0.9), PiiSpan(20, 27, "LOCATION", 0.9)]]
SENTENCE = "Ilse Varga lives in Utrecht; write to ilse@example.org or call (212) 555-0142."


def acted(policy: PrivacyPolicy, corpus: str = "works", text: str = SENTENCE) -> str:
    return anonymize([text], policy, corpus=corpus, names=PERSON_AT)[0].text


def test_a_city_stays_and_is_counted_unless_the_profile_is_strict() -> None:
    done = anonymize([SENTENCE], PrivacyPolicy(), names=PERSON_AT)[0]
    assert done.text == "<PERSON> lives in Utrecht; write to <EMAIL_ADDRESS> or call <PHONE_NUMBER>."
    assert done.found == {"EMAIL_ADDRESS": 1, "LOCATION": 1, "PERSON": 1, "PHONE_NUMBER": 1}
    assert "Utrecht" not in acted(PrivacyPolicy(profile="strict"))
    assert "Ilse Varga" in acted(PrivacyPolicy(profile="strict", actions={"PERSON": "keep"}))


def test_each_entity_has_its_own_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY)
    actions = {"PERSON": "pseudonym", "EMAIL_ADDRESS": "hash", "PHONE_NUMBER": "mask", "LOCATION": "replace"}
    text = acted(PrivacyPolicy(actions=actions))
    pattern = r"Person-[a-z2-7]{12} lives in <LOCATION>; write to <EMAIL_ADDRESS:#[0-9a-f]{16}> or call \*{14}\."
    assert re.fullmatch(pattern, text)


def test_keyed_actions_are_the_same_all_over_a_corpus_and_different_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY)
    for action in ("pseudonym", "hash", "encrypt"):
        policy = PrivacyPolicy(actions={"PERSON": action})
        here = acted(policy)
        assert here == acted(policy) and here != acted(policy, corpus="mill") and "Ilse" not in here
        monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY[::-1])
        assert here != acted(policy)
        monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY)
    shouted = acted(PrivacyPolicy(actions={"PERSON": "pseudonym"}), text=SENTENCE.replace("Ilse Varga", "ILSE VARGA"))
    assert shouted == acted(PrivacyPolicy(actions={"PERSON": "pseudonym"}))


def test_what_was_encrypted_is_revealed_with_the_key_and_never_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY)
    policy = PrivacyPolicy(actions={"PERSON": "encrypt"})
    token = acted(policy).split(" lives")[0]
    assert reveal(token, policy, "works") == ("PERSON", "Ilse Varga")
    for wrong, corpus in ((token, "mill"), (token.replace("PERSON", "CREDIT_CARD"), "works"), ("<PERSON>", "works")):
        with pytest.raises(HeadwaterError):
            reveal(wrong, policy, corpus)
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY[::-1])
    with pytest.raises(HeadwaterError, match="HEADWATER_PRIVACY_KEY"):
        reveal(token, policy, "works")
    monkeypatch.delenv("HEADWATER_PRIVACY_KEY")
    with pytest.raises(ConfigError, match="not set"):
        reveal(token, policy, "works")


def test_an_action_that_needs_a_key_fails_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    policy = PrivacyPolicy(key_env="MY_KEY", actions={"US_SSN": "hash"})
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        anonymize(["text"], policy)
    monkeypatch.setenv("MY_KEY", "short")
    with pytest.raises(ConfigError, match="shorter than 16"):
        anonymize(["text"], policy)
    assert anonymize(["text"], PrivacyPolicy(key_env="MY_KEY"))[0].text == "text"


def test_a_rejected_text_comes_back_empty_and_says_why() -> None:
    text = FOUND["US_SSN"][0]
    done = anonymize([text, "Nothing."], PrivacyPolicy(names=False, actions={"US_SSN": "reject_document"}))
    assert done[0].rejected == ("US_SSN",) and done[0].text == "" and done[0].found == {"US_SSN": 1}
    assert done[1].text == "Nothing."


def test_allow_patterns_and_deny_lists() -> None:
    text = "Write to desk@example.org about Bluebird, not to ilse@example.org about bluebirds."
    policy = PrivacyPolicy(names=False, allow_patterns=[r"desk@.*"], deny={"PROJECT": ["Bluebird"]})
    assert values(text, find_pii([text], policy)[0]) == [("PROJECT", "Bluebird"), ("EMAIL_ADDRESS", "ilse@example.org")]


@pytest.mark.parametrize(
    "written",
    ["Ilse Varga", "ilse\nvarga", "Ilse  Varga", "Ilse\xa0Varga", "Jos\u00e9 M\u00fcller", "Jose\u0301 Mu\u0308ller"],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_a_list_are_found_however_they_are_spaced_and_composed(written: str, form: str) -> None:
    listed = ["Ilse", unicodedata.normalize(form, "Jos\u00e9 M\u00fcller"), "Ilse Varga", " "]
    text = f"Ask {written}."
    assert anonymize([text], PrivacyPolicy(names=False, deny={"PERSON": listed}))[0].text == "Ask <PERSON>."
    if written != "ilse\nvarga":  # an allow list goes by the case
        allowing = PrivacyPolicy(names=False, deny={"PERSON": listed[1:]}, allow=listed)
        assert anonymize([text], allowing)[0].text == text


def test_a_deny_list_of_nothing_denies_nothing() -> None:
    assert anonymize(["Ask  him."], PrivacyPolicy(names=False, deny={"PROJECT": ["", " "]}))[0].text == "Ask  him."


def test_what_is_kept_gives_way_to_what_is_not() -> None:
    text = "He lives at 12 Utrecht Street now."
    names = [[PiiSpan(15, 22, "LOCATION", 0.95)]]
    assert anonymize([text], PrivacyPolicy(), names=names)[0].text == "He lives at <STREET_ADDRESS> now."


def test_no_action_leaves_behind_what_the_leak_scan_would_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_PRIVACY_KEY", KEY)
    text = " ".join(sentence for sentence, _ in FOUND.values())
    for action in ("replace", "hash", "pseudonym", "encrypt", "mask"):
        policy = PrivacyPolicy(names=False, default_action=action)
        assert leak_scan([anonymize([text], policy)[0].text], policy) == [[]]


def test_the_countries_table_is_presidios() -> None:
    from headwater.privacy.presidio import all_recognizers

    found: dict[str, set[str]] = {}
    for recognizer in all_recognizers(PATTERNS):
        found.setdefault(recognizer.country_code() or "", set()).update(recognizer.supported_entities)
    assert {country: set(entities) for country, entities in COUNTRIES.items()} == {c: e for c, e in found.items() if c}
    assert found[""] == set(EVERYWHERE)


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (["actions:", "  EMAIL: hash"], 6, "unknown entity EMAIL"),
        (["actions:", "  US_SSN: shred"], 7, "'replace', 'mask'"),
        (["actions:", "  email: mask"], 7, "pattern"),
        (["countries: [us, atlantis]"], 6, "atlantis"),
        (["allow_patterns: ['(']"], 6, "not a regular expression"),
        (["recognizers:", "  - {entity: BADGE, patterns: ['[0-9']}"], 7, "not a regular expression"),
        (["key_env: 'not a name'"], 6, "pattern"),
    ],
)
def test_a_mistake_in_the_policy_names_file_line_and_what_is_known(
    tmp_path: Path, lines: list[str], line: int, words: str
) -> None:
    file = tmp_path / "defs.yaml"
    head = ["type: assets.corpus.Corpus", "attributes:", "  source:", "    uri: ./documents", "  privacy:"]
    file.write_text("\n".join([*head, *(f"    {text}" for text in lines)]))
    with pytest.raises(ConfigError, match=rf"defs\.yaml:{line}: attributes\.privacy.*{re.escape(words)}"):
        load_corpus_file(file)


# --- spans and pieces -------------------------------------------------------------------------------------------

SPANS = st.lists(
    st.builds(
        lambda start, length, entity, score: PiiSpan(start, start + length, entity, score),
        st.integers(0, 30),
        st.integers(1, 12),
        st.sampled_from(["PERSON", "PHONE_NUMBER", "US_SSN"]),
        st.sampled_from([0.4, 0.6, 1.0]),
    ),
    max_size=8,
)


@given(SPANS)
def test_resolved_spans_do_not_overlap_and_cover_the_same_text(spans: list[PiiSpan]) -> None:
    text = "a1 - b2, c3. " * 4
    kept = resolve(text, spans)
    assert all(first.end <= second.start for first, second in pairwise(kept))
    covered = {i for span in kept for i in range(span.start, span.end) if text[i].isalnum()}
    assert covered == {i for span in spans for i in range(span.start, span.end) if text[i].isalnum()}


def test_the_higher_score_wins_then_the_longer_span() -> None:
    text = "0123456789"
    weak, strong = PiiSpan(0, 10, "PHONE_NUMBER", 0.4), PiiSpan(0, 10, "US_SSN", 0.9)
    assert resolve(text, [weak, strong]) == [strong]
    short, long = PiiSpan(2, 5, "UK_NHS", 0.4), PiiSpan(0, 10, "PHONE_NUMBER", 0.4)
    assert resolve(text, [short, long]) == [long]


@given(st.lists(st.sampled_from(["word ", "\n", "\n\n", "x" * 700, "y" * 9000]), max_size=40).map("".join))
def test_pieces_cover_the_text_once_and_overlap(text: str) -> None:
    pieces = list(split(text, PATTERN_PIECE))
    assert [piece.core_start for piece in pieces] == [0, *(piece.core_end for piece in pieces[:-1])][: len(pieces)]
    assert not pieces or pieces[-1].core_end == len(text)
    for piece in pieces:
        assert piece.core_end - piece.core_start <= PATTERN_PIECE
        assert piece.start <= max(0, piece.core_start - MARGIN // 2)
        assert piece.end >= min(len(text), piece.core_end + MARGIN // 2)
