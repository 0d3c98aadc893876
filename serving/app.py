"""The FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import headwater
from headwater.corpus import Corpus
from headwater.doctor import importable
from headwater.project import Project
from serving.access import (
    Access,
    Caller,
    Forbidden,
    Unauthenticated,
    Unavailable,
    caller,
    open_access,
    project_at_hand,
)
from serving.access.admin import admin_routes
from serving.chat import chat_routes
from serving.chat.errors import unrouted
from serving.mcp import McpEndpoint
from serving.middleware import Surround
from serving.models import Health, Readiness
from serving.observability import CorpusStates, Metrics, Traces
from serving.observability.metrics import CONTENT_TYPE
from serving.problems import MEDIA_TYPE, install
from serving.routes import routes
from serving.routes.answers import EVENTS
from serving.shelf import Shelf
from serving.streaming import EVENT_STREAM

STATIC = Path(__file__).parent / "static"


class PageFiles(StaticFiles):
    """Files of the pages; browsers ask each time whether they changed, so that no page runs with another version's."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the response with a file, or that it didn't change."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class Service(FastAPI):
    """FastAPI, less what it wrongly says of our errors."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document.

        FastAPI adds the endpoint's own media type to every response that has a model, and a 422 of its own to what has none; of
        what streams send it knows nothing.
        """
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        _, events = models_json_schema(
            [(model, "serialization") for model in EVENTS.values()], ref_template="#/components/schemas/{model}"
        )
        schemas.update({name: schema for name, schema in events["$defs"].items() if name not in schemas})
        for item in document["paths"].values():
            for operation in item.values():
                responses = operation["responses"]
                for status, response in list(responses.items()):
                    content = response.get("content", {})
                    if MEDIA_TYPE in content:
                        response["content"] = {MEDIA_TYPE: content[MEDIA_TYPE]}
                    elif status == "422":
                        del responses[status]
                    elif EVENT_STREAM in content and "oneOf" in content[EVENT_STREAM]["schema"]:
                        content[EVENT_STREAM]["schema"].pop("type", None)  # FastAPI says it is a string
        return document


def create_app(
    project: Project | None = None,
    corpora: Mapping[str, Corpus] | None = None,
    *,
    access: Access | None = None,
    loopback_only: bool = False,
    traces: Traces | None = None,
) -> FastAPI:
    """Return the application over the corpora of ``project`` (default: the project at hand), or over ``corpora``.

    ``access`` says who may call (default: as the project and the environment configure it); it is closed at shutdown.
    With ``corpora`` and no ``access`` there are no API keys and no audit log. ``loopback_only``
    refuses requests that are addressed to any other host than this machine. Corpora are opened when first needed
    and closed at shutdown; those given in ``corpora`` are left open. ``traces`` makes spans of requests while it runs.
    """
    if access is None:
        access = open_access(project if project is not None or corpora is not None else project_at_hand())
    shelf = Shelf(project, corpora)
    metrics = Metrics()
    metrics.registry.register(CorpusStates(shelf))
    mcp = McpEndpoint(shelf) if importable("mcp") else None

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if traces is not None:
            traces.start()
        access.start()
        shelf.start()
        try:
            async with AsyncExitStack() as stack:
                if mcp is not None:
                    await stack.enter_async_context(mcp.running())
                yield
        finally:
            await run_in_threadpool(shelf.close)
            await run_in_threadpool(access.close)
            if traces is not None:
                await run_in_threadpool(traces.close)

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
    app.add_exception_handler(HTTPException, unrouted)
    for router in routes(shelf):
        app.include_router(router)
    app.include_router(chat_routes(shelf))
    app.include_router(admin_routes(shelf, access))

    @app.get("/healthz", summary="Is the process up?", tags=["operation"])
    async def healthz() -> Health:
        """Always 200 while the process answers."""
        return Health()

    @app.get(
        "/readyz", summary="Can every corpus be searched?", tags=["operation"], responses={503: {"model": Readiness}}
    )
    async def readyz(request: Request, response: Response) -> Readiness:
        """200 when every corpus has a live release that can be searched; else 503.

        Needs no credentials, but names the corpora, with the reasons, to known callers alone.
        """
        readiness = await run_in_threadpool(shelf.readiness)
        response.status_code = 200 if readiness.status == "ready" else 503
        try:
            who = await access.authenticate(request.headers.get("authorization", ""))
        except (Unauthenticated, Unavailable):
            return Readiness(status=readiness.status, reason=None, corpora={})
        return readiness.of(who.corpora)

    @app.get("/metrics", include_in_schema=False)
    def read_metrics(who: Annotated[Caller, Depends(caller("metrics"))]) -> Response:
        """What was counted, in Prometheus' text format: of every corpus, so it takes credentials for all of them."""
        if not who.sees_all:
            raise Forbidden("Metrics are of every corpus, and these credentials are for some only.", "metrics")
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        """The page to ask questions on."""
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/receipts", include_in_schema=False)
    def receipts_page() -> FileResponse:
        """The page that says what became of every object."""
        return FileResponse(STATIC / "receipts.html", headers={"Cache-Control": "no-cache"})

    @app.get("/releases", include_in_schema=False)
    def releases_page() -> FileResponse:
        """The page that lists the releases with their checks."""
        return FileResponse(STATIC / "releases.html", headers={"Cache-Control": "no-cache"})

    if mcp is not None:
        app.add_route("/mcp", mcp, include_in_schema=False)  # type: ignore[arg-type]
    app.mount("/static", PageFiles(directory=STATIC), name="static")
    app.add_middleware(Surround, access=access, loopback_only=loopback_only, metrics=metrics, traces=traces)
    return app
