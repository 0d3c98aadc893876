"""Signatures are datasketch's: they can be put into its indexes, in memory and in Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from datasketch import MinHash, MinHashLSH

from headwater import dedup
from headwater.stages.document_signatures import SIGNATURES, signature_rows

REDIS = shutil.which("redis-server")

LOGBOOK = " ".join(f"On day {day} the keeper of the weir noted calm water and {day % 7} boats." for day in range(60))
TEXTS = {
    "logbook": LOGBOOK,
    "copy": LOGBOOK.upper(),
    "draft": LOGBOOK.replace("day 30", "day thirty"),
    "other": " ".join(f"In month {month} nothing was recorded by anybody at the lower gate." for month in range(40)),
}


def filled(index: MinHashLSH) -> MinHashLSH:
    hashes = dedup.signatures(list(TEXTS.values())).hashes
    for name, row in zip(TEXTS, hashes, strict=True):
        index.insert(name, dedup.to_datasketch(row))
    return index


def found(index: MinHashLSH, text: str) -> list[str]:
    return sorted(index.query(dedup.to_datasketch(dedup.signatures([text]).hashes[0])))


def test_a_signature_is_the_minhash_that_datasketch_computes() -> None:
    batch = dedup.signatures([LOGBOOK])
    expected = MinHash(num_perm=128, scheme="affine32", hashfunc=int)
    expected.update_batch([int(value) & 0xFFFFFFFF for value in batch.shingles.values])
    ours = dedup.to_datasketch(batch.hashes[0])
    assert ours == expected
    assert ours.jaccard(expected) == 1.0


def test_a_signature_survives_the_lake() -> None:
    rows = pa.table({"id": ["a"], "text": [LOGBOOK]})
    stored = pl.from_arrow(signature_rows(rows, {"sentences": False}))
    assert isinstance(stored, pl.DataFrame)
    assert SIGNATURES.field("signature").type == pa.list_(pa.int64())
    assert dedup.to_datasketch(stored["signature"][0].to_numpy()) == dedup.to_datasketch(
        dedup.signatures([LOGBOOK]).hashes[0]
    )


def test_datasketch_finds_near_duplicates_by_our_signatures() -> None:
    index = filled(MinHashLSH(threshold=0.8, num_perm=128))
    assert found(index, LOGBOOK) == ["copy", "draft", "logbook"]
    assert found(index, TEXTS["other"]) == ["other"]


@pytest.mark.parametrize("shape", [(127,), (2, 128), (0,)])
def test_what_is_no_signature_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="128"):
        dedup.to_datasketch(np.zeros(shape, np.uint32))


@pytest.fixture
def redis_socket() -> Iterator[str]:
    """A Redis server of the test's own, on a socket in a folder of its own, that writes nothing."""
    assert REDIS is not None
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = str(Path(folder) / "s")
        line = [REDIS, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
            try:
                assert server.stdout is not None
                assert any("ready to accept connections" in said.lower() for said in server.stdout)
                yield socket
            finally:
                server.terminate()


@pytest.mark.skipif(REDIS is None, reason="needs redis-server")
@pytest.mark.timeout(60)
def test_the_index_in_redis_finds_them_too_and_keeps_them(redis_socket: str) -> None:
    storage: dict[str, Any] = {
        "type": "redis",
        "basename": b"headwater",
        "redis": {"unix_socket_path": redis_socket, "port": 0},
    }
    filled(MinHashLSH(threshold=0.8, num_perm=128, storage_config=storage))
    reopened = MinHashLSH(threshold=0.8, num_perm=128, storage_config=storage)
    assert found(reopened, LOGBOOK) == ["copy", "draft", "logbook"]
    assert found(reopened, TEXTS["other"]) == ["other"]
