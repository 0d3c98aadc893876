"""What documents say of themselves becomes what queries filter on, without the personal data in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import metadata
from headwater.corpus import Corpus, open_corpus
from headwater.dates import period
from headwater.errors import ReleaseError
from tests import station_corpus
from tests.mails import mail_bytes

STATED: dict[str, Any] = {
    "language": "en-GB",
    "date": "2024-05-31",
    "modified": "not a date",
    "authors": ["Ondine Marsh", " Ondine  Marsh "],
    "keywords": ["weir", "x" * 500],
    "front_matter": {
        "Team": "hydrology",
        "version": 3,
        "product.line": "Heron",
        "draft": False,
        "author": "Ondine Marsh",
        "reviewer": "Per Falk",
        "Zähler": "no name that a filter could spell",
        "essay": "word " * 100,
        "infinite": float("inf"),
        "list": ["a"],
    },
}


def test_metadata_is_chosen_from_what_the_file_states() -> None:
    assert metadata.choose(STATED, "und") == {
        "language": "en",
        "date": "2024-05-31",
        "authors": ["Ondine Marsh"],
        "keywords": ["weir"],
        "meta": {
            "team": "hydrology",
            "version": 3,
            "product_line": "Heron",
            "draft": False,
            "reviewer": "Per Falk",
        },
    }


def test_the_detected_language_goes_before_the_stated_one() -> None:
    assert metadata.choose(STATED, "de")["language"] == "de"
    assert metadata.choose({}, "und") == {}


def test_what_nobody_sees_is_taken_out_of_values_without_a_gap() -> None:
    stated = {
        "authors": ["Jose\u0301\xa0Mu\u0308ller", "Per\u2028Falk"],
        "keywords": ["ines@exam\xadple.org", "ines@\u200d\u200bexample.org", "\u200b", "a\ue000b"],
        "front_matter": {"desk": "\ufeffduty@\u2060example.org"},
    }
    assert metadata.choose(stated, None) == {
        "authors": ["Jos\u00e9 M\u00fcller", "Per Falk"],
        "keywords": ["ines@example.org", "a b"],
        "meta": {"desk": "duty@example.org"},
    }


def test_front_matter_without_end_is_cut() -> None:
    chosen = metadata.choose({"front_matter": {f"n{n}": n for n in range(1000)}}, None)
    assert len(chosen["meta"]) == metadata.MAX_NAMES


def test_persons_are_replaced_as_a_whole_and_other_strings_as_the_policy_found() -> None:
    chosen = metadata.choose(STATED, "en")
    replaced = {text: text for text in metadata.texts(chosen)} | {"hydrology": "<ORGANIZATION>"}
    assert set(replaced) == {"Ondine Marsh", "weir", "hydrology", "3", "Heron", "Per Falk"}
    cleaned = metadata.replace(chosen, replaced, lambda _: "<PERSON>")
    assert cleaned["authors"] == ["<PERSON>"]
    assert cleaned["meta"] == {
        "team": "<ORGANIZATION>",
        "version": 3,
        "product_line": "Heron",
        "draft": False,
        "reviewer": "<PERSON>",
    }
    dropped = metadata.replace(chosen, replaced, lambda _: None)
    assert "authors" not in dropped and "reviewer" not in dropped["meta"]


def test_numbers_and_persons_that_are_kept_lose_other_personal_data() -> None:
    chosen = {"authors": ["ines@example.org", "Per Falk"], "meta": {"phone": 4155550132, "draft": True}}
    replaced = {"ines@example.org": "<EMAIL_ADDRESS>", "Per Falk": "Per Falk", "4155550132": "<PHONE_NUMBER>"}
    cleaned = metadata.replace(chosen, replaced, lambda name: name)
    assert cleaned == {
        "authors": ["<EMAIL_ADDRESS>", "Per Falk"],
        "meta": {"phone": "<PHONE_NUMBER>", "draft": True},
    }


def test_a_date_without_a_day_counts_from_its_first_moment() -> None:
    chosen = metadata.choose({"date": "2024-05", "modified": "2024"}, None)
    assert chosen == {"date": "2024-05", "modified": "2024"}
    fields = metadata.point_fields(metadata.dump(chosen))
    assert (fields["date_seconds"], fields["modified_seconds"]) == (period("2024-05-01")[0], period("2024-01-01")[0])


def test_numbers_that_no_index_holds_are_left_out() -> None:
    stated = {"serial": int("9" * 400), "least": -(2**63) + 1, "most": 2**63, "nan": float("nan"), "share": 0.5}
    assert metadata.choose({"front_matter": stated}, None) == {"meta": {"least": -(2**63) + 1, "share": 0.5}}


def test_a_point_gets_its_dates_as_text_and_as_seconds() -> None:
    fields = metadata.point_fields(metadata.dump(metadata.choose(STATED, "en")))
    assert set(fields) == set(metadata.FIELDS)
    assert (fields["date"], fields["date_seconds"]) == ("2024-05-31", 1717113600)
    assert fields["modified"] is None and fields["modified_seconds"] is None
    assert json.loads(fields["meta"])["version"] == 3
    assert set(metadata.point_fields(None).values()) == {None}


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("2024", 366 * 86400),
        ("2023-02", 28 * 86400),
        ("2024-12", 31 * 86400),
        ("2024-05-31", 86400),
        ("2024-05-31T09:30", 1),
        ("2024-05-31T09:30:00+02:00", 1),
        ("1969-07-20", 86400),
    ],
)
def test_a_date_names_a_stretch_of_time(value: str, length: int) -> None:
    start, end = period(value)
    assert end - start == length


@pytest.mark.parametrize("value", ["", "yesterday", "2024-13", "2024-02-30", "24", "31.05.2024"])
def test_what_is_no_date_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="2024-05-31"):
        period(value)


# --- the whole line -------------------------------------------------------------------------------------------------

PAGE = """---
title: Greasing the weir
date: 2024-05-31
updated: 2024-11-02
author: Ondine Marsh
tags: [grease, maintenance]
team: hydrology
version: 3
desk: duty.desk@heronworks.example.org
---

