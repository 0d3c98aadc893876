"""The stage `deduplicated_documents` on real tables: who is kept, what is removed, what is left out and why."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater.driver import run_stage
from headwater.errors import ConfigError
from headwater.hashing import digest, document_id
from headwater.policies import DedupPolicy
from headwater.reports import NoProgress, StageReport
from headwater.stages.deduplicated_documents import decide_duplicates
from headwater.stages.document_signatures import signature_stage
from headwater.stages.duplicate_clusters import OtherCorpus
from headwater.stages.duplicate_verdicts import FLAWS
from headwater.stages.quality_documents import SIGNALS
from headwater.tables import Tables

BODY = [f"Paragraph {n} tells what the keeper of weir number {n} noted on a calm day in spring." for n in range(30)]
MANUAL = "\n\n".join(BODY)
"""Long enough that a changed sentence leaves it a near-duplicate."""

Document = Mapping[str, Any]


def document(key: str, text: str, **more: Any) -> Document:
    """A kept document: ``readers``, ``modified`` (a day of May) and quality signals may be given."""
    return {"key": key, "text": text, "readers": ["*"], "modified": 1, **more}


class Lake:
    """The tables of one corpus up to `deduplicated_documents`."""

    def __init__(self, path: Path, name: str = "works") -> None:
        self.name = name
        self.tables = Tables(path / name)

    def write(self, documents: Iterable[Document]) -> Lake:
        objects, quality = [], []
        for row in documents:
            ids = {"id": document_id(self.name, row["key"]), "doc_id": document_id(self.name, row["key"])}
            core = {**ids, "state": "ok", "reason": "ok"}
            written = datetime(2026, 5, row["modified"], tzinfo=UTC)
            objects.append(
                {**core, "fingerprint": "f", "key": row["key"], "readers": row["readers"], "last_modified": written}
            )
            signals = {name: float(row.get(name, 0)) for name in SIGNALS}
            signals["characters"] = float(len("".join(row["text"].split())))
            quality.append(
                {
                    **core,
                    "fingerprint": digest(row["text"], str(signals)),
                    "text": row["text"],
                    "elements": [],
                    "metadata": "{}",
                }
                | {"title": None, "language": "en", **signals}
            )
        for table, rows in ((self.tables.source_objects, objects), (self.tables.quality_documents, quality)):
            table.replace(pa.Table.from_pylist(rows, schema=table.schema).to_batches())
        return self

    def decide(self, policy: DedupPolicy | None = None, *others: Lake) -> StageReport:
        tables, policy = self.tables, policy or DedupPolicy()
        run_stage(signature_stage(policy), tables.quality_documents, tables.document_signatures, NoProgress())
        return decide_duplicates(
            policy,
            tables.quality_documents,
            tables.document_signatures,
            tables.source_objects,
            tables.deduplicated_documents,
            NoProgress(),
            others=[
                OtherCorpus(
                    o.name, o.tables.deduplicated_documents, o.tables.document_signatures, o.tables.source_objects
                )
                for o in others
            ],
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        """The stage's rows by key, survivors named by key."""
        keys = {row["id"]: row["key"] for row in self.tables.source_objects.scan().collect().iter_rows(named=True)}
        rows = self.tables.deduplicated_documents.scan().collect().sort("id").iter_rows(named=True)
        return {keys[row["id"]]: {**row, "survivor": keys.get(row["survivor"], row["survivor"])} for row in rows}

    def survivors(self) -> set[str]:
        return {key for key, row in self.rows().items() if row["state"] == "ok"}


# --- who is kept -----------------------------------------------------------------------------------------------

