"""Query vectors: remembered, and computed together when several searches want one at the same time.

A forward pass costs nearly the same for one short query as for a dozen. So whoever finds the model busy leaves the
query for the next pass, which one of those waiting makes for all of them. Nobody waits for company: a query that comes
alone is computed at once, and nobody waits for another model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headwater.embedding import EmbeddingModel

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
    vector: Vector | None = None
    error: BaseException | None = None
    lead: bool = False
    woken: threading.Event = field(default_factory=threading.Event)


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
        key = (embedder.fingerprint, query)
        asked = _Asked(embedder, query)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            if embedder.fingerprint in self._busy:
                self._waiting.append(asked)
            else:
                self._busy.add(embedder.fingerprint)
                asked.lead = True
        if not asked.lead:
            asked.woken.wait()
        if asked.lead:
            self._pass(asked)
        if asked.error is not None:
            raise asked.error
        assert asked.vector is not None
        return asked.vector

    def _pass(self, own: _Asked) -> None:
        """Compute the own query with all that wait, then hand the model to one of those that came meanwhile."""
        with self._lock:
            mates = [one for one in self._waiting if one.embedder is own.embedder][: _TOGETHER - 1]
            self._waiting = [one for one in self._waiting if one not in mates]
        try:
            _compute([own, *mates])
        finally:
            with self._lock:
                for one in (own, *mates):
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
            for one in (*mates, *([heir] if heir else [])):
                one.woken.set()


def _compute(asked: list[_Asked]) -> None:
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
