"""What a document says of itself, in the form that passages carry and queries filter on.

Five steps share this form, a mapping with at most the keys ``language`` (ISO 639-1), ``date`` and ``modified`` (ISO
8601), ``authors`` and ``keywords`` (lists of strings), and ``meta`` (front matter: name -> string, number or boolean):
:func:`choose` takes it from what the parser stated, the tables hold it as JSON, :func:`texts` and :func:`replace` let
the privacy policy work on every string in it, and :func:`point_fields` makes it the fields of a point.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.characters import label
from headwater.dates import period

MAX_NAMES = 32
"""Front matter has a handful of fields; a file with thousands must not fill the index with them."""

MAX_VALUES = 64
"""Authors or keywords of one document."""

MAX_LENGTH = 200
"""Characters of a value: what is longer is text, and nobody filters on it."""

META_NAME = re.compile(r"[a-z0-9_-]{1,64}")

FIELDS = ("language", "date", "modified", "authors", "keywords", "date_seconds", "modified_seconds", "meta")
"""What :func:`point_fields` gives."""

DATES = ("date", "modified")

META = "meta."
"""How the name of a filter on front matter begins."""

_STANDARD = frozenset(
    {"title", "author", "authors", "date", "modified", "updated", "lastmod", "lang", "language", "keywords", "tags"}
)
"""Front matter that the fields of their own already hold."""

_PERSON = re.compile(
    r"by|byline|cc|contact|from|to|(?:.*[_-])?(?:authors?|creator|editor|maintainer|reviewer)(?:[_-].*)?"
)
"""Names of front matter whose value is a person, as an author is."""

_INSTEAD = {"Cf": "", "Cn": " ", "Co": " ", "Cs": " "}
"""What stands in place of format characters, of code points that are nobody's or anybody's, and of lone surrogates."""

_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_].*)?")


def choose(stated: Mapping[str, Any], language: str | None) -> dict[str, Any]:
    """Return the metadata of a document: what its file ``stated``, and its ``language`` as detected (``und``: unknown).

    Dates that are none, values that are too long and names that no filter could spell are left out.
    """
    declared = _LANGUAGE.fullmatch(str(stated.get("language") or "").strip())
    known = language if language and language != "und" else declared[1].lower() if declared else None
    chosen = {
        "language": known,
        "date": _date(stated.get("date")),
        "modified": _date(stated.get("modified")),
        "authors": _strings(stated.get("authors")),
        "keywords": _strings(stated.get("keywords")),
        "meta": _meta(stated.get("front_matter")),
    }
    return {name: value for name, value in chosen.items() if value}


def dump(metadata: Mapping[str, Any]) -> str:
    """Return metadata as the JSON of a table's column: equal metadata gives equal JSON."""
    return json.dumps(metadata, sort_keys=True, ensure_ascii=False)


def texts(metadata: Mapping[str, Any]) -> list[str]:
    """Return the strings in which personal data has to be looked for; a number is looked at as it is written."""
    values = (str(item) for item in metadata.get("meta", {}).values() if not isinstance(item, bool))
    return [*metadata.get("authors", ()), *metadata.get("keywords", ()), *values]


def persons(metadata: Mapping[str, Any]) -> set[str]:
    """Return the values that are a person's name as a whole, whatever a recogniser would make of them."""
    meta = metadata.get("meta", {}).items()
    return {
        *metadata.get("authors", ()),
        *(item for name, item in meta if isinstance(item, str) and _PERSON.fullmatch(name)),
    }


def replace(
    metadata: Mapping[str, Any], replaced: Mapping[str, str], person: Callable[[str], str | None]
) -> dict[str, Any]:
    """Return metadata without personal data: ``replaced`` gives the new text for each of :func:`texts`.

    ``person`` gives what stands in the place of each of :func:`persons`, None leaves it out; where it leaves the value
    as it is, other personal data in it (an author that is an address) is still replaced.
    """
    names = persons(metadata)

    def new(value: Any) -> Any:
        if isinstance(value, bool):
            return value
        if value in names:
            instead = person(value)
            return replaced[value] if instead == value else instead
        return value if replaced[str(value)] == str(value) else replaced[str(value)]

    result = dict(metadata)
    for field in ("authors", "keywords"):
        if field in metadata:
            result[field] = _strings([new(value) for value in metadata[field]])
    if "meta" in metadata:
        meta = {name: new(value) for name, value in metadata["meta"].items()}
        result["meta"] = {name: value for name, value in meta.items() if value is not None}
    return {name: value for name, value in result.items() if value}


def point_fields(column: str | None) -> dict[str, Any]:
    """Return the :data:`FIELDS` of a point from the JSON of a table's column; ``meta`` is JSON again, or None."""
    metadata = json.loads(column or "{}")
    fields: dict[str, Any] = {name: metadata.get(name) for name in FIELDS}
    for name in DATES:
        fields[f"{name}_seconds"] = period(metadata[name])[0] if name in metadata else None
    fields["meta"] = dump(metadata["meta"]) if "meta" in metadata else None
    return fields


def _date(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_LENGTH:
        return None
    try:
        period(value)
    except ValueError:
        return None
    return value.strip()


def _strings(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value if isinstance(value, Sequence) else []
    words = [_clean(item) for item in values if isinstance(item, str)]
    return list(dict.fromkeys(word for word in words if word and len(word) <= MAX_LENGTH))[:MAX_VALUES]


def _meta(value: Any) -> dict[str, str | int | float | bool]:
    meta: dict[str, str | int | float | bool] = {}
    for name, item in value.items() if isinstance(value, Mapping) else ():
        spelled = "_".join(str(name).lower().replace(".", " ").split())
        if META_NAME.fullmatch(spelled) and spelled not in _STANDARD and len(meta) < MAX_NAMES:
            if isinstance(item, str):
                item = _clean(item)
            if (isinstance(item, str) and 0 < len(item) <= MAX_LENGTH) or _is_number(item):
                meta.setdefault(spelled, item)
    return meta


def _clean(text: str) -> str:
    """Return a label without characters that neither show nor are stored everywhere.

    What only steers how others are shown goes without a space: one in an address would hide it.
    """
    return label("".join(_INSTEAD.get(unicodedata.category(character), character) for character in text))


def _is_number(value: Any) -> bool:
    """Return whether a value is a boolean, or a number that an index can hold."""
    return isinstance(value, bool | int | float) and abs(value) < 2**63  # which infinity and NaN are not
