"""Searches that come at the same time, done together: their query vectors in one pass, then the search for all of them.

A forward pass costs nearly the same for one short query as for a dozen, and an exact search that has a vector in its cache
compares it with several queries for little more than with one. So whoever finds the model busy leaves the query for the next
pass, which one of those waiting makes for all of them. Nobody waits for company: a query that comes alone is computed at
once, and nobody waits for another model. Vectors are remembered.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from headwater.embedding import EmbeddingModel
from headwater.index.contract import Hit, Searcher, SearchRequest

Vector = npt.NDArray[np.float32]

REMEMBERED = 4096
"""Vectors kept: 6 MB at 384 dimensions."""

_TOGETHER = 64
"""Queries of one pass at most."""

_TRIED = 2
"""Queries tried alone before a model that failed for several is given up."""


@dataclass(slots=True, eq=False)
class _Asked:
    embedder: EmbeddingModel
    query: str
    searcher: Searcher | None = None
    request: SearchRequest | None = None
    vector: Vector | None = None
    hits: list[Hit] | None = None
    error: BaseException | None = None
    lead: bool = False
    searches: list[_Asked] = field(default_factory=list)
    """Those to search for, itself included; one of them does it for all."""
    encoded: float = 0.0
    woken: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, its request with the query's vector, and when (``time.perf_counter``) that was there."""

    hits: list[Hit]
    request: SearchRequest
    encoded: float


class QueryVectors:
    """Vectors by model and query. Thread-safe."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], Vector] = OrderedDict()
        self._waiting: list[_Asked] = []
        self._busy: set[str] = set()

    def of(self, embedder: EmbeddingModel, query: str) -> Vector:
        """Return the unit vector of a query, shape (dimensions,). Raises what the model raises."""
        asked = _Asked(embedder, query)
        self._answer(asked)
        assert asked.vector is not None
        return asked.vector

    def search(self, embedder: EmbeddingModel, query: str, searcher: Searcher, request: SearchRequest) -> Found:
        """Search with the vector of ``query`` as the dense one of ``request``.

        Raises what the model raises, and what :meth:`Searcher.search` does.
        """
        asked = _Asked(embedder, query, searcher, request)
        self._answer(asked)
        if asked.hits is None:  # the vector was known, or searching together failed, be it for somebody else's request
            asked.hits = searcher.search(_request(asked))
        return Found(asked.hits, _request(asked), asked.encoded)

    def _answer(self, asked: _Asked) -> None:
        key = (asked.embedder.fingerprint, asked.query)
        with self._lock:
            asked.vector = self._known.get(key)
            if asked.vector is not None:
                self._known.move_to_end(key)
                asked.encoded = time.perf_counter()
                return
            if asked.embedder.fingerprint in self._busy:
                self._waiting.append(asked)
            else:
                self._busy.add(asked.embedder.fingerprint)
                asked.lead = True
        if not asked.lead:
            asked.woken.wait()
        if asked.lead:
            self._pass(asked)
        if asked.searches:
            _find(asked)
        if asked.error is not None:
            raise asked.error

    def _pass(self, own: _Asked) -> None:
        """Compute the own query with all that wait, then hand the model to one of those that came meanwhile.

        Those that search in one release are left to one of them, so that each release is searched by a thread of its own.
        """
        with self._lock:
            mates = [one for one in self._waiting if one.embedder is own.embedder][: _TOGETHER - 1]
            self._waiting = [one for one in self._waiting if one not in mates]
        group = [own, *mates]
        try:
            _compute(group)
        finally:
            now = time.perf_counter()
            with self._lock:
                for one in group:
                    one.encoded = now
                    if one.vector is not None:
                        self._known[one.embedder.fingerprint, one.query] = one.vector
                while len(self._known) > self._remembered:
                    self._known.popitem(last=False)
                lane = own.embedder.fingerprint
                heir = next((one for one in self._waiting if one.embedder.fingerprint == lane), None)
                if heir is not None:
                    self._waiting.remove(heir)
                    heir.lead = True
                else:
                    self._busy.discard(lane)
            if heir is not None:
                heir.woken.set()
            searching: set[int] = set()
            for together in _by_searcher(group):
                together[0].searches = together
                searching |= {id(one) for one in together[1:]}
            for one in mates:
                if id(one) not in searching:
                    one.woken.set()


def _by_searcher(group: Sequence[_Asked]) -> list[list[_Asked]]:
    """Return those that search and have their vector, in one list for each searcher, in the order of ``group``."""
    found: dict[int, list[_Asked]] = {}
    for one in group:
        if one.searcher is not None and one.vector is not None:
            found.setdefault(id(one.searcher), []).append(one)
    return list(found.values())


def _find(asked: _Asked) -> None:
    """Search for all that were left to ``asked``. Where that fails, each is left to search for itself."""
    try:
        assert asked.searcher is not None
        found = asked.searcher.search_many([_request(one) for one in asked.searches])
        for one, hits in zip(asked.searches, found, strict=True):
            one.hits = hits
    except Exception as error:  # whose request it was, and what it said, is nobody else's business
        if len(asked.searches) == 1:
            asked.error = error
    finally:
        for one in asked.searches:
            one.woken.set()


def _request(asked: _Asked) -> SearchRequest:
    assert asked.request is not None
    return replace(asked.request, dense=asked.vector)


def _compute(asked: Sequence[_Asked]) -> None:
    queries = list(dict.fromkeys(one.query for one in asked))
    try:
        found = dict(zip(queries, asked[0].embedder.encode_queries(queries), strict=True))
    except Exception as error:
        if len(asked) == 1:
            asked[0].error = error
            return
        # What one query can't get, the others must not lose; but where two alone fail as well, it is the model.
        for place, one in enumerate(asked):
            if place == _TRIED and all(other.error is not None for other in asked[:_TRIED]):
                for other in asked[_TRIED:]:
                    other.error = error
                return
            _compute([one])
        return
    except BaseException as error:
        for one in asked:
            one.error = error
        return
    for one in asked:
        one.vector = found[one.query]


QUERY_VECTORS = QueryVectors()
"""Shared by all corpora of the process, as the models are."""
