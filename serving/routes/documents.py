"""GET /v1/documents and /v1/documents/{doc_id}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from headwater.corpus import Corpus, Document, readers_of_principal
from headwater.documents import page_of_documents
from headwater.types import Principal
from serving.access import Caller, caller
from serving.logs import note
from serving.models import (
    MAX_DOCUMENT_SPAN,
    CorpusName,
    DocumentOut,
    DocumentResponse,
    DocumentsResponse,
    Number,
    PageOut,
    QueryGroups,
    SectionOut,
)
from serving.models.fields import Key, Offset
from serving.problems import RESPONSES
from serving.shelf import Shelf, on_release


def document_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["documents"])

    @router.get("/documents", summary="List documents")
    def documents(
        request: Request,
        who: Annotated[Caller, Depends(caller("documents"))],
        corpus: CorpusName,
        prefix: Annotated[Key | None, Query(description="Only keys that start so.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many documents.")] = 100,
        after: Annotated[Key | None, Query(description="Only keys behind this one; for the next page.")] = None,
        groups: Annotated[QueryGroups | None, Query()] = None,
    ) -> DocumentsResponse:
        """The documents of the live release that the end user may read, in order of key."""
        opened = shelf.get(who.corpus(corpus))
        readers = readers_of_principal(who.principal(groups))
        _, page = on_release(
            opened,
            None,
            lambda _: page_of_documents(opened, readers=readers, prefix=prefix or "", after=after, limit=limit),
        )
        note(request, corpus=corpus, release=page.release, limit=limit, results=len(page.documents))
        who.record("documents.list", corpus=corpus, release=page.release, counts={"documents": len(page.documents)})
        return DocumentsResponse(
            corpus=corpus,
            release=page.release,
            documents=[DocumentOut.model_validate(document) for document in page.documents],
            after=page.after,
        )

    @router.get("/documents/{doc_id}", summary="Read a document")
    def document(
        request: Request,
        who: Annotated[Caller, Depends(caller("documents"))],
        doc_id: Annotated[str, Path(max_length=200)],
        corpus: CorpusName,
        start: Annotated[Offset, Query()] = 0,
        end: Annotated[Offset | None, Query(description="Default: as much as one response holds.")] = None,
        release: Number | None = None,
        groups: Annotated[QueryGroups | None, Query()] = None,
    ) -> DocumentResponse:
        """Metadata and cleaned text of a document, or of its characters from ``start`` to ``end``.

        One response holds at most 100,000 characters; the ``end`` it says is where the next one starts.
        """
        found = read(shelf.get(who.corpus(corpus)), doc_id, who.principal(groups), release)
        note(request, corpus=corpus, release=found.release)
        who.record("document.read", corpus=corpus, release=found.release, target=doc_id)
        return part_of(found, start, end)

    return router


def read(corpus: Corpus, doc_id: str, principal: Principal, release: int | None) -> Document:
    """Return a document; NotFoundError when it isn't there or ``principal`` may not read it."""
    _, found = on_release(corpus, release, lambda number: corpus.document(doc_id, principal=principal, release=number))
    return found


def part_of(found: Document, start: int, end: int | None) -> DocumentResponse:
    """Return the document's characters from ``start`` to ``end``, as far as they are there and one response holds."""
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
