"""The endpoints under /v1. Those that answer at once are synchronous: FastAPI runs them in its thread pool."""

from __future__ import annotations

from fastapi import APIRouter

from serving.routes.answers import answer_routes
from serving.routes.corpora import corpus_routes
from serving.routes.documents import document_routes
from serving.routes.feedback import feedback_routes
from serving.routes.prompts import prompt_routes
from serving.routes.questions import question_routes
from serving.routes.receipts import receipt_routes
from serving.routes.search import search_routes
from serving.shelf import Shelf

__all__ = ["routes"]


def routes(shelf: Shelf) -> list[APIRouter]:
    """Return the endpoints over the corpora of ``shelf``."""
    return [
        make(shelf)
        for make in (
            corpus_routes,
            search_routes,
            answer_routes,
            document_routes,
            receipt_routes,
            feedback_routes,
            question_routes,
            prompt_routes,
        )
    ]
