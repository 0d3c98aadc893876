"""What a passage knows of its place in a document, through the whole line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from headwater.answering.verification.citations import cite
from headwater.cli.answer_text import place_of
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline
from tests.conftest import use_project, write_corpus

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


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root: Path = tmp_path_factory.mktemp("places") / "project"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        folder = write_corpus(root, "places", {"keeper.pdf": pdf(*PAGES)})
        with open_corpus(folder) as opened:
            report = Pipeline(opened, workers=2).run()
            assert report.release == 1 and all(check.passed for check in report.checks)
            yield opened


@pytest.mark.parametrize(("page", "question"), [(1, "Who logs the water level?"), (2, "Where does the lantern hang?")])
def test_a_citation_names_the_page_that_its_words_stand_on(corpus: Corpus, page: int, question: str) -> None:
    (passage,) = corpus.search(question)  # one chunk of three pages
    assert (passage.page, [one.page for one in passage.page_breaks]) == (1, [2, 3])
    answer = corpus.answer(question)
    (citation,) = answer.sentences[0].citations
    assert citation.quote == PAGES[page - 1]
    assert (citation.page, citation.last_page) == (page, page)


def test_a_quote_over_a_page_break_names_both_pages(corpus: Corpus) -> None:
    (passage,) = corpus.search("lantern and ice")
    first, last = passage.text.index("spare"), passage.text.index("Ice") + len("Ice")
    citation = cite(passage, first, last)
    assert (citation.page, citation.last_page) == (2, 3)
    place = {"key": "k", "title": "", "section": (), "page": 2, "last_page": 3, "start": 0, "end": 1}
    assert "pages 2-3" in place_of(place) and "page 2 " in place_of({**place, "last_page": 2})


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_filter_finds_a_passage_by_any_of_its_pages(corpus: Corpus, page: int) -> None:
    assert corpus.search("lantern", filters={"page": page})
    assert not corpus.search("lantern", filters={"page": page + 3})
