"""What a caller filters on, checked and put into terms that every engine shares.

A filter expression is a mapping of fields to what they must be (all of them), or one of the three operators, to any
depth within :data:`MAX_DEPTH`: ``{"and": [...]}``, ``{"or": [...]}``, ``{"not": {...}}``. A field must be a value, one
of a list of values, in a range (``{"gte": ..., "lt": ...}``), or begin with a text (``{"prefix": "policies/"}``, or a
list of such):

=====================================  =========================================================================
``doc_id``, ``key``, ``content_type``  text, equal to the field; prefix
``title``                              the same: as the document states it, whole
``language``                           text, equal to the field; prefix
``authors``, ``keywords``              text, equal to one of the field's entries; prefix
``page``                               whole number, one of the pages that the passage's text stands on; range of numbers
``date``, ``modified``                 ISO 8601, from a year alone to a moment: the stretch of time it names has to
                                       hold the document's date (its first moment, where that is a year or a month).
                                       In a range ``gte`` and ``lt`` begin where that stretch begins, ``gt`` and ``lte``
                                       where it ends
``meta.<name>``                        text, number or boolean, equal to the field; range of numbers; prefix
=====================================  =========================================================================

A text is the same in Unicode's composed and decomposed form: a key is stored as its bucket spells it (macOS decomposes),
all else composed.

A passage whose document lacks the field matches no filter on it, and so matches the negation of every one. The same
as a string: :mod:`headwater.retrieval.grammar`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.dates import period
from headwater.errors import FilterError
from headwater.index.contract import BREAK_PAGES, FILTERABLE, SearchRequest, flag_of
from headwater.metadata import DATES, META, META_NAME

LIMITS = ("gt", "gte", "lt", "lte")
PREFIX = "prefix"
OPERATORS = ("and", "or", "not")

MAX_DEPTH = 8
"""How deep operators may be nested; people write two or three."""

MAX_CONDITIONS = 100
"""Comparisons in one expression. A search must not cost more than its vectors do."""

MAX_VALUES = 1000
"""Values in one list; what a deployment's own access system would hand over."""


_SURROGATE = re.compile("[\ud800-\udfff]")


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


