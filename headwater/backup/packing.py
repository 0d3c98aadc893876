"""Files of the embedded index as they are stored: compressed, because most of their bytes are holes.

The engine maps its files at their final size (about 180 MB of holes in an empty release); zstd makes nothing of them,
and unpacking leaves them out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

SUFFIX = ".zst"

_BLOCK = 2**20
_ZEROS = bytes(_BLOCK)


def packed(file: Path) -> Iterator[bytes]:
    """Yield a file's content, compressed: frames of zstd, one per megabyte."""
    codec = pa.Codec("zstd", compression_level=1)
    with file.open("rb") as source:
        while block := source.read(_BLOCK):
            compressed = codec.compress(block, asbytes=True)
            yield len(block).to_bytes(4, "little") + len(compressed).to_bytes(4, "little") + compressed


def unpack(pieces: Iterable[bytes], target: Path) -> None:
    """Write what :func:`packed` gave to the new file ``target``, with holes for blocks of zeros."""
    codec = pa.Codec("zstd")
    target.parent.mkdir(parents=True, exist_ok=True)
    waiting = bytearray()
    length = 0
    with target.open("wb") as sink:
        for piece in pieces:
            waiting += piece
            while len(waiting) >= 8:
                plain, size = int.from_bytes(waiting[:4], "little"), int.from_bytes(waiting[4:8], "little")
                if len(waiting) < 8 + size:
                    break
                block = codec.decompress(bytes(waiting[8 : 8 + size]), decompressed_size=plain, asbytes=True)
                del waiting[: 8 + size]
                length += plain
                if block == _ZEROS[:plain]:
                    sink.seek(plain, 1)
                else:
                    sink.write(block)
        sink.truncate(length)
