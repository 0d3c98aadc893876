"""Where a rewritten table is made, and how it takes the place of the old one.

On a disk it is a new folder beside the old one, and takes its place by renaming. A bucket renames nothing: there the
new data files are put among the old ones, where no version names them, and the new log waits in one object; the old
log is then replaced by it, and what it does not name is deleted. Both can be repeated after any interruption.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from headwater.erase.plan import FOLDER
from headwater.index.files import remove_tree, replace_folder, sync_tree
from headwater.lake_folder import TABLE_LOG, LakeFile, LakeFolder, LocalFolder, RemoteFolder


class Target(Protocol):
    """A table being written anew."""

    def clear(self) -> None:
        """Begin: what an earlier attempt left is gone."""
        ...

    def keep(self, file: LakeFile) -> None:
        """Take a data file of the old table as it is."""
        ...

    def add(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a stream to write a new data file to."""
        ...

    def commit(self, name: str, actions: str) -> None:
        """Write an entry of the log."""
        ...

    def seal(self) -> None:
        """End: all of it is durable."""
        ...


class LocalTarget:
    """A new folder at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def clear(self) -> None:
        """Begin with an empty folder."""
        remove_tree(self._path)
        (self._path / TABLE_LOG).mkdir(parents=True)

    def keep(self, file: LakeFile) -> None:
        """Link a data file of the old table."""
        assert isinstance(file, Path)
        try:
            os.link(file, self._path / file.name)
        except OSError:  # a file system without hard links
            shutil.copyfile(file, self._path / file.name)

    @contextmanager
    def add(self, name: str) -> Iterator[BinaryIO]:
        """Give a new data file."""
        with (self._path / name).open("wb") as sink:
            yield sink

    def commit(self, name: str, actions: str) -> None:
        """Write an entry of the log."""
        (self._path / TABLE_LOG / name).write_text(actions)

    def seal(self) -> None:
        """Force all of it to disk."""
        sync_tree(self._path)


class RemoteTarget:
    """New data files in the table's own folder, and the new log in the object ``staged`` of the corpus' folder."""

    def __init__(self, lake: RemoteFolder, name: str) -> None:
        self._lake = lake
        self._table = lake.child(name)
        self._staged = staged(name)
        self._log: dict[str, str] = {}
        self._files: list[str] = []

    def clear(self) -> None:
        """Begin without a waiting log; data files of an earlier attempt are deleted when this one takes its place."""
        self._lake.delete([self._staged])
        self._log, self._files = {}, []

    def keep(self, file: LakeFile) -> None:
        """Leave a data file where it is."""
        self._files.append(file.name)

    @contextmanager
    def add(self, name: str) -> Iterator[BinaryIO]:
        """Give a buffer, which becomes a data file when it is full."""
        sink = io.BytesIO()
        yield sink
        self._table.write(name, sink.getvalue())
        self._files.append(name)

    def commit(self, name: str, actions: str) -> None:
        """Keep an entry of the log for the end."""
        self._log[name] = actions

    def seal(self) -> None:
        """Put the log where :func:`install` finds it."""
        self._lake.write(self._staged, json.dumps({"log": self._log, "files": self._files}).encode())


def staged(name: str) -> str:
    """Return the name of the object that holds a rewritten table's log."""
    return f"{FOLDER}/{name}.new"


def target(lake: LakeFolder, name: str) -> Target:
    """Return where the table ``name`` of a corpus' lake is written anew."""
    if isinstance(lake, RemoteFolder):
        return RemoteTarget(lake, name)
    assert isinstance(lake, LocalFolder)
    return LocalTarget(lake.path / FOLDER / f"{name}.new")


def clear_targets(lake: LakeFolder) -> None:
    """Remove what was written anew and took no one's place."""
    if isinstance(lake, LocalFolder):
        for leftover in (lake.path / FOLDER).glob("*.new"):
            remove_tree(leftover)
    else:
        lake.delete([name for name in lake.names(FOLDER) if name.endswith(".new")])


def install(lake: LakeFolder, name: str) -> None:
    """Put the rewritten table in the old one's place, unless it is there already."""
    if isinstance(lake, LocalFolder):
        old, new = lake.path / FOLDER / f"{name}.old", lake.path / FOLDER / f"{name}.new"
        if new.exists():
            if (lake.path / name).exists():
                replace_folder(lake.path / name, old)
            replace_folder(new, lake.path / name)
        return
    assert isinstance(lake, RemoteFolder)
    try:
        waiting = json.loads(lake.read(staged(name)))
    except FileNotFoundError:
        return
    table = lake.child(name)
    # The newest entry goes first: a reader that comes between sees an older version, or no table, never a wrong one.
    entries = sorted((f"{TABLE_LOG}/{file.name}" for file in table.files(TABLE_LOG)), reverse=True)
    for entry in sorted(entries, key=lambda path: path[len(TABLE_LOG) + 1].isdigit()):
        table.delete([entry])
    for entry, actions in sorted(waiting["log"].items()):
        table.write(f"{TABLE_LOG}/{entry}", actions.encode())
    needed = set(waiting["files"])
    table.delete([file.key for file in table.files() if TABLE_LOG not in file.parts and file.key not in needed])
    lake.delete([staged(name)])


def clear_old(lake: LakeFolder) -> None:
    """Remove the tables whose place was taken."""
    if isinstance(lake, LocalFolder):
        for leftover in (lake.path / FOLDER).glob("*.old"):
            remove_tree(leftover)
