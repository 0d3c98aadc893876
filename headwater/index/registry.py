"""What a server keeps for one corpus: which release is which state of which collection, and what is unfinished.

The registry is the payload of one point in a small collection of its own. A point is replaced as a whole, in one entry
of the server's log: what belongs together changes together. (The metadata of a collection was the alternative: it is
merged key by key, and a release has to change its collection and its state in one step when it is redacted.)

One writer at a time is the caller's business: the lease of the corpus.
"""

from __future__ import annotations

import re

from pydantic import BaseModel

from headwater.hashing import digest
from headwater.index.connection import Connection, MissingCollectionError
from headwater.index.contract import IndexSpec
from headwater.index.layout import Layout, copies
from headwater.policies import IndexPolicy

_POINT = 1


class Sealed(BaseModel):
    """A release that can be opened: the state of a collection that it is, and the number of its points."""

    state: int
    collection: str
    count: int


class Building(BaseModel):
    """The one release that is being built."""

    release: int
    state: int
    collection: str


class Registry(BaseModel):
    """Everything about a corpus that is not a point; ``Registry()`` is that of a corpus without releases."""

    next_state: int = 1
    collections: dict[str, IndexSpec] = {}
    layouts: dict[str, Layout] = {}
    """Of collections; one that has none here is of the default layout."""
    releases: dict[int, Sealed] = {}
    withheld: set[int] = set()
    """Those of ``releases`` that nobody may open: they are being put back, and may still have readers they lost."""
    building: Building | None = None
    published: int | None = None
    unswept: set[str] = set()
    """Collections that may hold points, or ends of points, that no release needs."""
    remnants: set[str] = set()
    """Collections in whose files deleted points may still have their bytes."""
    purge: set[str] = set()
    """Collections that must lose those bytes, because a document was forgotten."""
    garbage: set[str] = set()
    """Collections to delete: half-copied ones, and ones that a copy replaced."""

    def states(self, collection: str) -> list[int]:
        """Return the states of ``collection`` that must keep what they see."""
        kept = [entry.state for entry in self.releases.values() if entry.collection == collection]
        if self.building is not None and self.building.collection == collection:
            kept.append(self.building.state)
        return sorted(kept)

    def forget(self, collection: str) -> None:
        """Take a collection and its releases out."""
        self.collections.pop(collection, None)
        self.layouts.pop(collection, None)
        self.releases = {n: sealed for n, sealed in self.releases.items() if sealed.collection != collection}
        for names in (self.unswept, self.remnants, self.purge, self.garbage):
            names.discard(collection)

    def layout(self, collection: str) -> Layout:
        """Return how ``collection`` lies on the server."""
        return self.layouts.get(collection, Layout())

    def take_state(self) -> int:
        """Return a number that was never used before."""
        self.next_state += 1
        return self.next_state - 1


class Names:
    """The names that a corpus has on the server; all begin with the alias ``headwater-<corpus>``."""

    def __init__(self, corpus: str) -> None:
        plain = re.sub(r"[^A-Za-z0-9_-]", "-", corpus)
        # The dots of the other names keep them from being the alias of another corpus.
        self.alias = f"headwater-{plain if plain == corpus else f'{plain}-{digest(corpus)[:8]}'}"
        self.registry = f"{self.alias}.registry"

    def collection(self, spec: IndexSpec, state: int) -> str:
        """Return the name of a new collection; ``state`` makes it one that was never used."""
        return f"{self.alias}.{digest(spec.fingerprint, spec.dimensions)[:8]}.{state}"


class RegistryStore:
    """Reads and replaces the registry of one corpus."""

    def __init__(self, connection: Connection, name: str, policy: IndexPolicy = IndexPolicy()) -> None:
        self._connection = connection
        self._name = name
        self._policy = policy

    def load(self) -> Registry:
        """Return the registry as it stands."""
        from qdrant_client.models import ReadConsistencyType

        try:
            # A replica that lags behind must not answer.
            points = self._connection.call(
                "retrieve", self._name, [_POINT], with_payload=True, consistency=ReadConsistencyType.MAJORITY
            )
        except MissingCollectionError:
            return Registry()
        return Registry.model_validate(points[0].payload) if points else Registry()

    def save(self, registry: Registry) -> None:
        """Replace the registry."""
        from qdrant_client.models import PointStruct, WriteOrdering

        point = PointStruct(id=_POINT, vector={}, payload=registry.model_dump(mode="json"))
        for _ in range(2):
            try:
                self._connection.call("upsert", self._name, [point], wait=True, ordering=WriteOrdering.STRONG)
                return
            except MissingCollectionError:
                self._connection.call(
                    "create_collection", self._name, vectors_config={}, shard_number=1, **copies(self._policy)
                )
