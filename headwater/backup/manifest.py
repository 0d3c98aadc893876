"""What a backup says of itself: what it holds, of when, and the SHA-256 of every file.

``manifest.json`` is written last. Without it a backup is not complete, whatever else is there.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from headwater import __version__
from headwater.backup.places import Place
from headwater.errors import BackupError
from headwater.ledger.migrate import is_known
from headwater.ledger.schema import HEAD

MANIFEST = "manifest.json"
STARTED = "backup.started"
"""Written first: tells a backup that was interrupted from a folder of somebody else."""

FORMAT = 1
"""Grows when an older version of Headwater could no longer read what is written."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoredFile(_Strict):
    """One file of the backup, as it is stored."""

    size: int
    sha256: str


class StoredCorpus(_Strict):
    """One corpus of the backup: when it was taken (UTC), its live release (None: none), and the releases that are kept.

    ``engine`` held the index. The releases of ``edge`` are in the backup; those of ``server`` are built from the lake.
    """

    taken_at: datetime
    live: int | None
    releases: tuple[int, ...]
    engine: Literal["edge", "server"]


class Manifest(_Strict):
    """The whole backup. ``schema_revision`` is that of the ledger, which a version that restores it has to know;
    ``project`` tells whether prompts and keys are in.
    """

    format: int
    version: str
    created_at: datetime
    schema_revision: str
    project: bool
    corpora: dict[str, StoredCorpus]
    files: dict[str, StoredFile]

    def files_under(self, prefix: str) -> dict[str, StoredFile]:
        """Return the files whose key starts with ``prefix``."""
        return {key: file for key, file in self.files.items() if key.startswith(prefix)}


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Complete a backup."""
    body = manifest.model_dump(mode="json")
    text = json.dumps({"sha256": _digest(body), "backup": body}, indent=1)
    place.write(MANIFEST, [text.encode()])
    place.delete([STARTED])


def read_manifest(place: Place) -> Manifest:
    """Return what a backup says of itself.

    Raises BackupError when there is none, it was interrupted, it is damaged, or a newer version of Headwater wrote it.
    """
    try:
        raw = b"".join(place.read(MANIFEST))
    except FileNotFoundError as error:
        if STARTED in place.files():
            raise BackupError(
                f"{place.uri} holds a backup that was interrupted: it has no {MANIFEST}, which is written last. Make it "
                f"again, with the same command, or use another one."
            ) from error
        raise BackupError(f"{place.uri} holds no backup (there is no {MANIFEST}).") from error
    try:
        stored = json.loads(raw)
        body = stored["backup"]
        if _digest(body) != stored["sha256"]:
            raise ValueError("its content is not what was written")
        if body["format"] > FORMAT or not is_known(body["schema_revision"]):
            raise BackupError(
                f"{place.uri} was written by Headwater {body['version']}, in a form that this version ({__version__}) "
                f"can't read: the backup has format {body['format']} and ledger schema {body['schema_revision']}, the newest "
                f"known here are {FORMAT} and {HEAD}. Nothing was changed. Install Headwater {body['version']} or a newer "
                "version, and restore with that."
            )
        return Manifest.model_validate(body)
    except BackupError:
        raise
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise BackupError(f"{place.uri}/{MANIFEST} is damaged. Use another backup.") from error


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
