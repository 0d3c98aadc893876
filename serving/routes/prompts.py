"""GET /v1/prompts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from serving.access import Caller, caller
from serving.logs import note
from serving.models import CorpusName, PromptLabelOut, PromptOut, PromptsResponse, PromptVersionOut
from serving.problems import RESPONSES
from serving.shelf import Shelf


def prompt_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoint over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["prompts"])

    @router.get("/prompts", summary="List the prompts")
    def prompts(
        request: Request, who: Annotated[Caller, Depends(caller("admin"))], corpus: CorpusName
    ) -> PromptsResponse:
        """Every version of the prompts that a corpus is answered with, and what each label points to."""
        registry = shelf.get(who.corpus(corpus)).prompts
        versions = registry.versions()
        names = dict.fromkeys(version.name for version in versions)
        note(request, corpus=corpus, results=len(versions))
        return PromptsResponse(
            corpus=corpus,
            prompts=[
                PromptOut(
                    name=name,
                    versions=[PromptVersionOut.model_validate(v) for v in versions if v.name == name],
                    labels=[PromptLabelOut.model_validate(move) for move in registry.labels(name).values()],
                )
                for name in names
            ],
        )

    return router
