"""Where the lake's files are: a local folder, or a prefix of an S3 bucket.

Tables are read and written by Delta itself. This is for what lies beside them and for those who look at files one by
one (erasures, garbage collection): a folder lists, reads, writes and deletes files by their name below it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol

from headwater import aws
from headwater.errors import LakeError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

TABLE_LOG = "_delta_log"
"""The folder of a Delta table's log."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a :class:`RemoteFolder`; reads as a path does, at one request each time it is opened."""

    folder: RemoteFolder
    key: str
    size: int

    @property
    def name(self) -> str:
        """The last part of its name."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The ending, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its name below the folder."""
        return PurePosixPath(self.key).parts

    def read_bytes(self) -> bytes:
        """Return the content. Raises FileNotFoundError when it is gone."""
        return self.folder.read(self.key)

    def open(self, _mode: str = "rb") -> BinaryIO:
        """Return the content as a stream. Raises FileNotFoundError when it is gone."""
        return BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return f"{self.folder.uri}/{self.key}"


LakeFile = Path | RemoteFile
"""One file of a lake."""


class LakeFolder(Protocol):
    """A folder of files. Names are relative to it, with slashes."""

    @property
    def name(self) -> str:
        """The last part of where it is."""
        ...

    @property
    def uri(self) -> str:
        """Where it is, as Delta and people take it."""
        ...

    @property
    def url(self) -> str:
        """Where it is, as a URL."""
        ...

    @property
    def spool(self) -> Path:
        """The folder of this machine for what is about to be committed to a table that is here."""
        ...

    def options(self) -> dict[str, str] | None:
        """Return Delta's storage options."""
        ...

    def child(self, name: str) -> LakeFolder:
        """Return the folder ``name`` inside."""
        ...

    def children(self) -> list[str]:
        """Return the names of the folders inside, sorted."""
        ...

    def files(self, below: str = "") -> Iterator[LakeFile]:
        """Yield every file, or those below the folder ``below``, in order of name."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files right in the folder ``folder``, sorted."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        ...

    def is_table(self) -> bool:
        """Return whether this is the folder of a Delta table that was written."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file durably in one step, readable by its owner alone."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file in one step unless there is one; return whether there was none. Of two at once, one succeeds."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone are no error."""
        ...

    def log_mark(self) -> str | None:
        """Return what tells a table's log from one that took its place; None before the first write."""
        ...


class LocalFolder:
    """A folder of this machine (or of a shared disk)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.uri = str(path)
        self.url = path.absolute().as_uri()
        self.spool = path.parent / ".spool"

    def options(self) -> dict[str, str] | None:
        """Delta needs none."""
        return None

    def child(self, name: str) -> LocalFolder:
        """Return the folder ``name`` inside."""
        return LocalFolder(self.path / name)

    def children(self) -> list[str]:
        """Return the names of the folders inside, sorted."""
        return sorted(path.name for path in self.path.iterdir() if path.is_dir()) if self.path.is_dir() else []

    def files(self, below: str = "") -> Iterator[Path]:
        """Yield every file, or those below the folder ``below``, in order of name."""
        folder = self.path / below
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

    def names(self, folder: str) -> list[str]:
        """Return the names of the files right in the folder ``folder``, sorted."""
        return sorted(f"{folder}/{path.name}" for path in (self.path / folder).glob("*") if path.is_file())

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.path / name).exists()

    def is_table(self) -> bool:
        """Return whether there is a log."""
        return (self.path / TABLE_LOG).is_dir()

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write a file durably in one step, readable by its owner alone."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.draft")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        draft.replace(path)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file in one step unless there is one, with a link, as Delta's commits are; return whether there was none."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            with draft.open("xb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
            path.hardlink_to(draft)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone are no error."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def log_mark(self) -> str | None:
        """Return inode and time of the log's first entry: an inode alone may be one that was used before."""
        try:
            status = (self.path / TABLE_LOG / f"{0:020}.json").stat()
        except FileNotFoundError:
            return None
        return f"{status.st_ino}-{status.st_mtime_ns}"


