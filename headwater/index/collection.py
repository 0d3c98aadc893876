"""One collection on a server: the points of all releases of one spec, each with its birth and its end.

Every method may be repeated: a write that was cut off is done again, and does no harm when it had come through.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headwater.index import visibility
from headwater.index.connection import Connection
from headwater.index.contract import INDEXED, IndexSpec
from headwater.index.layout import changes, creation
from headwater.index.points import PointRow
from headwater.index.request import DENSE, SPARSE
from headwater.index.visibility import ALIVE, BORN, DIED, STATE
from headwater.policies import IndexPolicy

if TYPE_CHECKING:
    from qdrant_client.models import Condition, Filter, PointStruct, Record

UPSERT_ROWS = 256
"""Points per request: about 1 MB at 384 dimensions, 4 MB at 3,072, far below the server's limit of 32 MB."""

_IDS = 1000  # values in one filter
_NAMESPACE = uuid.UUID("0c0b5f8e-6a3c-5f0e-8a54-2f6f3b1d7c55")


def marker_id(state: int) -> str:
    """Return the id of the point that exists as long as ``state`` is kept."""
    return str(uuid.uuid5(_NAMESPACE, f"state:{state}"))


def point_id(chunk_id: str, born: int) -> str:
    """Return the id of the version of a chunk that state ``born`` brought: two versions of one chunk can coexist."""
    return str(uuid.uuid5(_NAMESPACE, f"{chunk_id}:{born}"))


