"""Copying and syncing the directories that hold releases."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def copy_tree(source: Path, target: Path) -> None:
    """Copy the files under ``source`` to the new folder ``target``, keeping holes.

    The engine maps its files at their final size and leaves most of it unwritten (about 180 MB of holes in an
    empty release), which a plain copy would fill with zeros. Temporary files of readers that are opening or
    closing the source (hidden, or gone by now) are left out.
    """
    target.mkdir()
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), target / entry.name)
        else:
            _copy_file(Path(entry.path), target / entry.name)


def sync_tree(folder: Path) -> None:
    """Force every file and folder under ``folder`` to disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


def replace_folder(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` in one step, durably."""
    source.rename(target)
    _sync(target.parent)


def replace_file(path: Path, text: str) -> None:
    """Give ``path`` the content ``text`` in one step, durably: readers see the old content or the new."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    _sync(new)
    new.replace(path)
    _sync(path.parent)


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` and all it holds; a missing folder is no error."""
    shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy_file(source: Path, target: Path) -> None:
    if not hasattr(os, "SEEK_DATA"):
        shutil.copyfile(source, target)
        return
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        size = os.fstat(reader.fileno()).st_size
        os.ftruncate(writer.fileno(), size)
        position = 0
        while position < size:
            try:
                start = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            position = min(os.lseek(reader.fileno(), start, os.SEEK_HOLE), size)
            os.lseek(reader.fileno(), start, os.SEEK_SET)
            os.lseek(writer.fileno(), start, os.SEEK_SET)
            remaining = position - start
            while remaining > 0:
                block = reader.read(min(remaining, 2**20))
                if not block:
                    raise OSError(errno.EIO, "the file shrank while it was copied", str(source))
                writer.write(block)
                remaining -= len(block)
