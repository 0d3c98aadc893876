"""Releases on a Qdrant server: one collection per spec, and points that carry the states that see them.

A release is a *state* of a collection (see :mod:`headwater.index.visibility`), so it costs its difference only, and
going back costs nothing. Release numbers map to states in the registry, and a redaction is the next state under the
old number: what a release is changes in one step, and other releases don't change at all.

The server computes IDF per shard, so with many shards and few points the BM25 weights of a term differ between them.

Nothing is connected to before the first call. One writer at a time: the caller holds the lease of the corpus. A writer
whose lease was taken over is refused here, too, once its successor has begun: what it was about to write (points, above
all, which a release that is built beside it would see) does not get in. The one request that is under way at that moment
can't be called back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headwater.errors import NotFoundError, ReleaseError
from headwater.index.collection import UPSERT_ROWS, PointCollection
from headwater.index.connection import Connection, MissingCollectionError, connect_to
from headwater.index.contract import REDACTED, IndexSpec, ReleaseEngine
from headwater.index.layout import layout_of
from headwater.index.points import point_rows
from headwater.index.registry import Building, Names, Registry, RegistryStore, Sealed
from headwater.index.server_search import ServerSearcher
from headwater.index.snapshots import Snapshot, SnapshotStore
from headwater.index.visibility import seen_by
from headwater.policies import IndexPolicy

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from headwater.lease import Lease


class ServerEngine:
    """The releases of one corpus on a server. Implements :class:`headwater.index.contract.ReleaseEngine`.

    ``server`` is the URL, or a function that returns a connected client. ``api_key`` and ``ca_file`` (a PEM file of the
    authorities that vouch for the server) go with the URL.
    """

    def __init__(
        self,
        server: str | Callable[[], QdrantClient],
        corpus: str,
        *,
        api_key: str | None = None,
        ca_file: str | None = None,
        policy: IndexPolicy = IndexPolicy(),
    ) -> None:
        url = server if isinstance(server, str) else None
        connect = server if not isinstance(server, str) else lambda: connect_to(server, api_key, ca_file, policy)
        self._connection = Connection(connect, f"Qdrant at {url}" if url else "Qdrant")
        self._owns_client = url is not None
        self._names = Names(corpus)
        self._policy = policy
        self._registry = RegistryStore(self._connection, self._names.registry, policy)
        self.snapshots = SnapshotStore(self._connection, self._names.registry, url, api_key)
        self._leases: list[Lease] = []

    @contextmanager
    def written_under(self, lease: Lease) -> Iterator[None]:
        """Write under ``lease`` until the block ends: LeaseError from whatever writes, once another writer has begun."""
        self._leases.append(lease)
        try:
            yield
        finally:
            self._leases.remove(lease)

    def close(self) -> None:
        """Close the connection, unless the caller made it; the next call connects again."""
        if self._owns_client:
            self._connection.close()

    def stage(self, release: int, parent: int | None, spec: IndexSpec) -> None:
        """Start ``release``; what was half-built before is undone. Costs nothing when ``parent`` is the newest state.

        A changed policy is applied to the collection; where it asks for other shards or copies, the release gets a
        collection of its own, to which the parent's points are copied.

        Raises ReleaseError if ``release`` is sealed or ``parent`` was made for another spec, NotFoundError if
        there is no such parent.
        """
        registry = self._writable()
        self._give_up(registry)
        if release in registry.releases:
            raise ReleaseError(
                f"release {release} on {self._connection.server} is sealed and can't be staged again; take the next "
                "number"
            )
        self._settle(registry, half_built=True)
        origin = None if parent is None else self._sealed(registry, parent)
        if origin is not None and registry.collections[origin.collection] != spec:
            raise ReleaseError(
                f"release {parent} holds vectors of {registry.collections[origin.collection]}, not of {spec}; "
                f"stage release {release} without a parent"
            )
        fitting = (
            name
            for name, held in registry.collections.items()
            if held == spec and registry.layout(name).serves(self._policy)
        )
        name = next(fitting, None)
        building = self._begin(
            registry, release, name or self._names.collection(spec, registry.next_state), spec, origin
        )
        self._registry.follow(building.collection)

    def apply(self, release: int, upserts: Iterable[pa.RecordBatch], deletes: Iterable[Sequence[str]]) -> None:
        """Delete, then write; with the server when it returns. Raises ReleaseError if the release is not being built."""
        registry = self._writable()
        building = self._building(registry, release)
        collection = self._collection(registry, building.collection)
        for ids in deletes:
            collection.end_values("chunk_id", ids, building.state)
        for batch in upserts:
            for rows in point_rows(batch, collection.spec.dimensions, UPSERT_ROWS):
                collection.write(rows, building.state)

    def seal(self, release: int) -> None:
        """Make the release known to readers; a sealed release is left as it is."""
        registry = self._writable()
        if release not in registry.releases:
            self._finish(registry, self._building(registry, release))

    def open(self, release: int) -> ServerSearcher:
        """Open a sealed release for reading; a search raises ReleaseError once it was dropped or redacted."""
        registry = self._registry.load()
        sealed = self._sealed(registry, release)
        spec = registry.collections[sealed.collection]
        return ServerSearcher(release, self._connection, sealed, spec, self._policy)

    def publish(self, release: int) -> None:
        """Point the alias ``headwater-<corpus>`` at the release's collection, whose metadata say which state is live.

        Outsiders that follow it see every state unless they filter ``born <= state`` and ``died > state``.
        """
        registry = self._writable()
        self._sealed(registry, release)
        if registry.published != release:
            registry.published = release
            self._save(registry)
        self._announce(registry)

    def releases(self) -> list[int]:
        """Return the numbers of all sealed releases, ascending."""
        registry = self._registry.load()
        return sorted(registry.releases.keys() - registry.withheld)

    def drop(self, release: int) -> None:
        """Remove a release, sealed or half-built, with the points that no other one sees."""
        registry = self._writable()
        sealed = registry.releases.pop(release, None)
        if sealed is not None:
            registry.withheld.discard(release)
            registry.unswept.add(sealed.collection)
            if registry.published == release:
                registry.published = None
            # First out of sight: nobody can open a release that is half removed.
            self._save(registry)
        self._settle(registry, half_built=registry.building is not None and registry.building.release == release)

    def redact(self, release: int, *, forget: Collection[str] = (), readers: Mapping[str, Sequence[str]] = {}) -> int:
        """Make a new state of the release's content less ``forget``, and exchange the two; see the contract.

        Once no release holds a document that was forgotten, what is left of its collection is copied to a fresh one, and
        the old one deleted with its files. Snapshots hold whole collections, so whatever is forgotten, all of them go.
        """
        registry = self._writable()
        self._settle(registry, half_built=True)
        sealed = self._sealed(registry, release, withheld=True)
        collection = self._collection(registry, sealed.collection)
        narrowed = {doc_id: sorted(groups) for doc_id, groups in readers.items() if doc_id not in forget}
        if forget:
            self.snapshots.clear(registry.collections)
        changed = collection.count_values("doc_id", forget, *seen_by(sealed.state))
        changed += _differing(collection, sealed.state, narrowed)
        if changed:
            building = self._begin(registry, release, sealed.collection, collection.spec, sealed)
            collection.end_values("doc_id", forget, building.state)
            collection.replace(sealed.state, "doc_id", narrowed, building.state, lambda row: _narrow(row, narrowed))
            others = [
                state for state in registry.states(collection.name) if state not in (sealed.state, building.state)
            ]
        else:
            others = registry.states(collection.name)
        held = any(collection.count_values("doc_id", forget, *seen_by(state)) for state in others)
        if forget and not held and (changed or collection.name in registry.remnants):
            registry.purge.add(collection.name)
        if changed:
            registry.unswept.add(collection.name)
            self._finish(registry, building)
        self._settle(registry)
        return changed

    def take_snapshot(self) -> Snapshot:
        """Let the server take a snapshot of every sealed release; what is half-built is undone before."""
        registry = self._writable()
        self._give_up(registry)
        self._settle(registry, half_built=True)
        return self.snapshots.take(registry)

    def delete_snapshots(self) -> None:
        """Delete all snapshots, and releases that an interrupted :meth:`restore_snapshot` left, with their bytes."""
        registry = self._writable()
        registry.purge |= self._give_up(registry)
        self._settle(registry, half_built=True)
        self.snapshots.clear(registry.collections)

    def restore_snapshot(
        self, identity: str, left: Callable[[int], Mapping[str, Sequence[str]] | None] = lambda _: {}
    ) -> Snapshot:
        """Put the releases of a snapshot in place of those there are, the published one to be told anew.

        ``left`` maps a release to the readers that its documents have left (see :meth:`redact`), and one that must not
        come back to None. Until it has them, nobody can open a release. Killed meanwhile, the index lacks the releases
        that were not put back yet. Raises NotFoundError for a snapshot that isn't there, and ReleaseError while a node of
        the server is down, and changes nothing.
        """
        snapshot = self.snapshots.find(identity)
        self.snapshots.check_copies(snapshot)
        held = self._writable()
        # What readers of now lost is back in the collections before the registry is.
        held.withheld, held.published = set(held.releases), None
        self._save(held)
        self.snapshots.recover(snapshot)
        registry = snapshot.registry.model_copy(deep=True)
        registry.writer = held.writer
        registry.next_state = max(registry.next_state, held.next_state)  # a state is never used twice
        registry.garbage |= (set(held.collections) | held.garbage) - set(registry.collections)
        registry.withheld, registry.published = set(registry.releases), None
        self._save(registry)
        self._settle(registry)
        for release in sorted(registry.releases):
            readers = left(release)
            if readers is None:
                self.drop(release)
            else:
                self.redact(release, readers=readers)
                self._show(release)
        return snapshot

    def _writable(self) -> Registry:
        """Return the registry, which is this writer's from now on; LeaseError when it is another one's."""
        registry = self._registry.load()
        if self._leases and registry.writer != self._leases[-1].holder:
            self._leases[-1].confirm()  # the other one is done: the ledger says that it is this one's turn
            registry.writer = self._leases[-1].holder
            self._registry.save(registry)
        return registry

    def _check_writer(self) -> None:
        """Raise LeaseError when another writer has begun."""
        if self._leases:
            self._leases[-1].check()
            self._writable()

    def _save(self, registry: Registry) -> None:
        self._check_writer()
        self._registry.save(registry)

    def _show(self, release: int) -> None:
        registry = self._writable()
        registry.withheld.discard(release)
        self._save(registry)

    def _give_up(self, registry: Registry) -> set[str]:
        """Drop what is withheld, and what an interrupted restore left so; return the collections that it was in."""
        given_up = {registry.releases.pop(release).collection for release in registry.withheld}
        registry.withheld.clear()
        registry.unswept |= given_up
        return given_up

    def _begin(self, registry: Registry, release: int, name: str, spec: IndexSpec, origin: Sealed | None) -> Building:
        """Start the next state of a collection as what ``origin`` sees; None sees nothing."""
        building = Building(release=release, state=registry.take_state(), collection=name)
        newest = max((state for state in registry.states(name)), default=None)
        moved = origin is not None and origin.collection != name
        # Before the first point: whatever is written from here on can be found and undone.
        registry.building = building
        if name not in registry.collections:
            registry.layouts[name] = layout_of(self._policy)
        registry.collections[name] = spec
        seen = origin.state if origin is not None and not moved else None
        moves = newest != seen
        if moves:
            registry.remnants.add(name)
        self._save(registry)
        collection = self._collection(registry, name)
        if newest is None:
            collection.create()
        else:
            collection.adapt()
            if moves:
                collection.follow(seen, building.state)
        if origin is not None and moved:
            self._collection(registry, origin.collection).copy_seen(origin.state, collection, building.state)
        return building

    def _finish(self, registry: Registry, building: Building) -> None:
        """Make the state that is being built the release, in one step."""
        collection = self._collection(registry, building.collection)
        collection.mark(building.state)
        registry.releases[building.release] = Sealed(
            state=building.state, collection=building.collection, count=collection.count(*seen_by(building.state))
        )
        registry.building = None
        self._save(registry)

    def _settle(self, registry: Registry, *, half_built: bool = False) -> None:
        """Finish what is unfinished, of this call or of one that was killed; ``half_built`` undoes that release too."""
        if half_built and registry.building is not None:
            registry.unswept.add(registry.building.collection)
            registry.building = None
        if not (registry.unswept or registry.purge or registry.garbage):
            return
        registry.remnants |= registry.unswept
        self._save(registry)
        for name in sorted(registry.unswept):
            states = registry.states(name)
            if states:
                self._collection(registry, name).sweep(states)
            else:
                del registry.collections[name]
                registry.layouts.pop(name, None)
                registry.garbage.add(name)
        registry.unswept.clear()
        self._remove_garbage(registry)
        for name in sorted(registry.purge):
            self._copy(registry, name)

    def _copy(self, registry: Registry, name: str) -> None:
        """Replace a collection by a fresh copy, which holds the bytes of no deleted point."""
        spec = registry.collections[name]
        fresh = self._names.collection(spec, registry.take_state())
        registry.garbage.add(fresh)
        self._save(registry)
        source = self._collection(registry, name)
        target = PointCollection(self._connection, fresh, spec, self._policy, self._check_writer)
        target.create()
        source.copy_to(target)
        registry.collections[fresh] = registry.collections.pop(name)
        registry.layouts.pop(name, None)
        registry.layouts[fresh] = layout_of(self._policy)
        for number, sealed in registry.releases.items():
            if sealed.collection == name:
                registry.releases[number] = sealed.model_copy(update={"collection": fresh})
        registry.garbage = {name}
        registry.purge.discard(name)
        registry.remnants.discard(name)
        self._save(registry)
        self._remove_garbage(registry)

    def _remove_garbage(self, registry: Registry) -> None:
        self._announce(registry)
        for name in sorted(registry.garbage):
            self._check_writer()
            self.snapshots.forget(name)  # once the collection is gone, nobody gets at them
            with suppress(MissingCollectionError):
                self._connection.call("delete_collection", name)
            registry.purge.discard(name)
            registry.remnants.discard(name)
        registry.garbage.clear()
        self._save(registry)

    def _announce(self, registry: Registry) -> None:
        """Let the alias follow the published release."""
        from qdrant_client.models import CreateAlias, CreateAliasOperation, DeleteAlias, DeleteAliasOperation

        if registry.published is None:
            return
        sealed = registry.releases[registry.published]
        live = {"release": registry.published, "state": sealed.state}
        self._connection.call("update_collection", sealed.collection, metadata=live)
        aliases = self._connection.call("get_aliases").aliases
        held = {entry.alias_name: entry.collection_name for entry in aliases}.get(self._names.alias)
        if held != sealed.collection:
            create = CreateAlias(collection_name=sealed.collection, alias_name=self._names.alias)
            changes: list[Any] = [CreateAliasOperation(create_alias=create)]
            if held is not None:  # both in one step
                changes.insert(0, DeleteAliasOperation(delete_alias=DeleteAlias(alias_name=self._names.alias)))
            self._connection.call("update_collection_aliases", changes)

    def _collection(self, registry: Registry, name: str) -> PointCollection:
        return PointCollection(self._connection, name, registry.collections[name], self._policy, self._check_writer)

    def _building(self, registry: Registry, release: int) -> Building:
        if registry.building is None or registry.building.release != release or release in registry.releases:
            raise ReleaseError(f"release {release} on {self._connection.server} is not being built; stage it first")
        return registry.building

    def _sealed(self, registry: Registry, release: int, *, withheld: bool = False) -> Sealed:
        if release in registry.withheld and not withheld:
            raise NotFoundError(
                f"release {release} on {self._connection.server} is being restored; if that was interrupted, restore again, "
                "or build it from the lake: headwater rebuild"
            )
        if release not in registry.releases:
            known = ", ".join(map(str, sorted(registry.releases.keys() - registry.withheld))) or "none"
            raise NotFoundError(
                f"there is no sealed release {release} on {self._connection.server}; there are: {known}"
            )
        return registry.releases[release]


def fenced(engine: ReleaseEngine, lease: Lease) -> AbstractContextManager[None]:
    """Let ``engine`` write under ``lease`` until the block ends.

    Of the embedded one nothing is asked: its releases are files of their own, in which two writers do not meet.
    """
    return engine.written_under(lease) if isinstance(engine, ServerEngine) else nullcontext()


def _narrow(payload: dict[str, Any], readers: Mapping[str, Sequence[str]]) -> bool:
    groups = readers[payload["doc_id"]]
    if set(payload["readers"]) == set(groups):
        return False
    payload |= {"readers": list(groups), "fingerprint": REDACTED}
    return True


def _differing(collection: PointCollection, state: int, readers: Mapping[str, Sequence[str]]) -> int:
    """Return how many of the points that ``state`` sees have other readers than they shall have."""
    return sum(
        set((record.payload or {})["readers"]) != set(readers[(record.payload or {})["doc_id"]])
        for records in collection.scroll_values("doc_id", readers, seen_by(state), ["doc_id", "readers"])
        for record in records
    )
