"""What a passage knows of its place in a document, through the whole line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from headwater.answering.contract import Draft
from headwater.answering.verification import SpanVerifier
from headwater.answering.verification.citations import cite
from headwater.cli.answer_text import place_of
from headwater.corpus import Corpus, open_corpus
from headwater.injection.fence import fence
from headwater.pipeline import Pipeline
from headwater.policies import AnswerPolicy
from tests.conftest import use_project, write_corpus

NAMES = ("Elm lock", "Alder quay", "Mill basin", "Reed dock", "Weir berth")
KEEPER = {"key": "keeper.pdf"}
PAGES = (
    "The weir keeper logs the water level at dawn and at dusk, and signs the sheet in ink.",
    "The spare lantern hangs in the boat house, on the hook beside the door to the river.",
    "Ice on the sluice is broken with the long pole from the north bank, never from a boat.",
)


def pdf(*pages: str) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream)
    for text in pages:
        canvas.drawString(40, 720, text)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def csv(column: str, step: int = 3) -> str:
    """Two hundred barges with one value each, which only the header row names."""
    rows = (f"Barge {number},{NAMES[number * step % 5]},{1 + number * step % 37}" for number in range(200))
    return "\n".join([f"Vessel,Home,{column}", *rows])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root: Path = tmp_path_factory.mktemp("places") / "project"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        folder = write_corpus(
            root,
            "places",
            {"keeper.pdf": pdf(*PAGES), "drafts.csv": csv("Draught in metres"), "crews.csv": csv("Crew aboard", 7)},
        )
        with open_corpus(folder) as opened:
            report = Pipeline(opened, workers=2).run()
            assert report.release == 1 and all(check.passed for check in report.checks)
            yield opened


@pytest.mark.parametrize(("page", "question"), [(1, "Who logs the water level?"), (2, "Where does the lantern hang?")])
def test_a_citation_names_the_page_that_its_words_stand_on(corpus: Corpus, page: int, question: str) -> None:
    (passage,) = corpus.search(question, filters=KEEPER)  # one chunk of three pages
    assert (passage.page, [one.page for one in passage.page_breaks]) == (1, [2, 3])
    answer = corpus.answer(question)
    (citation,) = answer.sentences[0].citations
    assert citation.quote == PAGES[page - 1]
    assert (citation.page, citation.last_page) == (page, page)


def test_a_quote_over_a_page_break_names_both_pages(corpus: Corpus) -> None:
    (passage,) = corpus.search("lantern and ice", filters=KEEPER)
    first, last = passage.text.index("spare"), passage.text.index("Ice") + len("Ice")
    citation = cite(passage, first, last)
    assert (citation.page, citation.last_page) == (2, 3)
    place = {"key": "k", "title": "", "section": (), "page": 2, "last_page": 3, "start": 0, "end": 1}
    assert "pages 2-3" in place_of(place) and "page 2 " in place_of({**place, "last_page": 2})


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_filter_finds_a_passage_by_any_of_its_pages(corpus: Corpus, page: int) -> None:
    assert corpus.search("lantern", filters={"page": page})
    assert not corpus.search("lantern", filters={"page": page + 3})


@pytest.mark.parametrize(
    ("question", "key", "header"),
    [
        ("What is the draught in metres of Barge 187?", "drafts.csv", "| Vessel | Home | Draught in metres |"),
        ("How many crew are aboard Barge 187?", "crews.csv", "| Vessel | Home | Crew aboard |"),
    ],
)
def test_a_question_that_names_a_column_finds_the_row_far_down_in_the_right_table(
    corpus: Corpus, question: str, key: str, header: str
) -> None:
    best = corpus.search(question, 1, merge=False)[0]
    assert best.key == key and "| Barge 187 |" in best.text
    assert best.table_header == header and header not in best.text
    document = corpus.document(best.doc_id)
    assert best.text == document.text[best.start : best.end] and document.text.startswith(header)


def test_the_model_reads_the_header_above_the_rows(corpus: Corpus) -> None:
    best = corpus.search("draught in metres of Barge 187", 1, merge=False)
    lines = fence(best, "mark").text.split("\n")
    assert lines[:3] == ["[[source 1 mark]]", f"({best[0].title})", "(Columns: | Vessel | Home | Draught in metres |)"]


def test_a_header_is_no_evidence(corpus: Corpus) -> None:
    (best,) = corpus.search("draught in metres of Barge 187", 1, merge=False)
    row = next(line for line in best.text.split("\n") if "| Barge 187 |" in line)
    verifier = SpanVerifier(corpus.embedder_of(best.release), AnswerPolicy())
    quoted = verifier.check(Draft(row, (0,)), [best]).sentence
    assert quoted is not None and quoted.citations[0].quote == row
    assert verifier.check(Draft("Vessel, home, draught in metres.", (0,)), [best]).sentence is None
