"""Listing a bucket: every store in the same form and, so that it can be resumed, in order of key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from headwater.aws import explain, is_s3
from headwater.errors import SourceError
from headwater.hashing import digest
from headwater.source.folder import walk
from headwater.source.keys import KeyFilter
from headwater.source.listed import Listed
from headwater.source.s3 import list_s3
from headwater.source.store import local_folder, open_store

_PAGE = 1000
"""Entries per page: the most that S3 gives at a time."""

_MODULUS = 1 << 128


def list_objects(
    uri: str, keep: KeyFilter, *, after: str | None = None, everything: bool = False, patient: bool = True
) -> Iterator[Listed]:
    """Yield the documents and sidecars at ``uri`` whose key is greater than ``after``, in order of key.

    Order is that of the keys' UTF-8 bytes, so a listing that was broken off is resumed with the last key.
    ``everything`` yields the other keys, too, so that a caller who may stop between two entries is never kept waiting
    by a long row of them; ``patient`` is :func:`open_store`'s. Raises SourceError when the listing fails: what was yielded so far must not be taken for all
    there is.
    """
    folder = local_folder(uri)
    entries = walk(folder, keep, after) if folder is not None else _list_bucket(uri, after, patient)
    return entries if everything else (entry for entry in entries if keep.lists(entry.key))


def _list_bucket(uri: str, after: str | None, patient: bool) -> Iterator[Listed]:
    import obstore
    from obstore.exceptions import InvalidPathError

    last = after
    try:
        for page in obstore.list(open_store(uri, patient=patient), offset=after, chunk_size=_PAGE):
            for entry in page:
                last = entry["path"]
                yield Listed(last, int(entry["size"]), entry.get("e_tag") or "", entry["last_modified"])
    except InvalidPathError as error:
        if not is_s3(uri):
            raise SourceError(
                f"The source {uri} holds a key that can't be read here, so it could not be listed and nothing was "
                f"changed. Rename or delete it: {_first_line(error)}"
            ) from error
        # obstore loses the whole page with such a key.
        yield from list_s3(uri, last)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"The source {uri} could not be listed, so nothing was changed: {explain(error) or _first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    """Return an error's message without obstore's dump of its own source."""
    return str(error).partition("\n\nDebug source:")[0].strip() or type(error).__name__


@dataclass(slots=True)
class ListingDigest:
    """A running digest of a listing that does not hang on its order, so a pass may be cut into pieces.

    It is the sum, modulo 2**128, of each entry's BLAKE2b (the additive multiset hash of Bellare and Micciancio 1997;
    it tells states of one bucket apart, it does not withstand somebody who chooses ETags and sizes at will).
    ``newest`` is the latest time that anything was written.
    """

    total: int = 0
    count: int = 0
    newest: datetime | None = None

    def add(self, entry: Listed) -> None:
        """Count one entry in."""
        modified = entry.last_modified.astimezone(UTC).isoformat(timespec="microseconds")
        self.total = (self.total + int(digest(entry.key, entry.size, entry.etag, modified), 16)) % _MODULUS
        self.count += 1
        if self.newest is None or entry.written > self.newest:
            self.newest = entry.written

    def hexdigest(self) -> str:
        """Return the digest of the entries so far, as 32 hexadecimal characters."""
        return f"{self.total:032x}"
