"""The bucket: what it holds now, who may read it, and what changed.

``source_objects`` has one row per listed object. An object is read (and hashed) only when its ETag, size or
modification time changed; the fingerprint hangs on key and content, so a permission change alone does not
parse anything again. What is attached to an e-mail is an object behind it, with a row of its own.
"""

from headwater.source.access import EVERYONE, readers_of
from headwater.source.attachments import SEPARATOR, ObjectReader
from headwater.source.keys import OWN_FOLDER, SIDECAR, KeyFilter
from headwater.source.listed import Listed
from headwater.source.listing import ListingDigest, list_objects
from headwater.source.store import open_store, read_object
from headwater.source.sync import Comparison, DoubtfulListingError, compare_objects, sync_objects
from headwater.source.table import CODE_VERSION, SCHEMA, STAGE, requeue_objects

REASONS: dict[str, tuple[str, str]] = {
    "too_large": (
        "The file is larger than this corpus accepts.",
        "Split it, or ask for a higher limit (parse.max_bytes).",
    ),
    "unreadable": (
        "The file is listed but could not be read.",
        "Rename it if its name is unusual, replace a link by the file itself, and check that Headwater may read it; "
        "it is tried again at every reindex.",
    ),
    "bad_permissions": (
        "The file beside it that says who may read it can't be used, so nobody may.",
        f'Write {{"groups": ["name"]}} into the file that ends with {SIDECAR}, or delete that file to follow the '
        "rules of the corpus.",
    ),
    "erased": (
        "The document was erased on request and stays out.",
        "Delete the file from the source. A changed file of this name is indexed again.",
    ),
}

__all__ = [
    "CODE_VERSION",
    "EVERYONE",
    "OWN_FOLDER",
    "REASONS",
    "SCHEMA",
    "SEPARATOR",
    "SIDECAR",
    "STAGE",
    "Comparison",
    "DoubtfulListingError",
    "KeyFilter",
    "Listed",
    "ListingDigest",
    "ObjectReader",
    "compare_objects",
    "list_objects",
    "open_store",
    "read_object",
    "readers_of",
    "requeue_objects",
    "sync_objects",
]