COPIES = (
    document("b/draft.md", MANUAL + "\n\nA last word on boats.", modified=3),
    document("a/old.md", MANUAL.replace("spring", "autumn", 1), modified=2, unknown_character_share=0.04),
    document("c/final.md", MANUAL, modified=1, duplicate_line_share=0.3),
    document("other.md", "Nothing in here resembles what the others say about weirs and their keepers."),
)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (DedupPolicy(), "b/draft.md"),
        (DedupPolicy(survivor="first_key"), "a/old.md"),
        (DedupPolicy(survivor="first_seen"), "c/final.md"),
        (DedupPolicy(survivor="best_quality"), "b/draft.md"),
        (DedupPolicy(preferred_prefixes=["policies/", "c/", "a/"]), "c/final.md"),
        (DedupPolicy(preferred_prefixes=["a/", "c/"], survivor="first_seen"), "a/old.md"),
    ],
)
def test_the_policy_says_which_copy_is_kept(tmp_path: Path, policy: DedupPolicy, kept: str) -> None:
    lake = Lake(tmp_path).write(COPIES)
    assert lake.decide(policy).reasons == {"near_duplicate": 2, "ok": 2}
    assert lake.survivors() == {kept, "other.md"}
    for key, row in lake.rows().items():
        if key not in (kept, "other.md"):
            assert row["survivor"] == kept
            assert 0.8 <= row["similarity"] < 1
            assert row["text"] is None


