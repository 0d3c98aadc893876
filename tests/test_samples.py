"""The sample corpus is what its README says: enough formats, and every planted case of its kind."""

from __future__ import annotations

import email
import email.policy
import html
import io
import ipaddress
import json
import re
import shutil
import subprocess
import sys
import zipfile
from itertools import combinations
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

import headwater
from headwater.config import load_corpus_file

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
FOOTER = "Merrowbeck Instruments keeps this document for its staff and its contracted partners."


def read_jsonl(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text(encoding="utf-8").splitlines()]


def run_build(out: Path) -> None:
    command = [sys.executable, "-B", str(SAMPLES / "build.py"), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents that build.py makes, in a folder of their own."""
    out = tmp_path_factory.mktemp("made")
    run_build(out)
    return out


@pytest.fixture(scope="module")
def corpus(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every document by key, whether or not somebody has built inside the checkout already."""
    out = tmp_path_factory.mktemp("corpus") / "documents"
    shutil.copytree(SAMPLES / "documents", out)
    shutil.copytree(made, out, dirs_exist_ok=True)
    return {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}


def text_of(path: Path) -> str:
    """Return a document's text by the shortest way for its content; white space is one blank."""
    data = path.read_bytes()
    if data.startswith(b"%PDF"):
        pages = pypdfium2.PdfDocument(data)
        text = "\n".join(page.get_textpage().get_text_range() for page in pages)
    elif path.suffix in (".docx", ".pptx", ".xlsx"):
        text = _office_text(path)
    elif path.suffix == ".eml":
        message = email.message_from_bytes(data, policy=email.policy.default)
        body = message.get_body(("plain",))
        assert body is not None
        text = body.get_content()
    else:
        text = data.decode()
        if text.startswith("<!DOCTYPE html>"):
            text = html.unescape(re.sub(r"<[^>]+>", " ", text))
    return " ".join(text.split())


def _office_text(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        wanted = r"(word/document|ppt/slides/slide\d+|xl/worksheets/sheet\d+)\.xml"
        parts = [archive.read(name).decode() for name in archive.namelist() if re.fullmatch(wanted, name)]
    paragraphs = re.sub(r"</(w:p|a:p|c)>", "\n", "\n".join(parts))
    return html.unescape(re.sub(r"<[^>]+>", "", paragraphs))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


UNREADABLE = {"inbox/meeting-notes-new.txt", "inbox/board-pack.docx", "inbox/boathouse-contract.pdf"}
NOT_PROSE = {*UNREADABLE, "inbox/keyboard-test.txt", "data/gauge-log.txt"}


@pytest.fixture(scope="module")
def texts(corpus: dict[str, Path]) -> dict[str, str]:
    """The text of every document that can be read and holds prose."""
    return {key: text_of(path) for key, path in corpus.items() if key not in NOT_PROSE}


def test_there_are_documents_in_nine_formats(corpus: dict[str, Path]) -> None:
    assert len(corpus) >= 36
    suffixes = {path.suffix for path in corpus.values()}
    assert suffixes >= {".md", ".html", ".txt", ".docx", ".pptx", ".xlsx", ".csv", ".eml", ".pdf"}


def test_documents_are_long_enough_to_ask_about_and_short_enough_to_read(texts: dict[str, str]) -> None:
    lengths = {key: len(text.split()) for key, text in texts.items()}
    assert {key: words for key, words in lengths.items() if not 140 <= words <= 900} == {}


def test_a_second_build_writes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    run_build(tmp_path)
    first = {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    second = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert first == second


def test_expected_states_name_documents_that_exist_and_the_readme_explains(corpus: dict[str, Path]) -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for case in read_jsonl("expected.jsonl"):
        assert case["key"] in corpus
        assert case["survivor"] is None or case["survivor"] in corpus
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{case['key']}`"))
        assert case["state"] in row
        assert case["reason"] in row


def test_exact_copies_are_the_same_bytes(corpus: dict[str, Path]) -> None:
    for one, other in (
        ("policies/leave.md", "shared-drive/leave-policy-copy.md"),
        ("policies/procurement.md", "hr/procurement-rules-copy.md"),
    ):
        assert corpus[one].read_bytes() == corpus[other].read_bytes()


def test_the_near_duplicate_is_near_and_shorter_with_and_without_the_footer(texts: dict[str, str]) -> None:
    survivor, draft = (texts[key] for key in ("products/dipper-d2-manual.md", "shared-drive/dipper-d2-manual-draft.md"))
    assert len(draft) < len(survivor)
    assert jaccard(survivor, draft) >= 0.85
    assert jaccard(survivor.partition(FOOTER)[0], draft.partition(FOOTER)[0]) >= 0.85


def test_no_other_two_documents_are_near_duplicates(texts: dict[str, str]) -> None:
    sets = {key: shingles(text) for key, text in texts.items()}
    near = {
        (one, other): len(sets[one] & sets[other]) / len(sets[one] | sets[other])
        for one, other in combinations(sets, 2)
    }
    assert {pair for pair, value in near.items() if value >= 0.6} == {
        ("policies/leave.md", "shared-drive/leave-policy-copy.md"),
        ("hr/procurement-rules-copy.md", "policies/procurement.md"),
        ("products/dipper-d2-manual.md", "shared-drive/dipper-d2-manual-draft.md"),
    }
    assert 0.3 <= near["operations/site-visit-lowland.md", "operations/site-visit-upland.md"] <= 0.5


def test_the_revision_answers_the_same_question_otherwise(texts: dict[str, str]) -> None:
    page = texts["policies/travel.md"]
    revision = text_of(SAMPLES / "revisions/policies/travel.md")
    assert "The meal allowance is 42 EUR for each full day away" in page
    assert "The meal allowance is 48 EUR for each full day away" in revision
    assert 0.5 <= jaccard(page, revision) < 0.8


def test_the_footer_is_repeated_as_a_whole_paragraph(corpus: dict[str, Path]) -> None:
    paragraphs = []
    for path in corpus.values():
        if path.suffix in (".md", ".txt", ".eml"):
            paragraphs += [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(FOOTER)]
    assert len(paragraphs) >= 12
    assert len(set(paragraphs)) == 1


def test_the_footer_reaches_the_share_of_documents_that_makes_it_boilerplate(texts: dict[str, str]) -> None:
    holders = [text for text in texts.values() if FOOTER in text]
    assert len(holders) >= 12
    assert len(holders) >= 0.4 * len(texts)


def luhn(number: str) -> bool:
    digits = [int(digit) for digit in number if digit.isdigit()][::-1]
    return sum(sum(divmod(digit * (1 + i % 2), 10)) for i, digit in enumerate(digits)) % 10 == 0


def iban(number: str) -> bool:
    compact = number.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def nhs(number: str) -> bool:
    digits = [int(digit) for digit in number if digit.isdigit()]
    return sum(digit * weight for digit, weight in zip(digits, range(10, 0, -1), strict=True)) % 11 == 0


def medical(number: str) -> bool:
    digits = [int(digit) for digit in number[2:]]
    return (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


def reserved_address(number: str) -> bool:
    documentation = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32")]
    return any(ipaddress.ip_address(number) in network for network in documentation)


def test_personal_data_is_invented_valid_and_where_the_list_says(texts: dict[str, str]) -> None:
    valid = {
        "CREDIT_CARD": luhn,
        "IBAN_CODE": iban,
        "UK_NHS": nhs,
        "MEDICAL_LICENSE": medical,
        "IP_ADDRESS": reserved_address,
        "EMAIL_ADDRESS": re.compile(r"[a-z.]+@example\.(com|net|org)").fullmatch,
        "PHONE_NUMBER": re.compile(r"\(\d{3}\) 555-01\d\d|\+44 20 7946 0\d{3}").fullmatch,
        "MAC_ADDRESS": re.compile(r"00:00:5E:00:53:[0-9A-F]{2}").fullmatch,
        "US_SSN": re.compile(r"219-09-9999").fullmatch,
        "US_ITIN": re.compile(r"9\d\d-70-0000").fullmatch,
    }
    rows = read_jsonl("personal_data.jsonl")
    for row in rows:
        assert row["value"] in texts[row["key"]]
        assert valid.get(row["entity"], bool)(row["value"]), row["entity"]
    assert {row["key"] for row in rows} == {"hr/offer-letter-2025-118.docx", "support/tickets/ticket-4127.eml"}


def test_personal_data_covers_every_kind_that_presidio_finds_in_english_by_pattern() -> None:
    from presidio_analyzer import RecognizerRegistry

    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    kinds = {entity for recognizer in registry.recognizers for entity in recognizer.supported_entities}
    planted = {row["entity"] for row in read_jsonl("personal_data.jsonl")}
    assert kinds - {"DATE_TIME", "URL", "NRP", "ORGANIZATION", "PERSON", "LOCATION"} <= planted
    assert {"PERSON", "LOCATION"} <= planted


def test_files_that_can_not_be_read_are_broken_in_the_way_they_should(corpus: dict[str, Path]) -> None:
    assert corpus["inbox/meeting-notes-new.txt"].read_bytes() == b""
    document = corpus["inbox/board-pack.docx"].read_bytes()
    assert document.startswith(b"PK\x03\x04")
    assert not zipfile.is_zipfile(io.BytesIO(document))
    contract = corpus["inbox/boathouse-contract.pdf"]
    with pytest.raises(pypdfium2.PdfiumError, match="password"):
        pypdfium2.PdfDocument(contract)
    assert len(pypdfium2.PdfDocument(contract, password="kingcup-meadow")) == 1


def test_wrong_extensions_hide_another_format(corpus: dict[str, Path], texts: dict[str, str]) -> None:
    assert corpus["inbox/visitor-wifi.txt"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert corpus["inbox/site-survey.doc"].read_bytes().startswith(b"%PDF-")
    assert "The channel is 23 metres wide" in texts["inbox/site-survey.doc"]


def test_the_log_is_large_and_repeats_itself(corpus: dict[str, Path]) -> None:
    data = corpus["data/gauge-log.txt"].read_bytes()
    lines = data.decode().splitlines()
    assert 5_000_000 <= len(data) <= 5_010_000
    assert 1 - len(set(lines)) / len(lines) > 0.9


def test_gibberish_has_no_vowels_and_other_languages_are_other_languages(corpus: dict[str, Path]) -> None:
    assert not set("aeiou") & set(corpus["inbox/keyboard-test.txt"].read_text(encoding="utf-8"))
    german = text_of(corpus["products/kurzanleitung-heron-h3.md"]).lower().split()
    french = text_of(corpus["products/guide-rapide-heron-h3.html"]).lower().split()
    assert sum(word in {"der", "die", "das", "und", "mit", "den"} for word in german) > 0.1 * len(german)
    assert sum(word in {"le", "la", "les", "de", "et", "du", "des"} for word in french) > 0.1 * len(french)


def test_golden_quotes_are_verbatim_public_and_in_surviving_documents(texts: dict[str, str]) -> None:
    golden = read_jsonl("golden.jsonl")
    answerable = [question for question in golden if question["answers"]]
    lost = {case["key"] for case in read_jsonl("expected.jsonl") if case["state"] != "indexed"}
    answers = [answer for question in answerable for answer in question["answers"]]
    assert len(golden) == len({question["id"] for question in golden}) == 25
    assert len(answerable) == 20
    assert len({Path(answer["key"]).suffix for answer in answers}) >= 6
    for answer in answers:
        assert answer["quote"] in texts[answer["key"]], answer
        assert answer["key"] not in lost
        assert not answer["key"].startswith("hr/")
        assert answer["quote"] not in FOOTER


def test_golden_quotes_survive_the_new_revision() -> None:
    revised = {
        path.relative_to(SAMPLES / "revisions").as_posix(): text_of(path)
        for path in (SAMPLES / "revisions").rglob("*")
        if path.is_file()
    }
    answers = [answer for question in read_jsonl("golden.jsonl") for answer in question["answers"]]
    affected = [answer for answer in answers if answer["key"] in revised]
    assert affected
    assert all(answer["quote"] in revised[answer["key"]] for answer in affected)


def test_the_corpus_file_points_here_and_keeps_hr_to_itself() -> None:
    policy = load_corpus_file(ROOT / "assets" / "samples" / "defs.yaml")
    assert policy.source.uri == (SAMPLES / "documents").as_uri()
    assert policy.gate.golden == str(SAMPLES / "golden.jsonl")
    assert {rule.prefix: rule.groups for rule in policy.access} == {"": ["*"], "hr/": ["hr"]}


@pytest.mark.slow
def test_the_stages_come_to_the_expected_states_and_keep_the_golden_quotes(corpus: dict[str, Path]) -> None:
    cleaned, states = {}, dict.fromkeys(corpus, ("indexed", "ok"))
    for key, path in corpus.items():
        try:
            cleaned[key] = headwater.parse(path.read_bytes(), path.name).text
        except headwater.ParseError as error:
            states[key] = ("quarantined", error.code)
    for key, verdict in zip(list(cleaned), headwater.assess(list(cleaned.values())).iter_rows(named=True), strict=True):
        cleaned[key] = verdict["text"]
        if not verdict["keep"]:
            states[key] = ("rejected", verdict["reason"])
    kept = [key for key, (state, _) in states.items() if state == "indexed"]
    near = {(kept[i], kept[j]) for i, j, _ in headwater.near_duplicates([cleaned[key] for key in kept])}
    same_readers = {pair for pair in near if len({key.startswith("hr/") for key in pair}) == 1}
    cases = read_jsonl("expected.jsonl")
    duplicates = {tuple(sorted((case["key"], case["survivor"]))) for case in cases if case["state"] == "duplicate"}
    assert same_readers == duplicates
    # Until duplicates are merged, every copy is still to be indexed.
    stopped = {case["key"]: (case["state"], case["reason"]) for case in cases if case["state"] != "duplicate"}
    assert states == dict.fromkeys(corpus, ("indexed", "ok")) | stopped
    for question in read_jsonl("golden.jsonl"):
        for answer in question["answers"]:
            assert answer["quote"] in cleaned[answer["key"]], answer
