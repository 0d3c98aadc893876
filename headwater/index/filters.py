"""What a caller filters on, checked and put into terms that every engine shares.

A filter is a field and a value, a list of values of which any may match, or a range:

=====================================  =========================================================================
``doc_id``, ``key``, ``content_type``  text, equal to the field
``language``                           text, equal to the field
``authors``, ``keywords``              text, equal to one of the field's entries
``page``                               whole number; range of numbers
``date``, ``modified``                 ISO 8601, from a year alone to a moment: the stretch of time it names has to
                                       hold the document's date. In a range ``gte`` and ``lt`` begin where that
                                       stretch begins, ``gt`` and ``lte`` where it ends
``meta.<name>``                        text, number or boolean, equal to the field; range of numbers
=====================================  =========================================================================

A passage whose document lacks the field matches no filter on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.dates import period
from headwater.errors import ReleaseError
from headwater.index.contract import FILTERABLE, SearchRequest, flag_of
from headwater.metadata import DATES, META, META_NAME

LIMITS = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The payload field is, or contains, one of the values: all texts, or all whole numbers."""

    field: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """The payload field is a number inside the limits (``gt``, ``gte``, ``lt``, ``lte``)."""

    field: str
    limits: Mapping[str, float]


Condition = AnyOf | Within


def conditions(request: SearchRequest) -> list[list[Condition]]:
    """Return what must hold: of each list at least one condition. The reader groups come last.

    Raises ReleaseError for a field that can't be filtered on, and for a value or range that the field can't have.
    """
    wanted = [_alternatives(name, value) for name, value in request.filters.items()]
    if request.readers is not None:
        wanted.append([AnyOf("readers", tuple(sorted(request.readers)))])
    return wanted


def _alternatives(name: str, value: Any) -> list[Condition]:
    if name not in FILTERABLE and not (name.startswith(META) and META_NAME.fullmatch(name.removeprefix(META))):
        raise ReleaseError(f"can't filter on {name!r}; filter on one of: {', '.join(FILTERABLE)}, {META}<name>")
    if isinstance(value, Mapping):
        return [_range(name, value)]
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    kind: str
    fits: Callable[[Any], bool]
    if name in DATES:
        kind, fits = "a date such as 2024-05-31", _is_date
    elif name == "page":
        kind, fits = "a whole number", lambda item: type(item) is int
    elif name.startswith(META):
        kind, fits = "a text, a number or a boolean", lambda item: isinstance(item, str) or _is_number(item)
    else:
        kind, fits = "a text", lambda item: isinstance(item, str)
    if not values or not all(fits(item) for item in values):
        raise ReleaseError(f"the filter on {name!r} must be {kind}, or a list of such")
    if name in DATES:
        stretches = sorted({period(item) for item in values})
        return [Within(f"{name}_seconds", {"gte": start, "lt": end}) for start, end in stretches]
    if name == "page":
        return [AnyOf(name, tuple(sorted(set(values))))]
    texts = tuple(sorted({item for item in values if isinstance(item, str)}))
    numbers = sorted({float(item) for item in values if not isinstance(item, bool | str)})
    flags = tuple(sorted({flag_of(name.removeprefix(META), item) for item in values if isinstance(item, bool)}))
    return [
        *([AnyOf(name, texts)] if texts else []),
        *(Within(name, {"gte": number, "lte": number}) for number in numbers),
        *([AnyOf("flags", flags)] if flags else []),
    ]


def _range(name: str, limits: Mapping[Any, Any]) -> Condition:
    if name not in DATES and name != "page" and not name.startswith(META):
        raise ReleaseError(f"the filter on {name!r} can't be a range: it is a text")
    if not limits or not set(limits) <= set(LIMITS):
        raise ReleaseError(f"the range of {name!r} must have one or more of {', '.join(LIMITS)}, and nothing else")
    if name not in DATES:
        if not all(_is_number(limit) and not isinstance(limit, bool) for limit in limits.values()):
            raise ReleaseError(f"the limits of the range of {name!r} must be numbers")
        return Within(name, {side: float(limit) for side, limit in limits.items()})
    if not all(_is_date(limit) for limit in limits.values()):
        raise ReleaseError(f"the limits of the range of {name!r} must be dates such as 2024-05-31")
    seconds: dict[str, float] = {}
    for side, limit in limits.items():
        start, end = period(limit)
        if side in ("gt", "gte"):
            seconds["gte"] = max(seconds.get("gte", -math.inf), end if side == "gt" else start)
        else:
            seconds["lt"] = min(seconds.get("lt", math.inf), end if side == "lte" else start)
    return Within(f"{name}_seconds", seconds)


def _is_date(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        period(value)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)
