from __future__ import annotations

import base64
import random
import re
import socket
import unicodedata
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater.characters import label
from headwater.edits import apply_edits
from headwater.errors import RowError
from headwater.policies import QualityPolicy
from headwater.quality import REASONS, assess, clean_edits, clean_steps, decide, signals
from headwater.quality.rules import RULES

PAGE = """# Expenses

Send receipts within thirty days of the purchase. Travel is booked by the office; ask for a quote first.

- Meals: up to forty euros a day
- Hotels: the agreed rate of the city
- Trains: second class, first class above three hours

The finance team pays on the last working day of the month and answers questions on weekday mornings.
"""
GERMAN = (
    "Belege sind innerhalb von drei\u00dfig Tagen nach dem Kauf einzureichen. Reisen werden vom B\u00fcro gebucht; bitte "
    "vorher um ein Angebot bitten. Die Buchhaltung zahlt am letzten Arbeitstag des Monats und beantwortet Fragen am Vormittag."
)
LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna "
    "aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat."
)


def reason(text: str, policy: QualityPolicy | None = None) -> str:
    return str(assess([text], policy or QualityPolicy())["reason"][0])


def random_words(letters: str, count: int = 80) -> str:
    generator = random.Random(1)
    return " ".join("".join(generator.choices(letters, k=generator.randint(3, 10))) for _ in range(count))


def log(line: str, count: int = 100) -> str:
    generator = random.Random(2)
    return "\n".join(
        line.format(second=i % 60, number=generator.randint(1, 9999), id=generator.randbytes(4).hex())
        for i in range(count)
    )


GOOD = {
    "page": PAGE,
    "one sentence": "The office is closed on Friday.",
    "list of names": "\n".join(f"- Team {name}" for name in ("Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot")),
    "comma-separated": "name,team,city\n" + "\n".join(f"Person {i},Team {i % 3},City {i % 5}" for i in range(200)),
    "figures": "date,open,close\n"
    + "\n".join(f"2024-01-{i % 28 + 1:02},{i * 1.37:.2f},{i * 1.41:.2f}" for i in range(200)),
    "measurements": "time,load\tx,y\n"
    + "\n".join(f"2024-01-01 12:{i % 60:02}:00,{i * 1.37:.2f},{i},0" for i in range(200)),
    "markdown table": "| Item | Done | Paid |\n|---|---|---|\n"
    + "\n".join(f"| Item {i} | yes | no |" for i in range(200)),
    "statement": "Revenue 2023 1,234 2022 1,100\nCosts 2023 800 2022 700\nProfit 2023 434 2022 400\n",
    "code": "def add(a, b):\n    return a + b\n\n\nclass Basket:\n    def total(self):\n        for item in self.items:\n            yield item\n",
    "transcript": "\n".join(f"00:{i:02}:10 Speaker {i % 2}: {' '.join(PAGE.split()[i : i + 12])}" for i in range(40)),
    "page with a repeated example": PAGE + "\n".join(["curl --request GET https://example.org/api/items"] * 6),
}
BAD = {
    "no_text": " \n\u200b\t ",
    "too_short": "Work in progress",
    "garbled": PAGE + "\ufffd.\ufffd-" * 40,
    "not_language": random_words("abcdefghijklmnopqrstuvwxyz"),
    "mostly_symbols": "## a ... " * 60,
    "mostly_numbers": " ".join(str(i * 37) for i in range(300)),
    "machine_log": log("2024-05-01 12:00:{second:02} worker-{number} heartbeat from node {id} after {number} ms"),
    "repetitive": "The connection to the server was lost, trying again.\n" * 100,
    "placeholder": LOREM,
    "foreign_language": GERMAN,
}


@pytest.mark.parametrize("name", GOOD)
def test_documents_of_a_company_are_kept(name: str) -> None:
    assert reason(GOOD[name]) == "ok"


@pytest.mark.parametrize("code", BAD)
def test_what_cannot_be_answered_from_is_rejected_with_its_reason(code: str) -> None:
    assert reason(BAD[code]) == code


