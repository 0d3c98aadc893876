"""The HTTP service: retrieval, answers with citations, documents, and one web page."""

from serving.app import create_app
from serving.server import run

__all__ = ["create_app", "run"]
