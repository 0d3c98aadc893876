"""How the service stands."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class CorpusReadiness(BaseModel):
    """Whether one corpus can be searched."""

    ready: bool
    release: int | None
    reason: str | None


class Readiness(BaseModel):
    """Whether every corpus can be searched."""

    status: Literal["ready", "warming", "not ready"]
    reason: str | None
    corpora: dict[str, CorpusReadiness]

    def of(self, names: Collection[str] | None) -> Readiness:
        """Return it for a caller who may know of these corpora; None knows of all."""
        if names is None:
            return self
        corpora = {name: state for name, state in self.corpora.items() if name in names}
        return Readiness(status=self.status, reason=None, corpora=corpora)
