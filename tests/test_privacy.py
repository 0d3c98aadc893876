from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater import ConfigError, PiiSpan, PrivacyPolicy, RowError, anonymize, find_pii
from headwater.edits import Edit, apply_edits
from headwater.privacy import engine, leak_scan, nlp_pipeline, pipeline
from headwater.privacy.entities import NOT_BY_DEFAULT
from headwater.privacy.pieces import MARGIN, PATTERN_PIECE, split
from headwater.privacy.spans import resolve

EXACT = PrivacyPolicy(keep_identifiers=False)

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
}


@pytest.fixture(autouse=True)
def patterns_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Behave as an install without spaCy pipelines does, whatever this machine has."""
    monkeypatch.setattr(pipeline, "DEFAULT_MODELS", {})
    engine.load_engine.cache_clear()
    yield
    engine.load_engine.cache_clear()


def values(text: str, spans: list[PiiSpan]) -> list[tuple[str, str]]:
    return [(span.entity, text[span.start : span.end]) for span in spans]


@pytest.mark.parametrize("entity", FOUND)
def test_structured_entities_are_found_and_replaced(entity: str) -> None:
    text, value = FOUND[entity]
    assert values(text, find_pii([text])[0]) == [(entity, value)]
    assert anonymize([text])[0].text == text.replace(value, f"<{entity}>")


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
    assert find_pii([text]) == [[]]


def test_what_a_link_gives_away_is_found() -> None:
    text = "https://example.org/?mail=ilse@example.org&card=4111111111111111&call=212-555-0142"
    assert {entity for entity, _ in values(text, find_pii([text])[0])} >= {"EMAIL_ADDRESS", "CREDIT_CARD"}
    text = "https://example.org/articles/2125550142"
    assert values(text, find_pii([text], EXACT)[0]) == [("PHONE_NUMBER", "2125550142")]


def plain_findings(text: str) -> set[tuple[int, int, str, float]]:
    """What Presidio finds in the whole text without any of the shortcuts: every token read, every line dialled."""
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

    from headwater.privacy.presidio import WholeWordContext

    class WordsAsLemmas(SpacyNlpEngine):
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            doc = self.nlp[language](text)
            return NlpArtifacts([], doc, [token.idx for token in doc], [token.text for token in doc], self, language)

    analyzer = AnalyzerEngine(nlp_engine=WordsAsLemmas(), context_aware_enhancer=WholeWordContext())
    entities = sorted(set(analyzer.get_supported_entities("en")) - {*NOT_BY_DEFAULT, "PERSON", "LOCATION", "NRP"})
    found = analyzer.analyze(text, "en", entities=entities, score_threshold=EXACT.min_score)
    return {(item.start, item.end, item.entity_type, item.score) for item in found}


FILLER = "The pump of the north house runs at night, and nobody counts its turns. " * 3
HARD = [
    *(text for text, _ in FOUND.values()),
    " ".join(text for text, _ in FOUND.values()),
    "Numbers: 164858, 3.63 - 3.94, 2912539462, +43 1 2345, +49 30 901820, 00 44 20 7946 0958, 911, (0)20 7946 0958 x12",
    "bank account\n\n945456787654\n\npassport_number: 912803456; accounts: 12345678, license(s) D1234567",
    "fe80::1 and ::ffff:192.0.2.1, dead:beef::, aa-bb-cc-dd-ee-ff, abcd.abcd.abcd, ١٢٣٤٥٦٧٨٩٠",
    "\n\n".join(f"{FILLER}\n{text}" for text, _ in FOUND.values()),
    "\n".join(f"| pump {i} | {i * 7919} | +1 212 555 {i:04} | x{i}@example.org |" for i in range(400)),
    FILLER * 9 + " ".join(f"{FILLER}{text}" for text, _ in FOUND.values()),
    "x" * 9000 + " ilse@example.org " + "y" * 9000,
]


@pytest.mark.parametrize("index", range(len(HARD)))
def test_the_shortcuts_lose_nothing_that_presidio_finds(index: int) -> None:
    text = HARD[index]
    expected = [PiiSpan(*item) for item in plain_findings(text)]
    assert find_pii([text], EXACT)[0] == resolve(text, expected)


def test_every_recogniser_that_runs_by_default_may_be_skipped_safely() -> None:
    loaded = engine.load_engine("en", None)
    assert set(loaded.choose(None)) <= engine.SKIPPABLE


def test_whatever_a_pattern_matches_holds_a_trigger() -> None:
    recognizers = engine.load_engine("en", None).recognition.analyzer.registry.recognizers
    flags = re.IGNORECASE | re.DOTALL | re.MULTILINE
    patterns = [
        re.compile(pattern.regex, flags)
        for recognizer in recognizers
        if recognizer.supported_entities[0] in engine.SKIPPABLE
        for pattern in getattr(recognizer, "patterns", [])
    ]
    assert len(patterns) > 30

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of([st.tuples(st.just(pattern), st.from_regex(pattern)) for pattern in patterns]))
    def holds(case: tuple[re.Pattern[str], str]) -> None:
        found = case[0].search(case[1])
        assert found is None or not found[0] or not engine.nothing_in(case[1], *found.span())

    holds()


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
def test_the_linewise_phone_recogniser_finds_what_presidios_finds(text: str) -> None:
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    from headwater.privacy.presidio import LinewisePhoneRecognizer

    linewise, whole = LinewisePhoneRecognizer("en"), PhoneRecognizer()
    spans = [{(r.start, r.end) for r in one.analyze(text, ["PHONE_NUMBER"], None)} for one in (linewise, whole)]
    assert spans[0] >= spans[1]
    assert resolve(text, [PiiSpan(*s, "P", 0.4) for s in spans[0]]) == resolve(
        text, [PiiSpan(*s, "P", 0.4) for s in spans[1]]
    )


def test_a_replacement_is_an_edit_of_the_original() -> None:
    text = " ".join(sentence for sentence, _ in FOUND.values())
    for action in ("replace", "mask"):
        done = anonymize([text], PrivacyPolicy(action=action))[0]
        assert apply_edits(text, [Edit(item.start, item.end, item.text) for item in done.replacements]) == done.text
        assert {item.entity for item in done.replacements} == set(FOUND)
        assert not any(value in done.text for _, value in FOUND.values())


def test_a_mask_keeps_the_length() -> None:
    done = anonymize(["Write to ilse@example.org."], PrivacyPolicy(action="mask"))[0]
    assert done.text == "Write to ****************."


def test_allowed_strings_and_unlisted_entities_stay() -> None:
    text = "Write to help@example.org or ilse@example.org from 203.0.113.77."
    policy = PrivacyPolicy(allow=["help@example.org"], entities=["EMAIL_ADDRESS"])
    assert anonymize([text], policy)[0].text == "Write to help@example.org or <EMAIL_ADDRESS> from 203.0.113.77."


def test_a_disabled_policy_changes_nothing() -> None:
    assert anonymize(["Write to ilse@example.org."], PrivacyPolicy(enabled=False))[0].replacements == ()


def test_numbers_of_other_countries_are_found_when_named() -> None:
    text = "Her national insurance number is AB123456C here."
    assert find_pii([text]) == [[]]
    assert values(text, find_pii([text], PrivacyPolicy(entities=["UK_NINO"]))[0]) == [("UK_NINO", "AB123456C")]


def test_an_unknown_entity_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.entities: unknown EMAIL\..*EMAIL_ADDRESS"):
        find_pii(["text"], PrivacyPolicy(entities=["EMAIL"]))


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ConfigError, match="privacy"):
        find_pii(["text"], PrivacyPolicy(language="xq"))


def test_broken_characters_keep_their_place() -> None:
    text = "\ud800\ud83d broken \udfff, write to ilse@example.org"
    assert values(text, find_pii([text])[0]) == [("EMAIL_ADDRESS", "ilse@example.org")]


# --- leaks ------------------------------------------------------------------------------------------------------


def test_a_leak_scan_finds_what_is_left_and_ignores_placeholders() -> None:
    text = " ".join(sentence for sentence, _ in FOUND.values())
    clean = anonymize([text])[0].text
    assert leak_scan([clean]) == [[]]
    assert leak_scan(["The <US_BANK_NUMBER> 945456787654 and <PERSON>"]) == [[]]
    left = f"{clean} ilse@example.org"
    assert values(left, leak_scan([left])[0]) == [("EMAIL_ADDRESS", "ilse@example.org")]


def test_a_chunk_that_begins_inside_a_link_is_no_leak() -> None:
    assert leak_scan(["2ba-4954&pf=6FC&qid=2125550142&sbo=1 is the page."]) == [[]]
    assert leak_scan(["2125550142 is her phone."]) != [[]]


def test_no_value_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    anonymize([sentence for sentence, _ in FOUND.values()])
    assert not [record for record in caplog.records for _, value in FOUND.values() if value in record.getMessage()]


def test_an_error_of_a_recogniser_does_not_quote_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine.load_engine("en", None)

    def fail(text: str, *_: object, **__: object) -> None:
        raise ValueError(f"did not find {text}")

    monkeypatch.setattr(loaded.recognition.analyzer, "analyze", fail)
    with pytest.raises(RowError) as error:
        find_pii(["Write to ilse@example.org."])
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


def test_without_a_pipeline_only_patterns_are_used_and_names_stay() -> None:
    assert nlp_pipeline(PrivacyPolicy()) == "none: patterns only"
    assert find_pii(["Ilse Varga called."]) == [[]]
    assert find_pii(["Ilse Varga called."], PrivacyPolicy(entities=["PERSON"])) == [[]]


def test_a_pipeline_finds_names_also_across_the_pieces_of_a_long_text(names: str) -> None:
    policy = PrivacyPolicy(spacy_model=names)
    assert nlp_pipeline(policy) == "en_invented_names 1.2"
    text = (
        "Norddeich Pumps pays nine euros. "
        + f"{FILLER}\nTomoko Lindqvist wrote to ilse@example.org. Ilse Varga left.\n\n" * 200
    )
    found = values(text, find_pii([text], policy)[0])
    assert (
        found == [("PERSON", "Tomoko Lindqvist"), ("EMAIL_ADDRESS", "ilse@example.org"), ("PERSON", "Ilse Varga")] * 200
    )
    organizations = find_pii([text], PrivacyPolicy(spacy_model=names, entities=["ORGANIZATION"]))[0]
    assert values(text, organizations) == [("ORGANIZATION", "Norddeich Pumps")]


def test_a_missing_pipeline_is_an_error_and_never_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy.cli

    from headwater.privacy.presidio import OfflineNlpEngine

    def download(*_: object, **__: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr(spacy.cli, "download", download)
    for call in (nlp_pipeline, lambda policy: find_pii(["text"], policy)):
        with pytest.raises(ConfigError, match="en_core_web_nowhere"):
            call(PrivacyPolicy(spacy_model="en_core_web_nowhere"))
    with pytest.raises(ConfigError, match="can't load"):
        OfflineNlpEngine("en", pipeline.Pipeline("en_core_web_nowhere", ""))


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
