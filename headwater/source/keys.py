"""Which keys belong to a corpus: the documents, and the sidecars that say who may read them."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence

import polars as pl

from headwater.errors import ConfigError

OWN_FOLDER = ".headwater"
"""What Headwater itself writes beside the documents lies in folders of this name, and is never a document."""

SIDECAR = ".acl.json"
"""Ending of the file that says who may read the object whose key it follows."""


def composed(key: str) -> str:
    """Return ``key`` as rules are held against it: in Unicode's composed form (NFC), as people type it.

    macOS writes ``ä`` as two characters (NFD), which look the same: no rule may miss a key for that. The object keeps
    the key that it has.
    """
    return key if key.isascii() else unicodedata.normalize("NFC", key)


def begins_with(prefix: str) -> pl.Expr:
    """Return whether the column ``key`` begins with ``prefix``, both in composed form."""
    return pl.col("key").str.normalize("NFC").str.starts_with(composed(prefix))


def is_key(key: str) -> pl.Expr:
    """Return whether the column ``key`` is ``key``, both in composed form."""
    return pl.col("key").str.normalize("NFC") == composed(key)


def as_listed(key: str, listed: pl.Series) -> str:
    """Return ``key`` as one of the ``listed`` keys spells it; as it is where it is listed so, or none or several do."""
    if key.isascii() or key in listed:
        return key
    alike = listed.filter(listed.str.normalize("NFC") == composed(key))
    return str(alike[0]) if len(alike) == 1 else key


class KeyFilter:
    """Decides by glob patterns which keys are documents; ``**`` crosses folders, ``*`` does not.

    Keys and patterns are compared in composed form.

    Sidecars and what Headwater writes are never documents, whatever the patterns say.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_glob(pattern) for pattern in include]
        self._exclude = [_glob(pattern) for pattern in exclude]
        self._excluded_folders = [_glob(pattern.removesuffix("/**")) for pattern in exclude if pattern.endswith("/**")]

    def __call__(self, key: str) -> bool:
        """Return whether the object at ``key`` is a document of the corpus."""
        if not key or key.endswith(SIDECAR) or OWN_FOLDER in key.split("/")[:-1]:
            return False
        key = composed(key)
        return any(p.fullmatch(key) for p in self._include) and not any(p.fullmatch(key) for p in self._exclude)

    def leaves_out(self, key: str) -> bool:
        """Return whether what is attached to a document is none itself: only patterns to leave out count."""
        key = composed(key)
        return key.endswith(SIDECAR) or any(pattern.fullmatch(key) for pattern in self._exclude)

    def lists(self, key: str) -> bool:
        """Return whether ``key`` counts in a listing: a document, or the sidecar of what would be one."""
        return self(key.removesuffix(SIDECAR))

    def skips_folder(self, folder: str) -> bool:
        """Return whether nothing under ``folder`` (a key without its last slash) can belong to the corpus."""
        folder = composed(folder)
        return folder.rpartition("/")[2] == OWN_FOLDER or any(p.fullmatch(folder) for p in self._excluded_folders)


def _glob(pattern: str) -> re.Pattern[str]:
    pattern = composed(pattern)
    parts = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        elif pattern[position] == "*":
            parts.append("[^/]*")
            position += 1
        elif pattern[position] == "?":
            parts.append("[^/]")
            position += 1
        elif pattern[position] == "[" and "]" in pattern[position:]:
            end = pattern.index("]", position)
            parts.append(fnmatch.translate(pattern[position : end + 1])[4:-3])
            position = end + 1
        else:
            parts.append(re.escape(pattern[position]))
            position += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is not a glob pattern: {error}.") from error
