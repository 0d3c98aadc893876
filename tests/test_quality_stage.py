"""The stage: what is measured once, what is decided anew, what is reported, and what a review shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from headwater import quality
from headwater.driver import CORE
from headwater.errors import ConfigError
from headwater.lake import Table
from headwater.policies import QualityPolicy
from headwater.quality import MEASURED
from headwater.quality.report import drawn
from headwater.quality.review import borderline, what_if, with_settings
from headwater.receipts.words import explain
from headwater.reports import NoProgress, StageReport
from headwater.stages.parsed_documents import PARSED
from headwater.stages.quality_documents import QUALITY, SIGNALS, assess_documents, quality_rows

TEXTS = {
    "note": "Bring the spare key on Friday.",
    "page": "The lock on the river gate is oiled each spring, and the spare key hangs in the crew room by the door.  \n\n"
    "Whoever takes the key writes it down. See https://example.org/keys for the list of keys.",
    "short": "Work in progress",
    "empty": "",
}


class Line:
    """A parsed table with some texts, and the quality table that is made from it."""

    def __init__(self, folder: Path, texts: Mapping[str, str] = TEXTS) -> None:
        self.parsed = Table(folder / "parsed_documents", pa.schema([*CORE, *PARSED]))
        self.quality = Table(folder / "quality_documents", pa.schema([*CORE, *QUALITY]))
        rows = [
            {
                "id": name, "doc_id": name, "fingerprint": name, "state": "ok", "reason": "ok", "text": text,
                "elements": [{"kind": "paragraph", "page": 1, "section": [], "start": 0, "end": len(text)}] if text else [],
                "title": name, "content_type": "text/plain", "metadata": "{}",
            }
            for name, text in texts.items()
        ]  # fmt: skip
        self.parsed.replace(pa.Table.from_pylist(rows, schema=self.parsed.schema).to_batches())

    def run(self, **policy: Any) -> StageReport:
        return assess_documents(QualityPolicy(**policy), self.parsed, self.quality, NoProgress())

    def rows(self) -> pl.DataFrame:
        return self.quality.scan().sort("id").collect()

    def reasons(self) -> dict[str, str]:
        return dict(self.rows().select("id", "reason").iter_rows())


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


@pytest.fixture
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing may be cleaned or counted from here on."""
    from headwater.quality import _kernels, _web_kernels

    def refuse(*_: object) -> None:
        raise AssertionError("a text was measured")

    monkeypatch.setattr(_kernels, "count", refuse)
    monkeypatch.setattr(_web_kernels, "count", refuse)
    monkeypatch.setattr(quality, "clean_steps", refuse)
    return monkeypatch


def test_titles_and_section_names_are_cleaned_like_the_text_and_offsets_stay_true() -> None:
    text = "Desk of clara@exam\xadple.org\n\nJose\u200b\u0301 oils the lock of the river gate each spring."
    border = text.index("\n")
    elements = [
        {
            "kind": "Title",
            "page": 1,
            "section": ["Bu\u0308ro", "Desk of clara@exam\xadple.org"],
            "start": 0,
            "end": border,
        },
        {"kind": "Text", "page": 2, "section": ["\u200b", "A\xa0 \u2060B"], "start": border + 2, "end": len(text)},
    ]
    row = {
        "id": "1", "text": text, "elements": elements, "title": "anna@\u200bexample.org", "content_type": "text/plain",
        "metadata": json.dumps({"keywords": ["bert@\u200bexample.org"]}),
    }  # fmt: skip
    [blank, clean] = quality_rows(pa.Table.from_pylist([row | {"title": "\u200b"}, row]), {}).to_pylist()
    assert blank["title"] is None and clean["title"] == "anna@example.org"
    assert clean["text"] == "Desk of clara@example.org\n\nJos\u00e9 oils the lock of the river gate each spring."
    pieces = [(clean["text"][e["start"] : e["end"]], e["section"]) for e in clean["elements"]]
    assert pieces == [
        ("Desk of clara@example.org", ["B\u00fcro", "Desk of clara@example.org"]),
        ("Jos\u00e9 oils the lock of the river gate each spring.", ["A B"]),
    ]
    assert json.loads(clean["metadata"])["keywords"] == ["bert@example.org"]


def test_a_changed_limit_is_decided_anew_without_measuring(line: Line, request: pytest.FixtureRequest) -> None:
    first = line.run()
    assert line.reasons() == {"empty": "no_text", "note": "ok", "page": "ok", "short": "too_short"}
    before = line.rows()
    request.getfixturevalue("no_measuring")
    report = line.run(min_words=7)
    assert (report.recomputed, report.details["redecided"]) == (1, 1)
    assert line.reasons() == {"empty": "no_text", "note": "too_short", "page": "ok", "short": "too_short"}
    unchanged = pl.exclude("state", "reason")
    assert line.rows().select(unchanged).equals(before.select(unchanged))
    assert report.data_version != first.data_version
    again = line.run(min_words=7)
    assert (again.recomputed, again.version) == (0, report.version)
    assert line.run(min_words=2).reasons == {"ok": 3, "no_text": 1}


