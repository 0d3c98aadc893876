"""Process objects again from their bytes, whatever is remembered of them.

A requeued object's row of ``source_objects`` carries a mark that is part of its fingerprint, so at the next reindex
every stage computes its rows anew. The receipt shows the mark.
"""

from __future__ import annotations

import bisect
import difflib
import itertools
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from headwater.audit import audited
from headwater.errors import ConfigError, NotFoundError
from headwater.receipts import END_STATES, EndState, keys_in_state
from headwater.source import requeue_objects
from headwater.source.keys import as_listed

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.lake import Table

MAX_REASON = 200
"""Characters of the reason that are kept."""

_NAMED = 10
"""Unknown keys that an error names."""

_NEIGHBOURS = 200
"""Keys to each side of an unknown one that it is compared with."""


def requeue(corpus: Corpus, keys: Collection[str] | None = None, state: EndState | None = None, *, reason: str) -> int:
    """Mark objects to be processed again at the next reindex; return how many.

    Those at ``keys``, those in ``state``, those of ``keys`` in ``state`` when both are given, all without either. A mail
    is opened anew, and what is attached to it goes with it.
    Raises NotFoundError, and marks nothing, when a key is not listed; ConfigError for a blank ``reason`` or a ``state`` that
    there is not; LeaseError while another process writes the corpus.
    """
    if state is not None and state not in END_STATES:  # the word may come from a form
        raise ConfigError(f"There is no end state {state!r}; there are: {', '.join(END_STATES)}.")
    words = " ".join(reason.split())[:MAX_REASON]
    if not words:
        raise ConfigError("Say why the objects are to be processed again: their owners read it in the receipt.")
    tables = corpus.tables
    with audited(corpus.ledger, "document.requeue", corpus=corpus.name) as noted, corpus.writing():
        listed = tables.source_objects.read(["key"])["key"]
        named = listed if keys is None else sorted({as_listed(key, listed) for key in keys})
        wanted = pl.Series("key", named, pl.String)
        unknown = wanted.filter(~wanted.is_in(listed.implode()))
        if len(unknown):
            raise NotFoundError(_unknown(corpus.name, unknown.to_list(), listed.to_list()))
        wanted = _with_attachments(tables.source_objects, wanted)
        if state is not None:
            wanted = wanted.filter(wanted.is_in(keys_in_state(tables, state).implode()))
        if wanted.is_empty():
            return 0
        mark = f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {words}"
        requeue_objects(tables.source_objects, wanted.to_list(), mark)
        noted.add(counts={"documents": len(wanted)})
    return len(wanted)


def _with_attachments(objects: Table, keys: pl.Series) -> pl.Series:
    """Return ``keys`` and those of all that is attached to objects there, also by way of attached mails."""
    attached = objects.read(["doc_id", "key", "parent"]).filter(pl.col("parent").is_not_null())
    if attached.is_empty():
        return keys
    known = objects.read(["doc_id", "key"]).filter(pl.col("key").is_in(keys.implode()))
    ids = set(known["doc_id"])
    while new := set(attached.filter(pl.col("parent").is_in(list(ids)))["doc_id"]) - ids:
        ids |= new
    return pl.concat([keys, attached.filter(pl.col("doc_id").is_in(list(ids)))["key"]]).unique().sort()


def _unknown(corpus: str, unknown: Sequence[str], listed: Sequence[str]) -> str:
    ordered = sorted(listed)
    lines = []
    for key in unknown[:_NAMED]:
        close = difflib.get_close_matches(key, _candidates(key, ordered), n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        lines.append(f"Corpus {corpus!r} has no object {key!r}.{hint}")
    if len(unknown) > _NAMED:
        lines.append(f"And {len(unknown) - _NAMED} more keys are unknown.")
    return "\n".join([*lines, f"Nothing was requeued. All keys: headwater receipts {corpus}"])


def _candidates(key: str, ordered: Sequence[str]) -> list[str]:
    """Return the keys worth comparing: the neighbours in order, and those with the same file name.

    Comparing with all of 100,000 keys takes seconds.
    """
    here = bisect.bisect(ordered, key)
    name = key.rpartition("/")[2].casefold()
    same = (other for other in ordered if other.rpartition("/")[2].casefold() == name)
    around = ordered[max(0, here - _NEIGHBOURS) : here + _NEIGHBOURS]
    return list(dict.fromkeys([*around, *itertools.islice(same, _NEIGHBOURS)]))
