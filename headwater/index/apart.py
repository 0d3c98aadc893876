"""Searching the embedded engine's releases in a process of its own, for a service: see :mod:`headwater.apart`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.apart import Apart, Ended
from headwater.errors import HeadwaterError, ReleaseError, StaleReleaseError
from headwater.index.contract import Hit, SearchRequest

if TYPE_CHECKING:
    from headwater.index.edge_search import EdgeSearcher

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Opened:
    """A searcher of the other process: its number, what it was opened on, and in which state the release was then."""

    number: int
    path: Path
    release: int
    state: str | None = None


class SearcherApart:
    """Implements :class:`headwater.index.contract.Searcher` with an :class:`EdgeSearcher` in the one process that
    searches for this one.

    Takes what that takes, and raises what it raises; ReleaseError when the process dies twice. One that died is started
    anew, and the release opened again: StaleReleaseError when that was redacted or built anew meanwhile, NotFoundError when
    it was dropped.
    """

    def __init__(self, path: Path, release: int) -> None:
        self.release = release
        self._closed = False
        self._opened = Opened(next(_numbers), path, release)
        self._opened = replace(self._opened, state=self._call("state"))

    def search(self, request: SearchRequest) -> list[Hit]:
        """Return what :meth:`EdgeSearcher.search` does."""
        return self.search_many([request])[0]

    def search_many(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Return what :meth:`EdgeSearcher.search_many` does."""
        hits: list[list[Hit]] = self._call("search_many", list(requests))
        return hits

    def count(self) -> int:
        """Return what :meth:`EdgeSearcher.count` does."""
        return int(self._call("count"))

    def fingerprints(self) -> dict[str, str]:
        """Return what :meth:`EdgeSearcher.fingerprints` does."""
        found: dict[str, str] = self._call("fingerprints")
        return found

    def retrieve(self, chunk_ids: Sequence[str], *, with_vectors: bool = False) -> list[Hit]:
        """Return what :meth:`EdgeSearcher.retrieve` does."""
        hits: list[Hit] = self._call("retrieve", list(chunk_ids), with_vectors=with_vectors)
        return hits

    def close(self) -> None:
        """Release all resources; a search that another thread asks for meanwhile may fail with ReleaseError."""
        if not self._closed:
            self._closed = True
            with suppress(Ended, HeadwaterError, OSError):  # it has just ended: nothing is open
                if PROCESS.running:
                    PROCESS.call(_CLOSE, self._opened, (), {})

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self._closed:
            raise closed(self.release)
        try:
            return PROCESS.call(name, self._opened, arguments, options)
        except Ended as error:
            raise ReleaseError(f"release {self.release} could not be read: {error}") from None


def closed(release: int) -> ReleaseError:
    """Return the error of a searcher that was closed."""
    return ReleaseError(f"release {release} was closed; open it again")


PROCESS = Apart(f"{__name__}:call")
"""The process that searches for this one."""

_CLOSE = "close"
_searchers: dict[int, EdgeSearcher] = {}
_closed: set[int] = set()
"""In the searching process: what is open, and what was closed, by number."""


def call(asked: tuple[str, tuple[Opened, Sequence[Any], Mapping[str, Any]]]) -> Any:
    """Return an attribute of a searcher of this process, or what calling it gives; :data:`_CLOSE` forgets the searcher."""
    name, (opened, arguments, options) = asked
    if name == _CLOSE:
        _closed.add(opened.number)
        if (searcher := _searchers.pop(opened.number, None)) is not None:
            searcher.close()
        return None
    found = getattr(_searcher(opened), name)
    return found(*arguments, **options) if callable(found) else found


def _searcher(opened: Opened) -> EdgeSearcher:
    from headwater.index.edge import EdgeEngine

    if opened.number in _closed:  # while this call was on its way
        raise closed(opened.release)
    if opened.number not in _searchers:
        searcher = EdgeEngine(opened.path).open_here(opened.release)
        if opened.state not in (None, searcher.state):  # the process that it was opened in has ended
            searcher.close()
            raise StaleReleaseError(f"release {opened.release} was redacted or built anew; open it again")
        _searchers[opened.number] = searcher
    return _searchers[opened.number]
