"""Where a backup is, or what it is made of: a folder of this machine or a prefix of a bucket, read and written alike."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headwater.errors import BackupError, HeadwaterError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PIECE_BYTES = 8 * 2**20
"""Bytes held of one file while it is copied; also the size of a part of a multipart upload."""


class Place:
    """A folder or bucket prefix; keys are relative to it, with slashes. Raises BackupError when it can't be used."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or uri
        parts = urlsplit(uri)
        self.folder = None if len(parts.scheme) > 1 and parts.scheme != "file" else _folder(uri)

    def files(self, prefix: str = "") -> list[str]:
        """Return the keys of all files below ``prefix`` (a folder), sorted; none where there is no such place."""
        import obstore

        if self.folder is not None and not (self.folder / prefix).exists():
            return []
        try:
            pages = obstore.list(self._store, prefix=prefix or None)
            return sorted(entry["path"] for page in pages for entry in page)
        except Exception as error:
            raise self._failed("could not be listed", error) from error

    def read(self, key: str) -> Iterator[bytes]:
        """Yield a file in pieces. Raises FileNotFoundError when it is not there."""
        import obstore

        try:
            for piece in obstore.get(self._store, key).stream(min_chunk_size=_PIECE_BYTES):
                yield bytes(piece)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._failed(f"{key} could not be read", error) from error

    def write(self, key: str, pieces: Iterable[bytes]) -> tuple[int, str]:
        """Write a file from pieces, which appears whole or not at all; return its size and SHA-256 (hexadecimal)."""
        import obstore

        digest = hashlib.sha256()
        size = 0
        try:
            # Not put() with an iterator: one that reads from a store itself would block the runtime that drives it.
            writer = obstore.open_writer(self._store, key, buffer_size=_PIECE_BYTES)
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                writer.write(piece)
            writer.close()  # not in case of an error: what was not closed does not appear
        except (HeadwaterError, FileNotFoundError):
            raise
        except Exception as error:
            raise self._failed(f"{key} could not be written", error) from error
        return size, digest.hexdigest()

    def delete(self, keys: Collection[str]) -> None:
        """Delete files; those that are gone are no error."""
        import obstore

        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue
            except Exception as error:
                raise self._failed(f"{key} could not be deleted", error) from error

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import LocalStore

        from headwater.source.store import open_store

        if self.folder is not None:
            try:
                return LocalStore(prefix=self.folder, mkdir=True)
            except Exception as error:
                raise self._failed("can't be opened as a folder", error) from error
        return open_store(self.uri)

    def _failed(self, what: str, error: Exception) -> BackupError:
        from headwater import aws

        return BackupError(f"{self.uri}: {what}. {aws.explain(error) or type(error).__name__}")


def _folder(uri: str) -> Path:
    from headwater.source.store import local_folder

    return (local_folder(uri) or Path(uri)).expanduser().resolve()