@pytest.mark.parametrize(
    "text",
    [
        base64.encodebytes(random.Random(3).randbytes(3000)).decode(),
        random.Random(3).randbytes(3000).hex(" "),
        random.Random(3).randbytes(3000).hex(" ", 4),
        random_words("asdfghjkl"),
    ],
    ids=["base64", "bytes in hexadecimal", "words in hexadecimal", "home row"],
)
def test_encoded_data_and_keystrokes_are_not_language(text: str) -> None:
    assert reason(text) == "not_language"


def test_logs_are_known_by_their_level_too() -> None:
    assert reason(log("INFO worker {number} finished job {id}")) == "machine_log"


def test_words_said_over_and_over_are_repetitive() -> None:
    assert reason("buy now " * 100) == "repetitive"
    assert reason("this phrase goes on and on " * 100) == "repetitive"


def test_every_reason_can_occur_and_has_words_for_the_owner() -> None:
    rules = {rule.reason for rule in RULES if rule.family in (None, "business")}
    assert set(BAD) | {"blocked"} == rules
    assert {rule.reason for rule in RULES} == set(REASONS)
    assert all(message.endswith(".") and advice.endswith(".") for message, advice in REASONS.values())


def test_the_first_reason_in_order_wins() -> None:
    assert reason("\ufffd \ufffd") == "too_short"
    assert list(REASONS)[:3] == ["no_text", "too_short", "garbled"]


def test_languages_are_a_choice() -> None:
    assert reason(GERMAN, QualityPolicy(languages=["en", "de"])) == "ok"
    assert reason(GERMAN, QualityPolicy(languages=[])) == "ok"
    assert reason(PAGE, QualityPolicy(languages=["de"])) == "foreign_language"
    minutes = "\u4f1a\u8b70\u306e\u8b70\u4e8b\u9332\u306f\u7fcc\u65e5\u307e\u3067\u306b\u5171\u6709\u3057\u3066\u304f\u3060\u3055\u3044\u3002"
    assert reason(minutes * 3, QualityPolicy(languages=["ja"])) == "ok"


def test_language_is_an_iso_code_or_undetermined() -> None:
    frame = assess([PAGE, GERMAN, "12 34 56", "", "\ud800"])
    assert frame["language"].to_list() == ["en", "de", "und", "und", "und"]
    assert frame["language_score"][1] > 0.9


def test_a_few_names_are_not_judged_by_the_language_they_resemble() -> None:
    frame = assess(["Menu, salade, dessert, fromage, cafe", "Kick-off agenda, roadmap, status, actions"])
    assert frame["reason"].to_list() == ["ok", "ok"]
    assert reason(GERMAN[:70]) == "foreign_language"


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    from headwater.quality import language

    language._detector.cache_clear()
    assert assess([PAGE])["language"].to_list() == ["en"]


def test_a_changed_threshold_decides_again_without_the_text() -> None:
    measured = signals(["Work in progress", PAGE])
    assert decide(measured, QualityPolicy())["reason"].to_list() == ["too_short", "ok"]
    assert decide(measured, QualityPolicy(min_words=2))["keep"].to_list() == [True, True]
    assert decide(measured, QualityPolicy(min_words=500))["reason"].to_list() == ["too_short", "too_short"]


def test_signals_count_what_they_say() -> None:
    row = signals(["## One two\nx1 1.5 ...\n\u4e2d\u6587"]).row(0, named=True)
    assert row["words"] == 7  # one two x1 1 5 and two ideographs
    assert row["characters"] == 18
    assert row["symbol_word_ratio"] == pytest.approx(2 / 7)
    assert row["alpha_word_share"] == pytest.approx(5 / 7)
    assert row["mixed_word_share"] == pytest.approx(1 / 7)
    assert row["mean_word_length"] == pytest.approx(12 / 7)
    assert row["ascii_letters"] == 7
    assert row["vowel_share"] == pytest.approx(3 / 7)
    repeated = signals(["a line that is long enough\n" * 4]).row(0, named=True)
    assert repeated["duplicate_line_share"] == pytest.approx(0.75)
    assert repeated["repeated_phrase_share"] == pytest.approx(1 - 6 / 20)
    assert repeated["top_word_share"] == pytest.approx(1 / 6)
    assert signals(["rhythm strengths"])["consonant_run_share"][0] == pytest.approx(5 / 15)


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=5))
def test_each_text_is_judged_alone_and_in_order(texts: list[str]) -> None:
    together = assess(texts)
    assert together.height == len(texts)
    assert together.columns[:6] == ["keep", "reason", "language", "language_score", "text", "profile"]
    assert together["keep"].to_list() == [code == "ok" for code in together["reason"]]
    if texts:
        assert together.equals(pl.concat([assess([text]) for text in texts]))
        share = together.select(pl.col("^.*_share$"))
        assert share.min_horizontal().min() >= 0
        assert share.max_horizontal().max() <= 1


