"""The mark of a restore that is not finished: a file beside a corpus' tables, so that every machine sees it.

While it is there nothing is written to the corpus but by the restore. It keeps what has to be erased again, because by then
the ledger may say otherwise: an erasure that was carried out once more is newer. Not in the home, which on a cluster goes
with its pod: the next try may be made from another one.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from headwater.errors import BackupError
from headwater.lake_folder import LakeFolder

MARK_FILE = ".restore"


class RestoreMark(BaseModel):
    """Which backup is put in place, and the rows of the erasures that have to be carried out again.

    ``erasures_known`` and ``keys_known`` tell whether the ledger had a history of its own, and API keys, before the first
    row was cleared. ``opened`` are the corpora whose marks go together, because every one of them is in place; empty before.
    """

    place: str
    erasures: list[dict[str, Any]]
    erasures_known: bool = False
    keys_known: bool = False
    opened: list[str] = []


def read_mark(lake: LakeFolder) -> RestoreMark | None:
    """Return the mark of a corpus' lake, None without one."""
    try:
        return RestoreMark.model_validate_json(lake.read(MARK_FILE))
    except FileNotFoundError:
        return None


def write_mark(lake: LakeFolder, mark: RestoreMark) -> None:
    """Leave the mark, before anything of the corpus is changed."""
    lake.write(MARK_FILE, mark.model_dump_json().encode())


def remove_mark(lake: LakeFolder) -> None:
    """Let the corpus be written again."""
    lake.delete([MARK_FILE])


def require_restored(lake: LakeFolder, corpus: str) -> None:
    """Raise BackupError while a restore of the corpus is not finished."""
    mark = read_mark(lake)
    if mark is not None:
        raise BackupError(
            f"A restore of {corpus!r} was not finished: until it is, nothing of the corpus is live, and nothing else writes "
            f"it. Finish it: headwater restore {mark.place}"
        )
