"""What a server keeps for one corpus: which release is which state of which collection, and what is unfinished.

The registry is the payload of one point in a small collection of its own. A point is replaced as a whole, in one entry
of the server's log: what belongs together changes together. (The metadata of a collection was the alternative: it is
merged key by key, and a release has to change its collection and its state in one step when it is redacted.)

It has as many copies as the policy asks for, since nothing can be found without it, and can be read and replaced as long
as writes find enough of them. (What Qdrant calls majority asks every copy, and strong goes through the same one always.)

One writer at a time is the caller's business: the lease of the corpus. The registry says who it is, so that one that was
taken over and does not know it finds out before it writes.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from pydantic import BaseModel

from headwater.errors import ReleaseError
from headwater.hashing import digest
from headwater.index.connection import Connection, MissingCollectionError
from headwater.index.contract import IndexSpec
from headwater.index.layout import Layout, copies
from headwater.policies import IndexPolicy

if TYPE_CHECKING:
    from qdrant_client.models import CollectionClusterInfo, Record

_POINT = 1
_SHARD = 0  # the only one

PAUSES_SECONDS = (0.1, 0.5, 2.0, 5.0)
"""Between looks at copies that differ: one that missed a write is taken out by Qdrant within seconds, and made anew."""


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
    writer: str | None = None
    """Who holds the lease that it was last written under; None where nobody ever had one."""
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
        """Return the registry as it stands. Raises ReleaseError when copies of it differ for longer than a moment."""
        # So many that one of them has every write that counts.
        asked = self._policy.replication - self._policy.write_copies + 1
        try:
            for pause in (*PAUSES_SECONDS, None):
                points = self._retrieve(asked)
                if points:
                    return Registry.model_validate(points[0].payload)
                # Of a copy that lags behind and one that doesn't, Qdrant answers with what both have: nothing.
                if asked == 1 or not self._retrieve(1):
                    return Registry()
                if pause is not None:
                    time.sleep(pause)
        except MissingCollectionError:
            return Registry()
        raise ReleaseError(
            f"{self._connection.server}: the copies of {self._name} differ. Qdrant mends that by itself when all of its "
            "nodes run and reach each other; then try again"
        )

    def save(self, registry: Registry) -> None:
        """Replace the registry."""
        from qdrant_client.models import PointStruct, WriteOrdering

        point = PointStruct(id=_POINT, vector={}, payload=registry.model_dump(mode="json"))
        for _ in range(2):
            try:
                self._connection.call("upsert", self._name, [point], wait=True, ordering=WriteOrdering.MEDIUM)
                return
            except MissingCollectionError:
                self._connection.call(
                    "create_collection", self._name, vectors_config={}, shard_number=1, **copies(self._policy)
                )

    def follow(self, collection: str) -> None:
        """Give the registry the copies that the policy asks for, on nodes that ``collection`` is on.

        Qdrant makes them in the background. Those that are more than the policy asks for stay.
        """
        from qdrant_client.models import CollectionParamsDiff, ReplicateShard, ReplicateShardOperation

        if self._policy.replication == 1:
            return
        held = self._connection.call("collection_cluster_info", self._name)
        missing = self._policy.replication - len(_nodes(held))
        if missing <= 0:
            return
        others = _nodes(self._connection.call("collection_cluster_info", collection)) - _nodes(held)
        for node in sorted(others)[:missing]:
            copy = ReplicateShard(shard_id=_SHARD, from_peer_id=_source(held), to_peer_id=node)
            operation = ReplicateShardOperation(replicate_shard=copy)
            self._connection.call("cluster_collection_update", self._name, operation)
        wanted = CollectionParamsDiff(**copies(self._policy))
        self._connection.call("update_collection", self._name, collection_params=wanted)

    def _retrieve(self, copies: int) -> list[Record]:
        return list(self._connection.call("retrieve", self._name, [_POINT], with_payload=True, consistency=copies))


def _nodes(held: CollectionClusterInfo) -> set[int]:
    """Return the nodes that have a copy of any shard, or are being given one."""
    here = {held.peer_id} if held.local_shards else set()
    return here | {shard.peer_id for shard in held.remote_shards}


def _source(held: CollectionClusterInfo) -> int:
    """Return a node whose copy of the registry is whole."""
    from qdrant_client.models import ReplicaState

    if any(shard.state == ReplicaState.ACTIVE for shard in held.local_shards):
        return held.peer_id
    whole = (shard.peer_id for shard in held.remote_shards if shard.state == ReplicaState.ACTIVE)
    return next(whole, held.peer_id)
