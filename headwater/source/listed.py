"""One entry of a listing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as the store lists it.

    ``changed`` is when its bytes or its name last changed, where the store knows that better than ``last_modified``
    (a copy that keeps its times). ``problem`` says why it can't be read; such an object has no bytes.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime
    changed: datetime | None = None
    problem: str | None = None

    @property
    def written(self) -> datetime:
        """The latest time at which something was done to the object."""
        return max(self.last_modified, self.changed) if self.changed else self.last_modified