@dataclass(frozen=True, slots=True)
class StartsWith:
    """The payload field is, or contains, a text that begins with ``prefix``."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class AllHold:
    """All parts hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class OneHolds:
    """At least one part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Fails:
    """The part does not hold."""

    part: Condition


Condition = AnyOf | Within | StartsWith | AllHold | OneHolds | Fails


def conditions(request: SearchRequest) -> list[Condition]:
    """Return what must hold, all of it. The reader groups come last.

    Raises FilterError for a field that can't be filtered on, for a value or range that the field can't have or no index
    could hold, and for an expression that is too deep or too large.
    """
    return [*_parts(request.filters), *readable(request)]


def readable(request: SearchRequest) -> list[AnyOf]:
    """Return what must hold of a point that the asker may read at all; nothing where no permissions are asked for.

    It is also the corpus that a term's rarity is counted in: counted among all points, a score would tell how many hidden
    ones hold the word.
    """
    return [] if request.readers is None else [AnyOf("readers", tuple(sorted(request.readers)))]


def check(expression: Mapping[str, Any]) -> None:
    """Raise FilterError where ``expression`` is no filter."""
    _parts(expression)


def encodes(text: str) -> bool:
    """Say whether UTF-8 can encode ``text``: JSON can spell half of a surrogate pair, which no index takes."""
    return _SURROGATE.search(text) is None


def _parts(expression: Mapping[str, Any]) -> list[Condition]:
    counted = [0]
    return _all_of(expression, 1, counted)


def _all_of(expression: Any, depth: int, counted: list[int]) -> list[Condition]:
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested more than {MAX_DEPTH} deep; flatten it")
    if not isinstance(expression, Mapping):
        raise FilterError(
            f"a filter must be an object of fields or operators ({', '.join(OPERATORS)}), not a {_kind(expression)}"
        )
    found: list[Condition] = []
    for name, value in expression.items():
        if name in OPERATORS:
            found.append(_operator(name, value, depth, counted))
            continue
        counted[0] += 1
        if counted[0] > MAX_CONDITIONS:
            raise FilterError(f"the filter has more than {MAX_CONDITIONS} comparisons; use a list of values instead")
        alternatives = _alternatives(name, value)
        found.append(alternatives[0] if len(alternatives) == 1 else OneHolds(tuple(alternatives)))
    return found


def _operator(name: str, value: Any, depth: int, counted: list[int]) -> Condition:
    if name == "not":
        return Fails(_one(_all_of(value, depth + 1, counted), name))
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise FilterError(f"the operator {name!r} must have a list of filters")
    parts = tuple(_one(_all_of(part, depth + 1, counted), name) for part in value)
    return AllHold(parts) if name == "and" else OneHolds(parts)


def _one(parts: list[Condition], operator: str) -> Condition:
    if not parts:
        raise FilterError(f"the operator {operator!r} has an empty filter")
    return parts[0] if len(parts) == 1 else AllHold(tuple(parts))


def _alternatives(name: Any, value: Any) -> list[Condition]:
    if not isinstance(name, str) or (
        name not in FILTERABLE and not (name.startswith(META) and META_NAME.fullmatch(name.removeprefix(META)))
    ):
        shown = repr(name) if isinstance(name, str) and len(name) <= 80 else "that field"
        raise FilterError(f"can't filter on {shown}; filter on one of: {', '.join(FILTERABLE)}, {META}<name>")
    if isinstance(value, Mapping):
        return _prefixes(name, value[PREFIX]) if value.keys() == {PREFIX} else [_range(name, value)]
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(values) > MAX_VALUES:
        raise FilterError(f"the filter on {name!r} has more than {MAX_VALUES} values")
    kind: str
    fits: Callable[[Any], bool]
    if name in DATES:
        kind, fits = "a date such as 2024-05-31", _is_date
    elif name == "page":
        kind, fits = "a whole number of at most 63 bits", lambda item: type(item) is int and _is_number(item)
    elif name.startswith(META):
        kind, fits = "a text, a number or a boolean", lambda item: isinstance(item, str) or _is_number(item)
    else:
        kind, fits = "a text", lambda item: isinstance(item, str)
    if not values or not all(fits(item) for item in values):
        raise FilterError(f"the filter on {name!r} must be {kind}, or a list of such")
    _require_utf8(name, values)
    if name in DATES:
        stretches = sorted({period(item) for item in values})
        return [Within(f"{name}_seconds", {"gte": start, "lt": end}) for start, end in stretches]
    if name == "page":
        pages = tuple(sorted(set(values)))
        return [AnyOf(name, pages), AnyOf(BREAK_PAGES, pages)]
    texts = tuple(sorted(_spellings(item for item in values if isinstance(item, str))))
    numbers = sorted({float(item) for item in values if not isinstance(item, bool | str)})
    flags = tuple(sorted({flag_of(name.removeprefix(META), item) for item in values if isinstance(item, bool)}))
    return [
        *([AnyOf(name, texts)] if texts else []),
        *(Within(name, {"gte": number, "lte": number}) for number in numbers),
        *([AnyOf("flags", flags)] if flags else []),
    ]


def _prefixes(name: str, value: Any) -> list[Condition]:
    if name in DATES or name == "page":
        raise FilterError(f"the filter on {name!r} can't be a prefix: it is no text")
    prefixes = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not prefixes or not all(isinstance(prefix, str) and prefix for prefix in prefixes):
        raise FilterError(f"the prefix of {name!r} must be a text that is not empty, or a list of such")
    if len(prefixes) > MAX_CONDITIONS:
        raise FilterError(f"the filter on {name!r} has more than {MAX_CONDITIONS} prefixes")
    _require_utf8(name, prefixes)
    return [StartsWith(name, prefix) for prefix in sorted(_spellings(prefixes))]


def _spellings(texts: Iterable[str]) -> set[str]:
    """Return the texts as they are, composed and decomposed."""
    given = set(texts)
    return given | {
        unicodedata.normalize(form, text) for text in given for form in ("NFC", "NFD") if not text.isascii()
    }


def _range(name: str, limits: Mapping[Any, Any]) -> Condition:
    if name not in DATES and name != "page" and not name.startswith(META):
        raise FilterError(f"the filter on {name!r} can't be a range: it is a text")
    if not limits or not set(limits) <= set(LIMITS):
        raise FilterError(
            f"the range of {name!r} must have one or more of {', '.join(LIMITS)} (or {PREFIX} alone), and nothing else"
        )
    if name not in DATES:
        if not all(_is_number(limit) and not isinstance(limit, bool) for limit in limits.values()):
            raise FilterError(f"the limits of the range of {name!r} must be numbers")
        within = Within(name, {side: float(limit) for side, limit in limits.items()})
        return OneHolds((within, Within(BREAK_PAGES, within.limits))) if name == "page" else within
    if not all(_is_date(limit) for limit in limits.values()):
        raise FilterError(f"the limits of the range of {name!r} must be dates such as 2024-05-31")
    _require_utf8(name, limits.values())
    seconds: dict[str, float] = {}
    for side, limit in limits.items():
        start, end = period(limit)
        if side in ("gt", "gte"):
            seconds["gte"] = max(seconds.get("gte", -math.inf), end if side == "gt" else start)
        else:
            seconds["lt"] = min(seconds.get("lt", math.inf), end if side == "lte" else start)
    return Within(f"{name}_seconds", seconds)


def _require_utf8(name: str, values: Iterable[Any]) -> None:
    if not all(encodes(value) for value in values if isinstance(value, str)):
        raise FilterError(f"the filter on {name!r} has half of a surrogate pair, which UTF-8 can't encode")


def _kind(value: Any) -> str:
    return {str: "text", list: "list", type(None): "null"}.get(type(value), type(value).__name__)


def _is_date(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        period(value)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < _MAX_INTEGER
    return isinstance(value, float) and math.isfinite(value)


_MAX_INTEGER = 2**63
"""The index holds whole numbers of 64 bits."""
