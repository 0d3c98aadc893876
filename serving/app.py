"""The FastAPI application."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

import headwater
from headwater.corpus import Corpus
from headwater.project import Project
from serving.middleware import Surround
from serving.models import Health, Readiness
from serving.problems import MEDIA_TYPE, install, problem, request_id_of
from serving.receipts import receipt_routes
from serving.routes import routes
from serving.shelf import NotSearchable, Shelf, UnknownCorpus

STATIC = Path(__file__).parent / "static"

TOKEN_VARIABLE = "HEADWATER_API_TOKEN"


class Service(FastAPI):
    """FastAPI, less what it wrongly says of our errors."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document. FastAPI adds application/json to every response that has a model."""
        document = super().openapi()
        for item in document["paths"].values():
            for operation in item.values():
                for response in operation["responses"].values():
                    if MEDIA_TYPE in response.get("content", {}):
                        response["content"].pop("application/json", None)
        return document


def create_app(
    project: Project | None = None,
    corpora: Mapping[str, Corpus] | None = None,
    *,
    loopback_only: bool = False,
) -> FastAPI:
    """Return the application over the corpora of ``project`` (default: the project at hand), or over ``corpora``.

    When ``HEADWATER_API_TOKEN`` is set, every request under /v1 needs it as a bearer token. ``loopback_only``
    refuses requests that are addressed to any other host than this machine. Corpora are opened when first needed
    and closed at shutdown; those given in ``corpora`` are left open.
    """
    shelf = Shelf(project, corpora)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        shelf.start()
        try:
            yield
        finally:
            await run_in_threadpool(shelf.close)

    app = Service(
        title="Headwater",
        version=headwater.__version__,
        summary="Passages and answers that cite their sources.",
        description="Offsets count Unicode code points of a document's cleaned text. Errors are problem details "
        "(RFC 9457); every response carries an `X-Request-ID`.",
        lifespan=lifespan,
        # Their pages load scripts from another host, which the content security policy forbids.
        docs_url=None,
        redoc_url=None,
    )
    install(app)
    app.add_exception_handler(UnknownCorpus, _unknown_corpus)
    app.add_exception_handler(NotSearchable, _not_searchable)
    app.include_router(routes(shelf))
    app.include_router(receipt_routes(shelf))

    @app.get("/healthz", summary="Is the process up?", tags=["operation"])
    def healthz() -> Health:
        """Always 200 while the process answers."""
        return Health()

    @app.get(
        "/readyz", summary="Can every corpus be searched?", tags=["operation"], responses={503: {"model": Readiness}}
    )
    def readyz(response: Response) -> Readiness:
        """200 when every corpus has a live release that can be searched; else 503 with the reasons."""
        readiness = shelf.readiness()
        response.status_code = 200 if readiness.status == "ready" else 503
        return readiness

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        """The page to ask questions on."""
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/receipts", include_in_schema=False)
    def receipts_page() -> FileResponse:
        """The page that says what became of every object."""
        return FileResponse(STATIC / "receipts.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Surround, token=os.environ.get(TOKEN_VARIABLE) or None, loopback_only=loopback_only)
    return app


async def _unknown_corpus(request: Request, _error: Exception) -> JSONResponse:
    return problem(404, "There is no corpus of that name; GET /v1/corpora lists them.", request_id_of(request))


async def _not_searchable(request: Request, error: Exception) -> JSONResponse:
    return problem(503, str(error), request_id_of(request), headers={"Retry-After": "5"})