class PointCollection:
    """Writes to one collection; ``state`` is always the one being built, which sees what is alive.

    ``check`` is called before each request that changes points, and raises where nothing may be written any more.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        spec: IndexSpec,
        policy: IndexPolicy = IndexPolicy(),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.spec = spec
        self._policy = policy
        self._connection = connection
        self._check = check

    def create(self) -> None:
        """Make the collection if there is none, with an index for every field that a filter uses."""
        from qdrant_client.models import IntegerIndexParams, KeywordIndexParams, UuidIndexParams

        if not self._call("collection_exists"):
            self._call("create_collection", **creation(self._policy, self.spec.dimensions))
        number = IntegerIndexParams(type="integer", lookup=True, range=True)
        fields: dict[str, Any] = {BORN: number, DIED: number, STATE: number, "chunk_id": UuidIndexParams(type="uuid")}
        fields |= {
            name: number if k == "integer" else KeywordIndexParams(type="keyword") for name, k in INDEXED.items()
        }
        for field, schema in fields.items():
            self._call("create_payload_index", field, field_schema=schema, wait=True)

    def adapt(self) -> None:
        """Change what the policy has otherwise by now, where that needs no new collection."""
        wanted = changes(self._policy, self._call("get_collection"))
        if wanted:
            self._call("update_collection", **wanted)

    def follow(self, parent: int | None, state: int) -> None:
        """Let ``state`` see what ``parent`` sees: end what is alive but was not seen, bear again what has ended since.

        Both are nothing when ``parent`` is the newest state.
        """
        if parent is None:
            self.end([], state)
            return
        self.end([visibility.born_after(parent)], state)
        gone = visibility.every(*visibility.seen_by(parent), visibility.ended_after(parent))
        # Those that this call itself has just ended were not seen by the parent.
        for records in self.scroll(gone, vectors=True):
            self._upsert([_reborn(record, state) for record in records])

    def write(self, rows: Sequence[PointRow], state: int) -> None:
        """Put ``rows`` in place of the versions of these chunks that are alive."""
        from qdrant_client.models import PointStruct, SparseVector

        chunks = [row.chunk_id for row in rows]
        self._end_born_before([visibility.one_of("chunk_id", chunks)], state)
        self._upsert(
            [
                PointStruct(
                    id=point_id(row.chunk_id, state),
                    vector={DENSE: row.vector, SPARSE: SparseVector(indices=row.indices, values=row.values)},
                    payload=row.payload | {"chunk_id": row.chunk_id, BORN: state, DIED: ALIVE},
                )
                for row in rows
            ]
        )

    def end_values(self, field: str, values: Collection[str], state: int) -> None:
        """End what is alive and has one of ``values`` in ``field``."""
        for condition in _batches(field, values):
            self.end([condition], state)

    def end(self, conditions: Sequence[Condition], state: int) -> None:
        """End what is alive and matches; what ``state`` itself brought is deleted."""
        self._delete(visibility.every(visibility.born_in(state), *conditions))
        self._end_born_before(conditions, state)

    def replace(
        self, seen: int, field: str, values: Collection[str], state: int, change: Callable[[dict[str, Any]], bool]
    ) -> None:
        """Replace points that ``seen`` sees, and that have one of ``values``, by changed ones.

        ``change`` is given a payload, changes it, and returns whether it did.
        """
        for records in self.scroll_values(field, values, visibility.seen_by(seen), vectors=True):
            changed = [record for record in records if change(record.payload or {})]
            if changed:
                ids = visibility.with_ids([str(record.id) for record in changed])
                self._end_born_before([ids], state)
                self._upsert([_reborn(record, state) for record in changed])

    def mark(self, state: int) -> None:
        """Let readers know that ``state`` is kept."""
        from qdrant_client.models import PointStruct

        self._upsert([PointStruct(id=marker_id(state), vector={}, payload={STATE: state})])

    def sweep(self, states: Sequence[int]) -> None:
        """Delete what none of ``states`` needs, markers first, and take back what was done after the last of them."""
        self._delete(visibility.markers_but(states))
        self._delete(visibility.seen_by_none(states))
        self._set(DIED, ALIVE, visibility.every(*visibility.seen_by(states[-1]), visibility.ended_after(states[-1])))

    def copy_to(self, other: PointCollection) -> None:
        """Write every point, markers too, to another collection."""
        for records in self.scroll(None, vectors=True):
            other._upsert([_point(str(record.id), record, record.payload or {}) for record in records])

    def copy_seen(self, seen: int, other: PointCollection, state: int) -> None:
        """Write the points that ``seen`` sees to another collection, as brought by its ``state``."""
        for records in self.scroll(visibility.every(*visibility.seen_by(seen)), vectors=True):
            other._upsert([_reborn(record, state) for record in records])

    def count(self, *conditions: Condition) -> int:
        """Return the exact number of points that match."""
        return int(self._call("count", count_filter=visibility.every(*conditions), exact=True).count)

    def count_values(self, field: str, values: Collection[str], *conditions: Condition) -> int:
        """Return the exact number of points that match and have one of ``values``."""
        return sum(self.count(*conditions, condition) for condition in _batches(field, values))

    def scroll(
        self, wanted: Filter | None, *, payload: bool | list[str] = True, vectors: bool = False
    ) -> Iterator[list[Record]]:
        """Yield what matches in batches, ordered by id."""
        offset: Any = None
        while True:
            records, offset = self._call(
                "scroll",
                scroll_filter=wanted,
                limit=UPSERT_ROWS,
                offset=offset,
                with_payload=payload,
                with_vectors=vectors,
            )
            if records:
                yield records
            if offset is None:
                return

    def scroll_values(
        self,
        field: str,
        values: Collection[str],
        conditions: Sequence[Condition],
        payload: bool | list[str] = True,
        *,
        vectors: bool = False,
    ) -> Iterator[list[Record]]:
        """Yield, in batches, what matches and has one of ``values``."""
        for condition in _batches(field, values):
            yield from self.scroll(visibility.every(*conditions, condition), payload=payload, vectors=vectors)

    def _end_born_before(self, conditions: Sequence[Condition], state: int) -> None:
        self._set(DIED, state, visibility.every(visibility.alive(), visibility.born_before(state), *conditions))

    def _set(self, field: str, value: int, wanted: Filter) -> None:
        self._check()
        self._call("set_payload", {field: value}, points=wanted, wait=True)

    def _delete(self, wanted: Filter) -> None:
        from qdrant_client.models import FilterSelector

        self._check()
        self._call("delete", FilterSelector(filter=wanted), wait=True)

    def _upsert(self, points: Sequence[PointStruct]) -> None:
        self._check()
        self._call("upsert", list(points), wait=True)

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        return self._connection.call(method, self.name, *arguments, **named)


def _batches(field: str, values: Collection[str]) -> Iterator[Condition]:
    ordered = sorted(set(values))
    for start in range(0, len(ordered), _IDS):
        yield visibility.one_of(field, ordered[start : start + _IDS])


def _reborn(record: Record, state: int) -> PointStruct:
    payload = dict(record.payload or {})
    return _point(point_id(payload["chunk_id"], state), record, payload | {BORN: state, DIED: ALIVE})


def _point(identity: str, record: Record, payload: Mapping[str, Any]) -> PointStruct:
    from qdrant_client.models import PointStruct

    return PointStruct(id=identity, vector=record.vector or {}, payload=dict(payload))