class RemoteFolder:
    """A prefix of an S3 bucket. ``spool`` is a folder of this machine for what is about to be committed below it.

    Every method raises LakeError, which says what to do, when the bucket refuses or does not answer.
    """

    def __init__(self, uri: str, spool: Path) -> None:
        self.uri = self.url = uri.rstrip("/")
        self.name = self.uri.rpartition("/")[2]
        self.spool = spool

    def options(self) -> dict[str, str] | None:
        """Return endpoint, region and credentials of now: those of a role are renewed from time to time."""
        return aws.table_options()

    def child(self, name: str) -> RemoteFolder:
        """Return the folder ``name`` inside."""
        return RemoteFolder(f"{self.uri}/{name}", self.spool)

    def children(self) -> list[str]:
        """Return the names of the folders inside, sorted."""
        import obstore

        with _explained(self.uri):
            found = obstore.list_with_delimiter(self._store)
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def files(self, below: str = "") -> Iterator[RemoteFile]:
        """Yield every file, or those below the folder ``below``, in order of name."""
        import obstore

        with _explained(self.uri):
            found = [entry for page in obstore.list(self._store, prefix=below or None) for entry in page]
        yield from sorted(
            (RemoteFile(self, entry["path"], int(entry["size"])) for entry in found), key=lambda file: file.key
        )

    def names(self, folder: str) -> list[str]:
        """Return the names of the files right in the folder ``folder``, sorted."""
        import obstore

        with _explained(self.uri):
            found = obstore.list_with_delimiter(self._store, folder)
        return sorted(entry["path"] for entry in found["objects"])

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return self._etag(name) is not None

    def is_table(self) -> bool:
        """Return whether there is a log."""
        import obstore

        with _explained(self.uri):
            return any(len(page) for page in obstore.list(self._store, prefix=TABLE_LOG, chunk_size=1))

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        import obstore

        with _explained(self.uri):
            return bytes(obstore.get(self._store, name).bytes())

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step; large ones in parts. Who may read it, the bucket's policy says."""
        import obstore

        with _explained(self.uri):
            obstore.put(self._store, name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file in one step unless there is one; return whether there was none."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _explained(self.uri):
            try:
                obstore.put(self._store, name, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone are no error."""
        import obstore

        with _explained(self.uri):
            obstore.delete(self._store, list(names))

    def refuses_a_second_writer(self) -> bool:
        """Return whether the server honours conditional writes, on which Delta's commits rest; tried with an object."""
        name = f".check-{uuid.uuid4().hex}"
        try:
            return self.create(name, b"first") and not self.create(name, b"second")
        finally:
            with suppress(LakeError):
                self.delete([name])

    def log_mark(self) -> str | None:
        """Return the ETag of the log's first entry, which holds the table's id: a log that takes its place has another."""
        return self._etag(f"{TABLE_LOG}/{0:020}.json")

    def _etag(self, name: str) -> str | None:
        import obstore

        try:
            with _explained(self.uri):
                return obstore.head(self._store, name)["e_tag"] or ""
        except FileNotFoundError:
            return None

    @cached_property
    def _store(self) -> ObjectStore:
        from headwater.source.store import open_store

        return open_store(self.uri)


class _explained:
    """Turns an error of the store into a LakeError that says what to do; a missing file stays a FileNotFoundError."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or not isinstance(error, Exception):
            return
        meaning = aws.explain(error)
        if isinstance(error, FileNotFoundError) and meaning is None:
            return
        raise LakeError(f"The lake at {self._uri}: {meaning or type(error).__name__}") from error


def lake_folder(place: Path | LakeFolder) -> LakeFolder:
    """Return the folder at a path, or the folder itself."""
    return LocalFolder(place) if isinstance(place, Path) else place
