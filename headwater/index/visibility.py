"""Which points a state sees: each carries the state it was ``born`` in and the one it ``died`` in.

State ``s`` sees the points with ``born <= s < died``. States only grow, so a later one never changes what an earlier
one sees, and what the newest sees is what is :data:`ALIVE`. All functions return Qdrant conditions and filters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdrant_client.models import Condition, FieldCondition, Filter

BORN = "born"
DIED = "died"
STATE = "state"
"""Payload field of a marker: a point without vectors that exists as long as its state is kept."""

ALIVE = 2**31 - 1
"""The ``died`` of a point that no state has ended yet: later than any state."""


def every(*conditions: Condition) -> Filter:
    """All of the conditions."""
    from qdrant_client.models import Filter

    return Filter(must=list(conditions))


def seen_by(state: int) -> list[Condition]:
    """The points that ``state`` sees."""
    return [_range(BORN, lte=state), _range(DIED, gt=state)]


def alive() -> FieldCondition:
    """The points that no state has ended."""
    from qdrant_client.models import FieldCondition, MatchValue

    return FieldCondition(key=DIED, match=MatchValue(value=ALIVE))


def born_in(state: int) -> FieldCondition:
    """The points that ``state`` brought."""
    return _range(BORN, gte=state, lte=state)


def born_before(state: int) -> FieldCondition:
    """The points that an earlier state brought."""
    return _range(BORN, lt=state)


def born_after(state: int) -> FieldCondition:
    """The points that a later state brought."""
    return _range(BORN, gt=state)


def ended_after(state: int) -> FieldCondition:
    """The points that a later state ended."""
    return _range(DIED, gt=state, lt=ALIVE)


def one_of(field: str, values: Collection[Any]) -> FieldCondition:
    """The points whose ``field`` is, or contains, at least one of ``values``."""
    from qdrant_client.models import FieldCondition, MatchAny

    return FieldCondition(key=field, match=MatchAny(any=sorted(values)))


def within(field: str, limits: Mapping[str, float]) -> FieldCondition:
    """The points whose ``field`` is a number inside the limits (``gt``, ``gte``, ``lt``, ``lte``)."""
    return _range(field, **limits)


def some(conditions: Sequence[Condition]) -> Condition:
    """The points for which at least one of the conditions holds."""
    from qdrant_client.models import Filter

    return conditions[0] if len(conditions) == 1 else Filter(should=list(conditions))


def with_ids(ids: Sequence[str]) -> Condition:
    """The points of these ids."""
    from qdrant_client.models import HasIdCondition

    return HasIdCondition(has_id=list(ids))


def seen_by_none(states: Collection[int]) -> Filter:
    """The points that none of ``states`` sees; markers are none of them."""
    from qdrant_client.models import Filter

    return Filter(must=[_range(BORN, gte=0)], must_not=[every(*seen_by(state)) for state in sorted(states)])


def markers_but(states: Collection[int]) -> Filter:
    """The markers of all other states."""
    from qdrant_client.models import Filter

    return Filter(must=[_range(STATE, gte=0)], must_not=[one_of(STATE, states)])


def _range(field: str, **limits: float) -> FieldCondition:
    from qdrant_client.models import FieldCondition, Range

    return FieldCondition(key=field, range=Range(**limits))
