"""Snapshots that a Qdrant server takes of a corpus' collections, in the store that it is configured with.

A snapshot here is one per collection, taken by one writer at one moment, with what the registry says then: together they
are every release. They are listed in the registry's collection, on the server's disk: with them the way back is quick where data are damaged
or were changed by mistake. A lost disk takes that list along; then, and wherever there is no snapshot, releases are built
from the lake (:mod:`headwater.rebuild`).

The server keeps a collection's snapshots when it deletes the collection, and gives no way to them any more. So they are
deleted first, and whatever the list says: a call that failed may have made one, too.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from headwater.errors import NotFoundError, ReleaseError
from headwater.index.connection import Connection, MissingCollectionError
from headwater.index.registry import Registry

_FIELD = "snapshot"
_NAMESPACE = uuid.UUID("5e9d2a54-7c1b-5f0a-9d7e-3b8f1c2d4e60")
_LISTED = 256
_ACTIVE, _DEAD = "Active", "Dead"  # states of a copy

TAKEN_OUT_SECONDS = 30.0
"""How long Qdrant's nodes may take to agree that old copies are out of use, which takes them well below a second."""

COPIED_SECONDS = 3600.0
"""How long a node may take to copy a restored collection from another one."""

LOOK_SECONDS = 0.05
"""How often to look: old copies stay out of use for longer than this before they are made anew."""


class Snapshot(BaseModel):
    """One snapshot: when (UTC), the file of each collection, their bytes together, and the registry of then."""

    id: str
    created_at: datetime
    files: dict[str, str]
    bytes: int
    registry: Registry


