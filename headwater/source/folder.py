"""Listing a local folder in order of key, without trust in what lies in it.

Links are followed only while they stay inside the folder, and a link to a folder only once on a path, so that no
link reaches the rest of the machine or makes the walk endless. A name or file that can't be read gives an entry with
a problem. A sub-folder that can't be read stops the listing, because its objects would look deleted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headwater.errors import SourceError
from headwater.source.keys import KeyFilter
from headwater.source.listed import Listed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = (-62135596800, 253402300799)
"""From the year 1 to the end of 9999: datetime has no other times, but a file may carry any."""

_NO_KEY = re.compile(r"[\x00-\x1f\x7f]|#\d+\Z")
"""Names that obstore refuses: control characters, and the endings of its own temporary files."""

RENAME = "Its name holds characters that can't be read here; rename it."
OUTSIDE = "It is a link to a place outside of the source folder."
BROKEN = "It is a link to a file that does not exist."
SPECIAL = "It is no regular file."


@dataclass(slots=True)
class _Name:
    """One name in a folder. ``shown`` is how it appears in keys: the name, unless that is no UTF-8."""

    shown: str
    name: str
    folder: bool
    link: bool


@dataclass(slots=True)
class _Level:
    """A folder on the way to where the walk is: its key with a last slash, its path, and the names still to come.

    ``real`` is its path without links, ``linked`` whether a link led here, ``readable`` whether its key is its name.
    """

    key: str
    path: str
    names: Iterator[_Name]
    real: str
    linked: bool = False
    readable: bool = True


def walk(folder: Path, keep: KeyFilter, after: str | None = None) -> Iterator[Listed]:
    """Yield the files under ``folder`` whose key is greater than ``after``, in order of key.

    Folders in which ``keep`` wants nothing are not opened. Holds the names of the folders on one path, no more. Raises
    SourceError when a folder can't be read.
    """
    root = os.path.realpath(folder)
    if not Path(root).is_dir():
        raise SourceError(f"The source folder {folder} does not exist or can't be opened.")
    stack = [_Level("", root, _names(root, root), root)]
    while stack:
        level = stack[-1]
        entry = next(level.names, None)
        if entry is None:
            stack.pop()
            continue
        key, path = level.key + entry.shown, f"{level.path}/{entry.name}"
        readable = level.readable and entry.shown == entry.name
        if entry.folder:
            if _is_behind(f"{key}/", after) or keep.skips_folder(key):
                continue
            real = os.path.realpath(path) if entry.link else f"{level.real}/{entry.name}"
            if entry.link and (level.linked or any(_inside(real, above.real) for above in stack)):
                continue
            stack.append(_Level(f"{key}/", path, _names(path, root), real, level.linked or entry.link, readable))
        elif after is None or key > after:
            found = _file(key, path, root, readable and not _NO_KEY.search(key))
            if found is not None:
                yield found


def _is_behind(prefix: str, after: str | None) -> bool:
    """Return whether every key under ``prefix`` was listed before."""
    return after is not None and prefix < after and not after.startswith(prefix)


def _names(path: str, root: str) -> Iterator[_Name]:
    """Return the names in a folder, ordered as their keys are (a folder's begins with its name and a slash).

    A link out of ``root`` counts as a file, whatever it leads to.
    """
    names = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
                link = entry.is_symlink()
                folder = entry.is_dir() and not (link and not _inside(root, os.path.realpath(entry.path)))
                names.append(_Name(shown, entry.name, folder, link))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path != root:
            return  # deleted meanwhile, with all that was in it
        raise SourceError(
            f"The folder {path!r} could not be listed ({error.strerror}), so nothing was changed. Let Headwater read it, "
            "or leave it out with an exclude pattern."
        ) from error
    # Of two names that are shown the same, the one that is truly so comes first, and the other is left out.
    names.sort(key=lambda name: (f"{name.shown}/" if name.folder else name.shown, name.shown != name.name))
    last = None
    for name in names:
        if (name.shown, name.folder) != last:
            yield name
        last = (name.shown, name.folder)


def _file(key: str, path: str, root: str, readable: bool) -> Listed | None:
    """Return the entry of a file or a link to one; None when it is gone by now."""
    try:
        about = os.lstat(path)
        if stat.S_ISLNK(about.st_mode):
            if not _inside(root, os.path.realpath(path)):
                return _listed(key, about, OUTSIDE)
            if not Path(path).exists():
                return _listed(key, about, BROKEN)
            about = Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(
            f"{key!r} could not be looked at ({error.strerror}), so nothing was changed. Let Headwater read its folder, "
            "or leave it out with an exclude pattern."
        ) from error
    if not stat.S_ISREG(about.st_mode):
        return _listed(key, about, SPECIAL)
    return _listed(key, about, None if readable else RENAME)


def _listed(key: str, about: os.stat_result, problem: str | None) -> Listed:
    micros = about.st_mtime_ns // 1000
    # The form is obstore's, which made the ETags of objects that are known already.
    etag = f'"{about.st_ino:x}-{max(0, micros):x}-{about.st_size:x}"'
    return Listed(key, about.st_size, etag, _time(micros), _time(about.st_ctime_ns // 1000), problem)


def _time(micros: int) -> datetime:
    seconds, micros = divmod(micros, 1_000_000)
    return _EPOCH + timedelta(seconds=min(max(seconds, _SECONDS[0]), _SECONDS[1]), microseconds=micros)


def _inside(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
