"""Who may read an object: prefix rules of the corpus, and over them the object's sidecar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.errors import SourceError
from headwater.policies import AccessRule
from headwater.source.keys import composed
from headwater.source.listed import Listed
from headwater.source.store import read_object

if TYPE_CHECKING:
    from obstore.store import ObjectStore

EVERYONE = "*"

MAX_SIDECAR_BYTES = 64 * 2**10


class PermissionsError(SourceError):
    """A sidecar that does not say who may read: its object is closed to all."""


def readers_of(key: str, rules: Sequence[AccessRule]) -> list[str]:
    """Return the groups that may read ``key``: those of the longest matching prefix; everyone without rules.

    With rules but no match, nobody may read. Of several rules for one prefix, groups count that all of them name.
    """
    if not rules:
        return [EVERYONE]
    name = composed(key)
    matching = [(prefix, rule.groups) for rule in rules if name.startswith(prefix := composed(rule.prefix))]
    if not matching:
        return []
    longest = max((prefix for prefix, _ in matching), key=len)
    return sorted(set.intersection(*(set(groups) for prefix, groups in matching if prefix == longest)))


def read_sidecar(store: ObjectStore, sidecar: Listed) -> list[str]:
    """Return the groups that a sidecar lets read its object, sorted.

    Raises PermissionsError for anything but ``{"groups": ["name", ...]}``, and SourceError when it can't be read.
    """
    if sidecar.problem is not None:
        raise PermissionsError(sidecar.problem)
    if sidecar.size > MAX_SIDECAR_BYTES:
        raise PermissionsError(f"It has {sidecar.size} bytes, more than {MAX_SIDECAR_BYTES}.")
    try:
        document = json.loads(read_object(store, sidecar.key).decode("utf-8-sig"), object_pairs_hook=_fields)
    except (ValueError, RecursionError):
        raise PermissionsError("It is not JSON, or names a field twice.") from None
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, str) and _is_name(group) for group in groups):
        raise PermissionsError('It has no list of group names under "groups".')
    if len(document) > 1:
        raise PermissionsError('It holds more than "groups".')
    return sorted(set(groups))


def _fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field twice")  # readers of JSON disagree about which one counts
    return fields


def _is_name(group: str) -> bool:
    # Lists of groups are compared as joined lines: a line break inside a name would make two lists look alike.
    return bool(group.strip()) and group.isprintable()