class SnapshotStore:
    """The snapshots of one corpus. ``url`` and ``api_key`` are where and how the server reads its own snapshots."""

    def __init__(self, connection: Connection, registry: str, url: str | None, api_key: str | None) -> None:
        self._connection = connection
        self._registry = registry
        self._url = url
        self._api_key = api_key

    def take(self, registry: Registry) -> Snapshot:
        """Let the server take a snapshot of every collection of ``registry``, and list it.

        Raises ReleaseError where the node that answers does not hold all shards, whole: it can only take its own.
        """
        for name in sorted(registry.collections):
            self._require_all_shards(name)
        moment = datetime.now(UTC)
        taken = {name: self._connection.call("create_snapshot", name) for name in sorted(registry.collections)}
        snapshot = Snapshot(
            id=f"{moment:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:4]}",
            created_at=moment,
            files={name: str(made.name) for name, made in taken.items()},
            bytes=sum(int(made.size) for made in taken.values()),
            registry=registry,
        )
        self._enter(snapshot)
        return snapshot

    def all(self) -> list[Snapshot]:
        """Return the snapshots that are listed, newest first."""
        found: list[Snapshot] = []
        offset: Any = None
        while True:
            try:
                records, offset = self._connection.call(
                    "scroll", self._registry, limit=_LISTED, offset=offset, with_payload=True
                )
            except MissingCollectionError:
                return []
            rows = (record.payload or {} for record in records)
            found += [Snapshot.model_validate(row[_FIELD]) for row in rows if _FIELD in row]
            if offset is None:
                return sorted(found, key=lambda snapshot: snapshot.created_at, reverse=True)

    def find(self, identity: str) -> Snapshot:
        """Return a snapshot that is listed, and all files of which are there; NotFoundError otherwise."""
        snapshots = {snapshot.id: snapshot for snapshot in self.all()}
        if identity not in snapshots:
            known = ", ".join(snapshots) or "none"
            raise NotFoundError(f"There is no snapshot {identity!r} (there: {known}).")
        for name, file in snapshots[identity].files.items():
            with self._reachable(name):
                if file not in self._sizes(name):
                    raise NotFoundError(
                        f"{self._connection.server} has lost the file {file} of snapshot {identity!r}. Take another one, "
                        "or build the releases again from the lake: headwater rebuild"
                    )
        return snapshots[identity]

    def check_copies(self, snapshot: Snapshot) -> None:
        """Raise ReleaseError unless all copies of a snapshot's collections are whole, so that all can be replaced."""
        for name in snapshot.files:
            with suppress(MissingCollectionError):  # the server makes it again
                if any(set(states) != {_ACTIVE} for states in self._copies(name)):
                    raise ReleaseError(
                        f"{self._connection.server}: a copy of {name} is not whole, because a node is down or catching up. "
                        "Restore when all nodes run; nothing was changed."
                    )

    def recover(self, snapshot: Snapshot) -> None:
        """Let the server put the collections of a snapshot in place, and wait until writes find enough copies of them.

        The registry is the caller's to save. Call :meth:`check_copies` first.
        """
        from qdrant_client.models import SnapshotPriority

        for name, file in snapshot.files.items():
            # By the server's own address, which works wherever it keeps snapshots: on its disk or in a bucket.
            location = f"{self._url}/collections/{quote(name)}/snapshots/{quote(file)}"
            self._connection.call(
                "recover_snapshot",
                name,
                location=location,
                api_key=self._api_key,
                priority=SnapshotPriority.SNAPSHOT,
                wait=True,
            )
            self._await_copies(name)

    def _await_copies(self, name: str) -> None:
        """Wait until the old copies on other nodes than the one that took a snapshot in are taken out, and made anew.

        Before that, a node may still answer from its old copy, and a write does not find as many as it needs.
        """

        def taken_out(states: list[str]) -> bool:
            return len(states) == 1 or (states.count(_ACTIVE) == 1 and _DEAD in states)

        def copied(states: list[str]) -> bool:
            return states.count(_ACTIVE) > len(states) // 2

        deadline = time.monotonic() + TAKEN_OUT_SECONDS
        while not all(map(taken_out, self._copies(name))) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)  # where they were copied between two looks, there is nothing more to see
        deadline = time.monotonic() + COPIED_SECONDS
        while not all(map(copied, self._copies(name))):
            if time.monotonic() >= deadline:
                raise ReleaseError(
                    f"{self._connection.server} took in the snapshot of {name}, but its other nodes have not copied it "
                    f"after {COPIED_SECONDS:,.0f} s. Look at their logs; then restore again, or build the releases from the "
                    "lake: headwater rebuild"
                )
            time.sleep(10 * LOOK_SECONDS)

    def _copies(self, name: str) -> list[list[str]]:
        """Return the states of the copies of each shard, as the node that answers knows them."""
        info = self._connection.call("collection_cluster_info", name)
        found: dict[int, list[str]] = {}
        for shard in (*info.local_shards, *info.remote_shards):
            found.setdefault(shard.shard_id, []).append(str(shard.state.value))
        return list(found.values())

    def prune(self, newest: int) -> None:
        """Delete all but so many of the snapshots that are listed, the newest, with their files."""
        for snapshot in self.all()[newest:]:
            for name, file in snapshot.files.items():
                with self._reachable(name), suppress(MissingCollectionError):
                    self._connection.call("delete_snapshot", name, file)
            self._connection.call("delete", self._registry, [_point(snapshot.id)], wait=True)

    def clear(self, collections: Collection[str]) -> None:
        """Delete all snapshots of ``collections`` and of those that the list names, listed or not; empty the list."""
        listed = self.all()
        for name in sorted(set(collections).union(*(snapshot.files for snapshot in listed))):
            with self._reachable(name):
                self._delete_files(name)
        for snapshot in listed:
            self._connection.call("delete", self._registry, [_point(snapshot.id)], wait=True)

    def forget(self, collection: str) -> None:
        """Take a collection, which is to be deleted, out of all snapshots, and delete their files of it."""
        try:
            sizes = self._sizes(collection)
        except MissingCollectionError:  # it never came to be, or was deleted after its snapshots
            sizes = {}
        for snapshot in self.all():
            if collection in snapshot.files:
                self._replace(_without(snapshot, collection, sizes))
        if sizes:
            self._delete_files(collection)

    def _replace(self, snapshot: Snapshot) -> None:
        if snapshot.files:
            self._enter(snapshot)
        else:
            self._connection.call("delete", self._registry, [_point(snapshot.id)], wait=True)

    def _enter(self, snapshot: Snapshot) -> None:
        from qdrant_client.models import PointStruct

        point = PointStruct(id=_point(snapshot.id), vector={}, payload={_FIELD: snapshot.model_dump(mode="json")})
        self._connection.call("upsert", self._registry, [point], wait=True)

    def _sizes(self, collection: str) -> dict[str, int]:
        """Return the snapshots of a collection that the server has, and their bytes."""
        made = self._connection.call("list_snapshots", collection)
        return {str(one.name): int(one.size) for one in made}

    def _delete_files(self, collection: str) -> None:
        for file in self._sizes(collection):
            # So says the server of a file that is gone since it was listed.
            with suppress(MissingCollectionError):
                self._connection.call("delete_snapshot", collection, file)

    @contextmanager
    def _reachable(self, collection: str) -> Iterator[None]:
        """Let the server tell of a collection's snapshots also when somebody deleted the collection itself.

        It asks the collection for them, and keeps them under its name: an empty one of that name leads to them.
        """
        gone = not self._connection.call("collection_exists", collection)
        if gone:
            self._connection.call("create_collection", collection, vectors_config={}, shard_number=1)
        try:
            yield
        finally:
            if gone:
                self._connection.call("delete_collection", collection)

    def _require_all_shards(self, name: str) -> None:
        info = self._connection.call("collection_cluster_info", name)
        every = {shard.shard_id for shard in (*info.local_shards, *info.remote_shards)}
        here = {shard.shard_id for shard in info.local_shards if shard.state.value == _ACTIVE}
        if every - here:
            raise ReleaseError(
                f"{self._connection.server}: the node that answers holds {len(here)} of the {len(every)} shards of {name}, "
                "and takes snapshots of its own only. With index.replication as high as the number of nodes each holds all "
                "(a node that came back first has to catch up); else use headwater backup, from which an index is built again."
            )


def _without(snapshot: Snapshot, collection: str, sizes: Mapping[str, int]) -> Snapshot:
    registry = snapshot.registry.model_copy(deep=True)
    registry.forget(collection)
    files = {name: file for name, file in snapshot.files.items() if name != collection}
    left = snapshot.bytes - sizes.get(snapshot.files[collection], 0)
    return snapshot.model_copy(update={"files": files, "bytes": left, "registry": registry})


def _point(identity: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, identity))
