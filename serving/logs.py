"""What a request's log line says beside its route and status."""

from __future__ import annotations

from typing import Any

from fastapi import Request


def note(request: Request, **fields: Any) -> None:
    """Add fields to the request's log line: names of corpora, numbers and ids only, never keys or text."""
    request.scope["state"].setdefault("log", {}).update(fields)