@settings(deadline=None)
@given(
    st.text(
        st.sampled_from("ab. \t\n\r\x0c\x00\x85\xa0\xad\u2003\u2028\u200b\u200d\ufeff\ufffd\ud800\U000e0041"),
        max_size=40,
    )
)
def test_cleaning_is_complete_and_changes_nothing_but_what_it_should(text: str) -> None:
    edits = clean_edits(text)
    clean = apply_edits(text, edits)
    assert clean_edits(clean) == []
    assert not re.search(r"[ \t]\n|\n{4}|[ \t]\Z|[\x00\r\xa0\xad\u200b\ufeff\ud800]|\ufffd{2}", clean)
    assert re.sub(r"[^ab.]", "", clean) == re.sub(r"[^ab.]", "", text)
    assert clean.split() == apply_edits(text, edits).split()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("co\u00adope\u200brate", "cooperate"),
        ("one\r\ntwo\rthree\x0cfour", "one\ntwo\nthree\nfour"),
        ("a  \nb\t\n\n\n\n\n  c   ", "a\nb\n\n  c"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("10\u00a0000 euros", "10 000 euros"),
        ("caf\ufffd\ufffd\ufffd", "caf\ufffd"),
        ("\ufeffTitle", "Title"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("x\U000e0068\U000e0069y", "xy"),
        ("ann\u200da@\u200cexample\u034f.o\u200b\ufe0frg\u200d", "anna@example.org"),
        ("DE89\u200d3704\u20600044\u3164 \u200cИв\u200dан", "DE8937040044 Иван"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("ന്\u200d.", "ന്\u200d."),
        ("PDF\u200cها", "PDF\u200cها"),
        (
            "1\ufe0f\u20e3 \xa9\ufe0f \u2764\ufe0f\u200d\U0001f525",
            "1\ufe0f\u20e3 \xa9\ufe0f \u2764\ufe0f\u200d\U0001f525",
        ),
        ("Jose\u0301 and Jose\u200b\u0301", "Jos\u00e9 and Jos\u00e9"),
    ],
)
def test_cleaning(text: str, clean: str) -> None:
    assert assess([text])["text"][0] == clean


@pytest.mark.timeout(20)  # a copy of the text for every joiner would take a minute
def test_a_label_full_of_joiners_takes_linear_time() -> None:
    assert label("a\u200cb" * 400_000) == "ab" * 400_000


def test_a_label_keeps_joiners_only_where_they_mean_something() -> None:
    assert label("Desk: ann\u200da@exam\ufe0fple.org \u2764\ufe0f, می\u200cخواهم") == (
        "Desk: anna@example.org \u2764\ufe0f, می\u200cخواهم"
    )


@settings(deadline=None)
@given(
    st.text(
        st.sampled_from("e \u0301\u0323\u1100\u1161\u11a8\u0b47\u0b3e\u200b\u200d\ufe0f\u212a\u1680\ud800\n"),
        max_size=20,
    )
)
def test_cleaned_text_is_composed(text: str) -> None:
    clean = assess([text])["text"][0]
    assert unicodedata.is_normalized("NFC", clean)
    assert assess([clean])["text"][0] == clean


def test_cleaning_takes_linear_time() -> None:
    hostile = [
        " " * 300_000 + "x",
        "\n " * 150_000,
        ("\u200b" * 1000 + " ") * 300,
        "\t" * 300_000,
        "\ufffd\u200b" * 150_000,
        "\u200b" * 150_000 + "\u200d" * 150_000,
    ]
    for text in hostile:
        for edits in clean_steps(text, QualityPolicy()):
            assert len(apply_edits(text, edits)) <= len(text)
            text = apply_edits(text, edits)


@pytest.mark.parametrize(
    ("text", "policy", "clean"),
    [
        ("See https://www.example.org/a/b?c=1#d, then go.", {"urls": "shorten"}, "See example.org, then go."),
        (
            "(http://user@example.org:8080/x(1)) and www.example.net",
            {"urls": "shorten"},
            "(example.org) and example.net",
        ),
        ("See https://example.org/a  \nand more", {"urls": "remove"}, "See\nand more"),
        ("mail@www.example.org stays", {"urls": "remove"}, "mail@www.example.org stays"),
        ("Title\n----------\n*****", {"max_symbol_run": 3}, "Title\n---\n***"),
        ("aaaaaa 1111 ....", {"max_symbol_run": 3}, "aaaaaa 1111 ..."),
        ("--https://example.org/a--", {"urls": "remove", "max_symbol_run": 2}, "--"),
    ],
)
def test_links_and_runs_of_signs_are_cleaned_on_request(text: str, policy: dict[str, Any], clean: str) -> None:
    assert assess([text], QualityPolicy(**policy))["text"][0] == clean
    assert assess([text])["text"][0].split() == text.split()


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["http://", "www.", "a.b", "/x", "(", ")", " ", "\n", "-", "--", "*", ".", "@", "\u200b"]),
        max_size=30,
    ).map("".join)
)
def test_cleaning_on_request_is_complete_too(text: str) -> None:
    for urls in ("shorten", "remove"):
        policy = QualityPolicy(urls=urls, max_symbol_run=2)
        clean = assess([text], policy)["text"][0]
        assert list(clean_steps(clean, policy)) == []


