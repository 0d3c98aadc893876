"""The /v1 endpoints. They are synchronous: FastAPI runs them in its thread pool."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from headwater.corpus import Corpus
from headwater.errors import NotFoundError
from headwater.types import Principal
from serving.logs import note
from serving.models import (
    MAX_DOCUMENT_SPAN,
    MAX_NUMBER,
    AnswerRequest,
    AnswerResponse,
    CorporaResponse,
    CorpusName,
    CorpusOut,
    DocumentResponse,
    Groups,
    Number,
    PageOut,
    PassageOut,
    ReleaseOut,
    ReleasesResponse,
    RetrieveRequest,
    RetrieveResponse,
    SectionOut,
)
from serving.problems import RESPONSES
from serving.shelf import NotSearchable, Shelf, on_release

Offset = Annotated[int, Query(ge=0, le=MAX_NUMBER)]


def routes(shelf: Shelf) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES)

    @router.get("/corpora", summary="List the corpora", tags=["corpora"])
    def corpora() -> CorporaResponse:
        """Every corpus of this service, with its live release."""
        return CorporaResponse(corpora=[_corpus(shelf, name) for name in shelf.names()])

    @router.get("/releases", summary="List the releases of a corpus", tags=["corpora"])
    def releases(request: Request, corpus: CorpusName) -> ReleasesResponse:
        """All releases, newest first, with their state, the reason for it, and the gate's checks."""
        found = shelf.get(corpus).releases()
        note(request, corpus=corpus, results=len(found))
        return ReleasesResponse(corpus=corpus, releases=[ReleaseOut.model_validate(info) for info in found])

    @router.post("/retrieve", summary="Find passages", tags=["search"])
    def retrieve(request: Request, body: RetrieveRequest) -> RetrieveResponse:
        """Passages that the end user may read, best first, all from one release."""
        corpus = shelf.get(body.corpus)
        filters = body.filters.flat()
        principal = _principal(body.groups)
        release, passages = on_release(
            corpus,
            body.release,
            lambda number: corpus.search(body.query, body.k, release=number, principal=principal, filters=filters),
        )
        note(request, corpus=body.corpus, release=release, k=body.k, results=len(passages))
        found = [PassageOut.model_validate(passage) for passage in passages]
        return RetrieveResponse(corpus=body.corpus, release=release, passages=found)

    @router.post("/answer", summary="Answer a question", tags=["search"])
    def answer(request: Request, body: AnswerRequest) -> AnswerResponse:
        """An answer whose every sentence is quoted from a document that the end user may read, or a refusal."""
        corpus = shelf.get(body.corpus)
        principal = _principal(body.groups)
        release, found = on_release(
            corpus, None, lambda number: corpus.answer(body.question, principal=principal, release=number)
        )
        note(request, corpus=body.corpus, release=release, answer=found.id, refused=found.refused)
        return AnswerResponse.model_validate(found)

    @router.get("/documents/{doc_id}", summary="Read a document", tags=["documents"])
    def document(
        request: Request,
        doc_id: Annotated[str, Path(max_length=200)],
        corpus: CorpusName,
        start: Offset = 0,
        end: Annotated[Offset | None, Query(description="Default: as much as one response holds.")] = None,
        release: Number | None = None,
        groups: Annotated[Groups, Query()] = [],  # noqa: B006 (FastAPI copies it)
    ) -> DocumentResponse:
        """Metadata and cleaned text of a document, or of its characters from ``start`` to ``end``.

        One response holds at most 100,000 characters; the ``end`` it says is where the next one starts.
        """
        opened = shelf.get(corpus)
        principal = _principal(groups)
        _, found = on_release(
            opened, release, lambda number: opened.document(doc_id, principal=principal, release=number)
        )
        note(request, corpus=corpus, release=found.release)
        length = len(found.text)
        start = min(start, length)
        end = max(start, min(length, start + MAX_DOCUMENT_SPAN, length if end is None else end))
        return DocumentResponse(
            doc_id=found.doc_id,
            key=found.key,
            title=found.title,
            revision=found.revision,
            release=found.release,
            content_type=found.content_type,
            length=length,
            start=start,
            end=end,
            text=found.text[start:end],
            sections=[
                SectionOut(section=list(section), start=a, end=b)
                for section, a, b in found.sections
                if a < end and b > start
            ],
            pages=[PageOut(page=page, start=a, end=b) for page, a, b in found.pages if a < end and b > start],
            metadata=dict(found.metadata),
        )

    return router


def _corpus(shelf: Shelf, name: str) -> CorpusOut:
    try:
        corpus: Corpus = shelf.get(name)
        return CorpusOut(name=name, description=corpus.policy.description, live=corpus.live())
    except (NotSearchable, NotFoundError):
        return CorpusOut(name=name, description="", live=None)


def _principal(groups: list[str]) -> Principal:
    return Principal(groups=frozenset(groups), name="api" if groups else "anonymous")
