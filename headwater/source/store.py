"""Opening a bucket or folder, and reading objects from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from headwater import aws
from headwater.errors import SourceError
from headwater.hashing import DIGEST_BYTES
from headwater.source.listed import Listed

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore, RetryConfig

_PIECE_BYTES = 4 * 2**20
_HEAD_BYTES = 4096

_HURRIED: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}


class MissingObject(SourceError):
    """The store has no object at this key."""


class ReplacedObject(SourceError):
    """The store has another object at this key than the one that was listed."""


def local_folder(uri: str) -> Path | None:
    """Return the folder that a ``file://`` URI names, None for a bucket."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def open_store(uri: str, *, patient: bool = True) -> ObjectStore:
    """Return the obstore store for a bucket URI or ``file://`` folder.

    Credentials come from the environment, as each provider's own tools expect them. ``patient`` False gives up on a
    store that does not answer after about ten seconds instead of three minutes. Raises SourceError when the
    folder does not exist or the URI can't be used.
    """
    from obstore.store import LocalStore, from_url

    folder = local_folder(uri)
    if folder is not None:
        try:
            return LocalStore(prefix=folder)
        except Exception as error:
            raise SourceError(f"The source folder {folder} does not exist or can't be opened.") from error
    settings: dict[str, Any] = {} if patient else {"retry_config": _HURRIED}
    if aws.is_s3(uri):
        settings["config"] = aws.store_settings()
        settings["client_options"] = {"allow_http": aws.plain_http()}
        if credentials := aws.store_credentials():
            settings["credential_provider"] = credentials
    try:
        return from_url(uri, **settings)
    except Exception as error:
        # The store's own words are its first line; what follows is how the error looks inside.
        why = aws.explain(error) or str(error).partition("\n")[0]
        raise SourceError(f"The source {uri} can't be opened: {why}") from error


def read_object(store: ObjectStore, key: str) -> bytes:
    """Return the bytes of an object; SourceError when it can't be read."""
    return b"".join(_pieces(store, key))


def hash_object(
    store: ObjectStore, entry: Listed, keep: Callable[[bytes], bool] = lambda _: False
) -> tuple[str, bytes | None]:
    """Return the revision of a listed object, reading it in pieces, and its bytes if ``keep`` wants them.

    ``keep`` is asked with how the object begins (the first piece). Raises ReplacedObject when it is not the listed one any
    more, SourceError when it can't be read.
    """
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    kept: list[bytes] | None = None
    for number, piece in enumerate(_pieces(store, entry.key, entry)):
        state.update(piece)
        if number == 0 and keep(piece):
            kept = []
        if kept is not None:
            kept.append(piece)
    return state.hexdigest(), b"".join(kept) if kept is not None else None


def read_head(store: ObjectStore, entry: Listed) -> bytes:
    """Return the first bytes of a listed object, enough to see what it may be; SourceError when it can't be read."""
    import obstore
    from obstore.exceptions import NotFoundError

    _check_inside(store, entry.key)
    if entry.size == 0:
        return b"".join(_pieces(store, entry.key))
    try:
        return bytes(obstore.get_range(store, entry.key, start=0, end=min(entry.size, _HEAD_BYTES)))
    except (FileNotFoundError, NotFoundError) as error:
        raise MissingObject(f"{entry.key}: there is no such object.") from error
    except Exception as error:
        raise SourceError(f"{entry.key}: the object could not be read ({type(error).__name__}).") from error


def _pieces(store: ObjectStore, key: str, listed: Listed | None = None) -> Iterator[bytes]:
    import obstore
    from obstore.exceptions import NotFoundError

    _check_inside(store, key)
    try:
        found = obstore.get(store, key)
        if listed is not None and _replaced(store, listed, found.meta):
            raise ReplacedObject(f"{key}: the object was replaced after it was listed.")
        # A connection that breaks is resumed where it broke, unless the object was replaced meanwhile: obstore does that.
        for piece in found.stream(min_chunk_size=_PIECE_BYTES):
            yield bytes(piece)
    except SourceError:
        raise
    except (FileNotFoundError, NotFoundError) as error:
        raise MissingObject(f"{key}: there is no such object.") from error
    except Exception as error:
        raise SourceError(
            f"{key}: the object could not be read ({type(error).__name__}). {aws.explain(error) or ''}".rstrip()
        ) from error


def _replaced(store: ObjectStore, listed: Listed, found: ObjectMeta) -> bool:
    """Return whether a store now has another object at a key than it listed."""
    from obstore.store import LocalStore, S3Store

    if isinstance(store, LocalStore | S3Store) and listed.etag:
        return found["e_tag"] != listed.etag
    # Other stores may form an ETag otherwise in a listing than in an answer, and the answer's time has whole seconds.
    return found["size"] != listed.size or abs(found["last_modified"] - listed.last_modified) >= timedelta(seconds=1)


def _check_inside(store: ObjectStore, key: str) -> None:
    """Raise SourceError when a link now leads out of the folder, as it did not when the folder was listed."""
    folder = getattr(store, "prefix", None)
    if not isinstance(folder, Path):
        return
    root = os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(folder / key)]) != root:
        raise SourceError(f"{key}: it is a link to a place outside of the source folder.")