def test_blocked_words_and_patterns_keep_a_document_out() -> None:
    policy = QualityPolicy(block_keywords=["Travel  is booked", "euro"], block_patterns=[r"HX-\d{4}"])
    assert reason(PAGE, policy) == "blocked"
    assert reason(PAGE.replace("Travel is", "TRAVEL\n is"), policy) == "blocked"
    assert reason(PAGE.replace("is booked", "was booked"), policy) == "ok"  # euros are not euro
    assert reason(PAGE.replace("is booked", "was booked HX-1234"), policy) == "blocked"
    assert assess([PAGE], policy)["blocked_matches"][0] == 1


@pytest.mark.parametrize(
    "setting", [{"block_patterns": ["("]}, {"block_patterns": ["a*"]}, {"block_keywords": [" "]}, {"rules": ["books"]}]
)
def test_a_policy_that_can_not_work_is_refused_when_it_is_read(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QualityPolicy(**setting)


def test_a_pattern_without_end_costs_the_document_only() -> None:
    policy = QualityPolicy(block_patterns=[r"(\w+)+\d$"])
    with pytest.raises(RowError) as caught:
        assess(["a" * 5000 + "!"], policy)
    assert caught.value.code == "block_pattern_timeout"
    assert "aaa" not in str(caught.value)


def test_tables_and_code_are_judged_as_such() -> None:
    code = "\n".join(f"    self.cells[{i}] = load(path, index={i})\n    row{i} += fetch(cells);" for i in range(40))
    frame = assess([PAGE, GOOD["comma-separated"], code])
    assert frame["profile"].to_list() == ["prose", "table", "code"]
    assert frame["reason"].to_list() == ["ok", "ok", "ok"]
    sheet = "\n".join(f"A{i}E{i * 7} O{i}N" for i in range(60))
    assert assess([sheet])["reason"][0] == "not_language"
    assert assess([sheet], content_types=["text/csv"]).select("profile", "reason").row(0) == ("table", "ok")
    assert assess([PAGE], QualityPolicy(min_table_line_share=0.0))["profile"][0] == "table"
