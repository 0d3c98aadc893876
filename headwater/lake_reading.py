"""Reading many files of a lake one after the other: those of a bucket are fetched ahead, several at a time.

A request to a bucket takes tens of milliseconds, most of which is waiting; an erasure reads every file of a lake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from headwater.lake_folder import TABLE_LOG, LakeFile, LakeFolder, RemoteFile

FETCHED_AT_ONCE = 16
"""Files; own choice. S3 takes thousands of requests per second for a prefix, a connection for each costs little."""

FETCHED_BYTES = 256 * 2**20
"""Bytes of files that wait to be read; own choice. A larger file is fetched when nothing else waits."""


@dataclass(frozen=True, slots=True)
class _FetchedFile(RemoteFile):
    """A file whose content is fetched once, whoever opens it how often."""

    content: Future[bytes]

    def read_bytes(self) -> bytes:
        """Return the content, once it is there. Raises what fetching it did: FileNotFoundError, LakeError."""
        return self.content.result()


def data_files(folder: LakeFolder) -> Iterator[LakeFile]:
    """Yield the data files of all tables in ``folder``, or of the one that it is, also those that no version names."""
    for file in folder.files():
        if file.suffix == ".parquet" and TABLE_LOG not in file.parts:
            yield file


def fetched_ahead(files: Iterable[LakeFile]) -> Iterator[LakeFile]:
    """Yield the files in their order; while one is worked on, the next ones of a bucket are fetched.

    Files of this machine are yielded as they are. Nothing is raised here for a file that can't be fetched, but when it
    is read, as by :class:`RemoteFile`.
    """
    waiting: deque[_FetchedFile] = deque()
    held = 0
    threads = ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="lake")
    try:
        for file in files:
            if not isinstance(file, RemoteFile):
                yield file
                continue
            while waiting and (len(waiting) >= FETCHED_AT_ONCE or held + file.size > FETCHED_BYTES):
                held -= waiting[0].size
                yield waiting.popleft()
            content = threads.submit(file.folder.read, file.key)
            waiting.append(_FetchedFile(file.folder, file.key, file.size, content))
            held += file.size
        while waiting:
            yield waiting.popleft()
    finally:
        threads.shutdown(cancel_futures=True)
