"""Which of Presidio's entities are looked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from headwater.errors import ConfigError

NOT_BY_DEFAULT = {
    "DATE_TIME": "a date says nothing about a person by itself, and answers need dates",
    "URL": "a link says nothing about a person by itself, and answers need links",
    "UUID": "names a machine's record; in an 889-file handbook all 171 findings were parts of links and none a person",
    "ORGANIZATION": "companies are not persons; Presidio's own default configuration leaves it out for false positives",
}
"""Entities that are looked for only when the policy names them, and why."""


def choose_entities(
    wanted: Sequence[str] | None, default: Collection[str], available: Collection[str], known: Collection[str]
) -> list[str]:
    """Return the entities to look for, sorted.

    Without ``wanted`` these are the ``default`` ones less ``NOT_BY_DEFAULT``. A wanted entity that is ``known`` but not
    ``available`` needs a spaCy pipeline and is left out. Raises ``ConfigError`` for a name that is not known.
    """
    if wanted is None:
        return sorted(set(default) - NOT_BY_DEFAULT.keys())
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"privacy.entities: unknown {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    return sorted(set(wanted) & set(available))