# Greasing the weir

The upper weir is greased with paste number nine by whoever has the early watch, and the log is signed at noon.
"""


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    root = station_corpus.make(tmp_path)
    (tmp_path / "documents" / "page.md").write_text(PAGE)
    (tmp_path / "documents" / "letter.eml").write_bytes(
        mail_bytes("The early watch", "The early watch signs the log of the weir at noon, and hands the keys over.")
    )
    for name, date in (("month", "2023-08"), ("year", "2022")):
        (tmp_path / "documents" / f"{name}.md").write_text(
            f"---\ndate: {date}\n---\n# The {name}\n\nIn that {name} the lower weir was greased twice, says the log of the watch.\n"
        )
    with open_corpus(root) as corpus:
        assert all(check.passed for check in station_corpus.reindex(corpus).checks)
        yield corpus


@pytest.mark.slow
def test_front_matter_and_headers_filter_a_search_and_hold_no_personal_data(corpus: Corpus) -> None:
    def found(**filters: Any) -> set[str]:
        fields = {name.replace("__", "."): value for name, value in filters.items()}
        return {passage.key for passage in corpus.search("Who greases the weir?", 30, filters=fields)}

    assert found(date="2024-05") == {"page.md"} and found(date="2024") == {"page.md", "letter.eml"}
    assert found(date={"gte": "2024-03-05", "lt": "2024-03-06"}) == {"letter.eml"}
    # A document that names no day counts from the first moment of its month or year.
    assert found(date="2023-08") == {"month.md"} == found(date={"gte": "2023-08", "lt": "2024"})
    assert found(date={"gte": "2023-09", "lt": "2024"}) == set()
    assert found(date="2022") == {"year.md"} == found(date="2022-01")
    assert found(date={"gte": "2022-06", "lt": "2023"}) == set()
    assert found(modified={"gte": "2024-11"}) == {"page.md"} and found(keywords="grease") == {"page.md"}
    assert found(meta__team="hydrology", meta__version={"gte": 3}) == {"page.md"}
    assert "weir.md" in found(language="en") and found(language="de") == set()
    with pytest.raises(ReleaseError, match="date"):
        found(date="soon")

    passage = corpus.search("Who greases the weir?", 1, filters={"key": "page.md"})[0]
    assert (passage.language, passage.date, passage.content_type) == ("en", "2024-05-31", "text/markdown")
    assert "grease" in passage.keywords and passage.meta["version"] == 3
    assert corpus.document(passage.doc_id).metadata["date"] == "2024-05-31"

    # Nothing behind the anonymisation knows the author, the sender or the address.
    tables = corpus.tables
    stored = [*tables.anonymized_documents.scan().collect()["metadata"], repr(corpus.search("weir", 50))]
    assert not any(secret in text for text in stored for secret in ("Marsh", "duty.desk"))
    assert passage.meta["desk"] == "<EMAIL_ADDRESS>" and passage.authors == ("<PERSON>",)

    # A change of the front matter alone reaches the index; without a change nothing is done.
    release = corpus.live()
    station_corpus.reindex(corpus)
    assert corpus.live() == release
    page = corpus.project.root / "documents" / "page.md"
    page.write_text(PAGE.replace("version: 3", "version: 4"))
    station_corpus.reindex(corpus)
    assert found(meta__version=4) == {"page.md"} and found(meta__version=3) == set()
