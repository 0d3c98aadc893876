"""The one hash function and the one id scheme.

BLAKE2b (RFC 7693), 16 bytes, written as 32 hexadecimal characters. Fields are length-prefixed, so
``("ab", "c")`` and ``("a", "bc")`` differ.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

DIGEST_BYTES = 16
_NAMESPACE = uuid.UUID("6f1f2c3a-2f0e-5c1c-9a57-0a1f6d9f7a11")


def digest_bytes(data: bytes) -> str:
    """Return the 32-character hexadecimal digest of ``data``; a document's *revision* is this over its bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, read once per process, size and time of change."""
    status = path.stat()
    return _file_hash(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _file_hash(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*fields: object) -> str:
    """Return the digest of the fields' string forms, each length-prefixed so that field borders count."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for field in fields:
        encoded = str(field).encode("utf-8", "surrogatepass")
        state.update(len(encoded).to_bytes(8, "little"))
        state.update(encoded)
    return state.hexdigest()


def row_fingerprints(upstream: Iterable[str], signature: str) -> list[str]:
    """Return one fingerprint per row: hash(upstream row fingerprint, stage signature).

    The signature is :func:`digest` of stage name, stage code version and stage parameters, so a row is
    recomputed exactly when its input, the stage's code or its parameters changed.
    """
    seed = hashlib.blake2b(signature.encode(), digest_size=DIGEST_BYTES)
    result = []
    for fingerprint in upstream:
        state = seed.copy()
        state.update(fingerprint.encode())
        result.append(state.hexdigest())
    return result


def document_id(corpus: str, key: str) -> str:
    """Return the identity of the document at ``key``: the same for every revision of it."""
    return digest("document", corpus, key)


def chunk_id(doc_id: str, ordinal: int) -> str:
    """Return the UUID (Qdrant's point id) of chunk number ``ordinal`` of a document."""
    return str(uuid.uuid5(_NAMESPACE, f"{doc_id}:{ordinal}"))