@pytest.mark.parametrize(("written", "named"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_preferred_prefix_holds_in_either_unicode_form(tmp_path: Path, written: Any, named: Any) -> None:
    key = unicodedata.normalize(written, "würde/c.md")
    lake = Lake(tmp_path).write([*COPIES, document(key, MANUAL.replace("calm", "grey", 1))])
    lake.decide(DedupPolicy(preferred_prefixes=[unicodedata.normalize(named, "würde/")]))
    assert lake.survivors() == {key, "other.md"}


def test_the_copy_with_fewer_flaws_is_the_best_one(tmp_path: Path) -> None:
    clean = document("z.md", MANUAL)
    garbled = document("a.md", MANUAL + "\n\nMore of the same, but badly decoded.", unknown_character_share=0.05)
    lake = Lake(tmp_path).write([clean, garbled])
    lake.decide(DedupPolicy(survivor="best_quality"))
    assert lake.survivors() == {"z.md"}
    assert set(FLAWS) <= set(SIGNALS)


def test_a_touched_object_is_decided_anew_where_its_time_decides(tmp_path: Path) -> None:
    early, late = document("a.md", MANUAL, modified=1), document("b.md", MANUAL, modified=2)
    policy = DedupPolicy(survivor="first_seen")
    lake = Lake(tmp_path).write([early, late])
    assert lake.decide(policy).recomputed == 2
    lake.write([early | {"modified": 3}, late])
    assert lake.decide(policy).recomputed == 2
    assert lake.survivors() == {"b.md"}
    assert lake.decide(policy).recomputed == 0


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_order_of_arrival_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    texts = [
        MANUAL,
        MANUAL + "\n\nOne more.",
        MANUAL.replace("spring", "may"),
        MANUAL.upper(),
        BODY[0] * 3,
        BODY[0] * 4,
    ]
    documents = [
        document(f"{n}.md", text, readers=["hr"] if n % 4 == 3 else ["*"])
        for n, text in enumerate([*texts, *texts[:2]])
    ]
    policy = DedupPolicy(threshold=data.draw(st.sampled_from([0.6, 0.8])), sentences="remove")
    orders = st.permutations(documents)
    at_once = Lake(tmp_path_factory.mktemp("once")).write(data.draw(orders))
    at_once.decide(policy)
    step_by_step = Lake(tmp_path_factory.mktemp("steps"))
    arrival = data.draw(orders)
    for count in sorted({data.draw(st.integers(1, len(documents))), len(documents)}):
        step_by_step.write(arrival[:count]).decide(policy)
    assert step_by_step.rows() == at_once.rows()


# --- passages that many documents have -------------------------------------------------------------------------

NOTICE = "This message is confidential and meant for nobody but the addressee."
LETTERS = tuple(document(f"{n}.md", f"{BODY[n]} {BODY[n + 1].upper()}\n\n{NOTICE}") for n in range(0, 8, 2))


@pytest.mark.parametrize(("mode", "found", "removed"), [("remove", 4, 4), ("count", 4, 0), ("keep", 0, 0)])
def test_boilerplate_is_removed_counted_or_left_alone(tmp_path: Path, mode: Any, found: int, removed: int) -> None:
    lake = Lake(tmp_path).write(LETTERS)
    report = lake.decide(DedupPolicy(boilerplate=mode, boilerplate_min_documents=3))
    assert (report.details["boilerplate_paragraphs"], report.details["removed_paragraphs"]) == (found, removed)
    assert [NOTICE in row["text"] for row in lake.rows().values()] == [not removed] * 4


RUN = "The gate is opened at seven in the morning. Nobody may stand below the weir. The keeper rings a bell first."


@pytest.mark.parametrize(("mode", "found", "removed"), [("remove", 3, 3), ("count", 3, 0), ("keep", 0, 0)])
def test_a_run_of_sentences_stays_in_the_best_document_only(
    tmp_path: Path, mode: Any, found: int, removed: int
) -> None:
    long = document("long.md", f"{BODY[0]}\n\n{BODY[1]}\n\n{BODY[2]} {RUN}\n\n{BODY[3]}")
    short = document("short.md", f"{BODY[4]} {RUN}\n\n{BODY[5]}")
    private = document("private.md", f"{BODY[6]} {RUN}\n\n{BODY[7]}", readers=["board"])
    lake = Lake(tmp_path).write([short, long, private])
    report = lake.decide(DedupPolicy(sentences=mode))
    assert (report.details["repeated_sentences"], report.details["removed_sentences"]) == (found, removed)
    rows = lake.rows()
    assert RUN in rows["long.md"]["text"]
    assert RUN in rows["private.md"]["text"]  # its readers can't read the other
    assert rows["short.md"]["text"] == (f"{BODY[4]}\n\n{BODY[5]}" if removed else short["text"])


def test_boilerplate_and_repeated_sentences_go_together(tmp_path: Path) -> None:
    texts = {f"{n}.md": f"{BODY[n]} {RUN}\n\n{NOTICE}\n\n{BODY[n + 1]}" for n in range(0, 8, 2)}
    lake = Lake(tmp_path).write(document(key, text) for key, text in texts.items())
    lake.decide(DedupPolicy(sentences="remove", boilerplate_min_documents=3))
    kept = [key for key, row in lake.rows().items() if RUN in row["text"]]
    assert len(kept) == 1
    for key, row in lake.rows().items():
        n = int(key.removesuffix(".md"))
        assert row["text"] == f"{BODY[n]}{' ' + RUN if key in kept else ''}\n\n{BODY[n + 1]}"


# --- what is left out ------------------------------------------------------------------------------------------


def test_a_document_that_another_corpus_holds_is_left_out(tmp_path: Path) -> None:
    library = Lake(tmp_path, "library").write([document("guide.md", MANUAL)])
    library.decide()
    near = document("copy.md", MANUAL + "\n\nA last word on boats.", modified=2)
    private = document("private.md", MANUAL, readers=["board"])
    lake = Lake(tmp_path).write([near, private, document("own.md", " ".join(BODY[0].split()[::-1]))])
    policy = DedupPolicy(exclude_corpora=["library"])
    report = lake.decide(policy, library)
    assert report.reasons == {"held_by_other_corpus": 1, "ok": 2}
    row = lake.rows()["copy.md"]
    assert (row["state"], row["survivor"]) == ("duplicate", document_id("library", "guide.md"))
    assert 0.8 <= row["similarity"] < 1
    assert "'library'" in row["error"]
    assert "guide.md" not in row["error"]  # who may read the receipt may not be who may read that document by then
    assert lake.survivors() == {"private.md", "own.md"}  # other readers: no duplicate
    assert lake.decide(policy, library).recomputed == 0
    library.write([document("guide.md", "Something else altogether now stands in the guide of the library.")]).decide()
    assert lake.decide(policy, library).recomputed == 1
    assert lake.survivors() == {"copy.md", "private.md", "own.md"}


def test_a_document_near_another_corpus_takes_no_other_one_along(tmp_path: Path) -> None:
    def changed(words: int) -> str:
        parts = MANUAL.split(" ")
        for n in range(words):
            parts[n * 11 + 5] = f"changed{n}"
        return " ".join(parts)

    library = Lake(tmp_path, "library").write([document("guide.md", MANUAL)])
    library.decide()
    # The first resembles the guide, and the second, longer one resembles only the first.
    lake = Lake(tmp_path).write(
        [document("first.md", changed(8)), document("second.md", changed(13) + " And a good end.")]
    )
    lake.decide()
    assert lake.survivors() == {"second.md"}
    lake.decide(DedupPolicy(exclude_corpora=["library"]), library)
    assert {key: row["reason"] for key, row in lake.rows().items()} == {
        "first.md": "held_by_other_corpus",
        "second.md": "ok",
    }


def test_a_document_with_an_evaluation_question_is_left_out(tmp_path: Path) -> None:
    long = " ".join(f"word{n}" for n in range(20))
    file = tmp_path / "golden.jsonl"
    lines = [{"question": "Who rings the bell at the weir?"}, {"question": "Why?"}, {"text": f"{long}?"}]
    file.write_text("\n".join(map(json.dumps, lines)))
    documents = {
        "verbatim.md": f"{BODY[0]} Who rings the BELL, at the weir? {BODY[1]}",
        "copy.md": f"{BODY[0]} Who rings the bell in the yard? {BODY[1]}",
        "ngram.md": f"{BODY[2]} {' '.join(long.split()[4:17])} {BODY[3]}",
        "less.md": f"{BODY[4]} {' '.join(long.split()[4:16])} {BODY[5]}",
        "short.md": f"{BODY[6]} Why? {BODY[7]}",
    }
    lake = Lake(tmp_path).write(document(key, text) for key, text in documents.items())
    policy = DedupPolicy(exclude_questions=str(file))
    lake.decide(policy)
    rows = lake.rows()
    assert {key for key, row in rows.items() if row["reason"] == "contains_evaluation_question"} == {
        "verbatim.md",
        "ngram.md",
    }
    assert rows["verbatim.md"]["state"] == "rejected"
    assert "line 1" in rows["verbatim.md"]["error"]
    assert "line 3" in rows["ngram.md"]["error"]
    assert lake.decide(policy).recomputed == 0
    file.write_text(json.dumps(lines[1]))
    assert lake.decide(policy).recomputed == 2
    assert lake.survivors() == set(documents)


def test_a_copy_of_a_document_with_a_question_is_judged_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text(json.dumps({"question": "Who rings the bell at the weir?"}))
    asked = f"{MANUAL}\n\nWho rings the bell at the weir?"
    lake = Lake(tmp_path).write([document("a.md", asked), document("b.md", asked), document("c.md", MANUAL)])
    lake.decide(DedupPolicy(exclude_questions=str(file)))
    assert lake.survivors() == {"c.md"}
    assert {row["survivor"] for row in lake.rows().values()} == {None}


@pytest.mark.parametrize("line", ["no json", "[]", '{"answer": 1}'])
def test_a_line_without_a_question_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text('{"question": "Is this one fine?"}\n' + line)
    lake = Lake(tmp_path).write(COPIES)
    with pytest.raises(ConfigError, match=r"golden\.jsonl:2"):
        lake.decide(DedupPolicy(exclude_questions=str(file)))
    file.unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        lake.decide(DedupPolicy(exclude_questions=str(file)))


def test_other_corpora_need_deduplication() -> None:
    with pytest.raises(ValidationError, match="needs enabled"):
        DedupPolicy(enabled=False, exclude_corpora=["library"])


def test_a_policy_that_is_off_keeps_every_copy(tmp_path: Path) -> None:
    lake = Lake(tmp_path).write(COPIES)
    lake.decide(DedupPolicy(enabled=False))
    assert lake.survivors() == {row["key"] for row in COPIES}
    assert lake.tables.deduplicated_documents.read(["similarity"])["similarity"].drop_nulls().is_empty()


def test_a_corpus_without_documents_is_decided(tmp_path: Path) -> None:
    lake = Lake(tmp_path).write([])
    assert lake.decide(DedupPolicy(sentences="remove")).rows == 0
    assert pl.DataFrame(lake.rows()).is_empty()


# --- what the privacy policy refuses ----------------------------------------------------------------------------


class Refusals:
    """A screen that refuses the documents with these ids, and notes what it is asked about."""

    def __init__(self, refused: Iterable[str]) -> None:
        self.refused = set(refused)
        self.signature = digest(*sorted(self.refused))
        self.asked: list[set[str]] = []
        self.settled: set[str] | None = None

    def kept_out(self, documents: pl.DataFrame) -> set[str]:
        self.asked.append(set(documents["id"]))
        return self.refused

    def forget_others(self, ids: Iterable[str]) -> None:
        self.settled = set(ids)


def screened(lake: Lake, *refused: str, policy: DedupPolicy | None = None) -> Refusals:
    tables, policy = lake.tables, policy or DedupPolicy()
    screen = Refusals(document_id(lake.name, key) for key in refused)
    run_stage(signature_stage(policy), tables.quality_documents, tables.document_signatures, NoProgress())
    inputs = (tables.quality_documents, tables.document_signatures, tables.source_objects)
    decide_duplicates(policy, *inputs, tables.deduplicated_documents, NoProgress(), screen=screen)
    return screen


def test_a_refused_document_stands_for_nobody_and_has_no_stand_in(tmp_path: Path) -> None:
    lake = Lake(tmp_path).write(COPIES)
    screen = screened(lake, "b/draft.md", "other.md")
    rows = lake.rows()
    assert (rows["b/draft.md"]["state"], rows["b/draft.md"]["survivor"]) == ("ok", None)
    (kept,) = {"a/old.md", "c/final.md"} & lake.survivors()
    (other,) = {"a/old.md", "c/final.md"} - {kept}
    assert rows[other]["survivor"] == kept and rows[other]["similarity"] >= 0.8
    copies = {document_id(lake.name, key) for key in ("a/old.md", "b/draft.md", "c/final.md")}
    assert screen.asked == [copies] and screen.settled == copies
    screened(lake)
    assert lake.survivors() == {"b/draft.md", "other.md"}


def test_equal_texts_are_refused_one_by_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path).write(document(key, MANUAL) for key in ("a.md", "b.md", "c.md"))
    screened(lake, "a.md", "b.md")
    assert lake.survivors() == {"a.md", "b.md", "c.md"}
    screened(lake, "a.md")
    assert lake.rows()["c.md"]["survivor"] == "b.md"


def test_a_document_that_gains_a_copy_by_a_refusal_is_asked_about(tmp_path: Path) -> None:
    """The middle one resembles both ends, which don't resemble each other: refused, it leaves each end alone."""
    start = [f"Paragraph {n} tells what the keeper of weir number {n} noted on a calm day." for n in range(40)]
    rows = [
        document("first.md", "\n\n".join(start[:32])),
        document("middle.md", "\n\n".join(start[4:35])),
        document("last.md", "\n\n".join(start[8:38])),
    ]
    lake, policy = Lake(tmp_path), DedupPolicy(threshold=0.7, boilerplate="keep")
    lake.write(rows)
    screen = screened(lake, "first.md", policy=policy)
    asked = [{row["key"] for row in rows if document_id(lake.name, row["key"]) in ids} for ids in screen.asked]
    assert asked == [{"first.md", "middle.md"}, {"first.md", "middle.md", "last.md"}]
    assert lake.survivors() == {"first.md", "middle.md"} and lake.rows()["last.md"]["survivor"] == "middle.md"


def test_copies_of_refused_documents_make_no_boilerplate(tmp_path: Path) -> None:
    notice = "This notice says that all of the works belong to those who keep them."
    others = [document(f"o{n}.md", f"{notice}\n\nPage {n} is about weir {n} and no other, word {n}.") for n in range(3)]
    copies = [document(f"c{n}.md", MANUAL + "\n\n" + notice) for n in range(9)]
    lake, policy = Lake(tmp_path).write([*others, *copies]), DedupPolicy(boilerplate_min_documents=5)
    screened(lake, *(f"c{n}.md" for n in range(9)), policy=policy)
    assert {row["removed_paragraphs"] for row in lake.rows().values()} == {0}


def test_what_a_refused_document_says_is_not_taken_out_of_another(tmp_path: Path) -> None:
    run = "One keeper opens the upper gate. Two keepers close the lower gate. Three keepers watch the bridge at night."
    lake = Lake(tmp_path).write(
        [
            document("a.md", MANUAL + "\n\n" + run),
            document("b.md", MANUAL),
            document("c.md", f"Another page altogether says this. {run} It ends with words of its own here."),
        ]
    )
    policy = DedupPolicy(sentences="remove", boilerplate="keep")
    screened(lake, policy=policy)
    assert run not in lake.rows()["c.md"]["text"]
    screened(lake, "a.md", policy=policy)
    assert run in lake.rows()["c.md"]["text"]
