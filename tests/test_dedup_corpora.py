"""A corpus that leaves out what another one holds, and documents with evaluation questions: from YAML to receipt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.config import load_corpus_file
from headwater.corpora import other_corpora
from headwater.corpus import Corpus, open_corpus
from headwater.errors import ConfigError
from headwater.pipeline import Pipeline, ReindexReport
from headwater.project import Project
from tests.conftest import MakeCorpus

GUIDE = "\n\n".join(
    f"Step {n} of the guide to the weir is to look at board {n} and to write down its mark." for n in range(20)
)
LEAVE = "Everyone has twenty-eight days of paid leave in each calendar year, plus the public holidays."


def reindex(folder: Path) -> ReindexReport:
    with open_corpus(folder) as corpus:
        return Pipeline(corpus, workers=1).run()


def states(corpus: Corpus) -> dict[str, tuple[str, str]]:
    return {receipt.key: (receipt.state, receipt.reason) for receipt in corpus.receipts()}


def test_what_another_corpus_holds_and_what_spoils_the_evaluation_is_left_out(make_corpus: MakeCorpus) -> None:
    library = make_corpus("library", {"guide.md": GUIDE})
    reindex(library)
    files = {
        "copy.md": f"{GUIDE}\n\nAnd then go home.",
        "leave.md": LEAVE,
        "quiz.md": "This quiz asks: How many days of paid leave does everyone have? The answer is on the next page.",
    }
    dedup = {"exclude_corpora": ["library"], "exclude_questions": "golden.jsonl"}
    folder = make_corpus("works", files, dedup=dedup)
    (folder / "golden.jsonl").write_text(json.dumps({"question": "How many days of paid leave does everyone have?"}))
    report = reindex(folder)
    assert report.states == {"duplicate": 1, "indexed": 1, "rejected": 1}
    with open_corpus(folder) as corpus:
        assert states(corpus) == {
            "copy.md": ("duplicate", "held_by_other_corpus"),
            "leave.md": ("indexed", "ok"),
            "quiz.md": ("rejected", "contains_evaluation_question"),
        }
        receipts = {receipt.key: receipt for receipt in corpus.receipts()}
        assert "'library'" in receipts["copy.md"].message
        assert "line 1" in receipts["quiz.md"].message
        assert "days of paid" not in receipts["quiz.md"].message
    assert reindex(folder).states == report.states
    (library / "documents" / "guide.md").write_text(
        "The guide is being written anew and will be back in a week or two."
    )
    reindex(library)
    assert reindex(folder).states == {"indexed": 2, "rejected": 1}


def test_what_the_other_corpus_rejected_for_its_personal_data_is_not_left_out(make_corpus: MakeCorpus) -> None:
    files = {"guide.md": f"{GUIDE}\n\nThe keeper's social security number is 536-90-4399."}
    library = make_corpus("library", files, privacy={"actions": {"US_SSN": "reject_document"}})
    assert reindex(library).states == {"rejected": 1}
    folder = make_corpus("works", files, dedup={"exclude_corpora": ["library"]})
    assert reindex(folder).states == {"indexed": 1}


def test_a_corpus_that_was_never_indexed_holds_nothing(make_corpus: MakeCorpus, project: Project) -> None:
    make_corpus("library", {"guide.md": GUIDE})
    (other,) = other_corpora(project, "works", ["library", "library"])
    assert other.documents().is_empty()


@pytest.mark.parametrize("first", ["works", "library"])
def test_corpora_that_leave_each_other_out_are_refused(make_corpus: MakeCorpus, project: Project, first: str) -> None:
    make_corpus("library", {}, dedup={"exclude_corpora": ["works"]})
    make_corpus("works", {}, dedup={"exclude_corpora": ["library"]})
    with pytest.raises(ConfigError, match=r"circle \(works -> "):
        other_corpora(project, "works", [first])


def test_a_corpus_that_does_not_exist_is_named(make_corpus: MakeCorpus, project: Project) -> None:
    make_corpus("works", {})
    with pytest.raises(ConfigError, match="'libary'"):
        other_corpora(project, "works", ["libary"])


def test_the_questions_are_relative_to_the_corpus_file(make_corpus: MakeCorpus) -> None:
    folder = make_corpus("works", {}, dedup={"exclude_questions": "../golden.jsonl"})
    assert load_corpus_file(folder / "defs.yaml").dedup.exclude_questions == str(folder.parent / "golden.jsonl")