def test_other_rules_are_switched_on_without_measuring(line: Line, request: pytest.FixtureRequest) -> None:
    line.run()
    request.getfixturevalue("no_measuring")
    line.run(rules=["gopher", "c4"])
    assert line.reasons() == {
        "empty": "no_text", "note": "gopher_short_doc", "page": "gopher_short_doc", "short": "gopher_short_doc"
    }  # fmt: skip


def test_a_decision_made_anew_is_the_one_of_a_rebuild(line: Line, tmp_path: Path) -> None:
    line.run()
    line.run(min_words=7, min_table_line_share=0.0)
    fresh = Line(tmp_path / "fresh")
    fresh.run(min_words=7, min_table_line_share=0.0)
    assert line.rows().equals(fresh.rows())
    assert line.rows()["profile"].unique().to_list() == ["table"]


def test_what_is_measured_differently_is_measured_again(line: Line) -> None:
    line.run()
    report = line.run(block_keywords=["spare key"])
    assert (report.recomputed, report.details["redecided"]) == (4, 0)
    assert line.reasons() == {"empty": "no_text", "note": "blocked", "page": "blocked", "short": "too_short"}
    line.run(urls="remove")
    row = line.rows().row(by_predicate=pl.col("id") == "page", named=True)
    assert row["text"].endswith("See for the list of keys.")
    assert row["elements"][0]["end"] == len(row["text"])


def test_a_pattern_without_end_quarantines_its_document_alone(tmp_path: Path) -> None:
    line = Line(tmp_path, {"good": "Bring the spare key on Friday.", "long": "a" * 5000 + "!"})
    report = line.run(block_patterns=[r"(\w+)+\d$"])
    assert line.reasons() == {"good": "ok", "long": "block_pattern_timeout"}
    assert (report.quarantined, report.details["kept"]) == (1, 1)
    assert line.run(block_patterns=[r"(\w+)+\d$"], min_words=7).details["redecided"] == 1
    assert explain("block_pattern_timeout")[0] != explain("no such code")[0]


def test_the_report_counts_and_draws_what_was_decided(line: Line) -> None:
    details = line.run().details
    assert (details["kept"], details["rejected"]) == (2, 2)
    assert details["reasons"] == {"ok": 2, "no_text": 1, "too_short": 1}
    assert details["profiles"] == {"prose": 4}
    words = details["histograms"]["words"]
    assert (sum(words["kept"]), sum(words["rejected"]), words["limits"], words["side"]) == (2, 2, [5.0], "min")
    assert len(words["edges"]) == len(words["kept"]) + 1
    assert not any("river" in str(value) for value in details.values())
    assert "gopher_words" not in details["histograms"]
    assert line.run(rules=["gopher"]).details["histograms"]["gopher_words"]["limits"] == [50.0, 100_000.0]


def test_histograms_are_drawn_for_people(line: Line) -> None:
    rows = drawn(line.run().details["histograms"])
    words = next(row for row in rows if row[0] == "words")
    assert words[1] == "at least 5" and words[3].count("█") >= 1
    assert len({len(row[3]) for row in rows}) == 1


def test_a_table_without_rows_is_reported_too(line: Line) -> None:
    line.parsed.replace(iter(()))
    report = line.run()
    assert (report.rows, report.details["kept"], report.details["histograms"]) == (0, 0, {})
    assert drawn({}) == []


def test_the_review_list_starts_with_what_is_nearest_to_a_limit(line: Line) -> None:
    line.run()
    frame = line.rows()
    nearest = borderline(frame, QualityPolicy(), 2)
    assert nearest.select("reason", "signal", "value", "limit").rows() == [
        ("ok", "words", 6.0, 5.0),
        ("too_short", "words", 3.0, 5.0),
    ]
    assert nearest["distance"].to_list() == pytest.approx([0.2, -0.4])
    assert [frame["id"][row] for row in nearest["row"]] == ["note", "short"]
    assert borderline(frame.clear(), QualityPolicy(), 3).is_empty()
    assert borderline(frame, QualityPolicy(rules=[], languages=[]), 3).is_empty()


def test_what_if_shows_what_another_setting_would_change(line: Line) -> None:
    line.run()
    frame = line.rows()
    policy = QualityPolicy()
    change = what_if(frame, policy, with_settings(policy, ["min_words=2", "languages="], MEASURED))
    assert (change.before, change.after) == ({"ok": 2, "no_text": 1, "too_short": 1}, {"ok": 3, "no_text": 1})
    assert [(frame["id"][row], *rest) for row, *rest in change.rows.rows()] == [("short", "too_short", "ok")]
    changed = with_settings(
        policy, ["rules=gopher,c4", "gopher.min_words=10", "c4.terminal_punctuation=false"], MEASURED
    )
    assert changed.rules == ["gopher_quality", "gopher_repetition", "c4"]
    assert (changed.gopher.min_words, changed.c4.terminal_punctuation) == (10, False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("min_word=2", "FIELD=VALUE"),
        ("min_words", "FIELD=VALUE"),
        ("gopher=1", "FIELD=VALUE"),
        ("urls=remove", "reindex"),
        ("min_words=few", "min_words"),
        ("rules=novels", "rules"),
    ],
)
def test_what_if_refuses_what_it_can_not_show(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_settings(QualityPolicy(), [setting], MEASURED)


def test_every_signal_is_stored() -> None:
    measured = quality.signals(["Any text."])
    assert set(measured.columns) == {*SIGNALS, "language", "language_score"}
