"""Upsert batches checked and taken apart into rows, the same for every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.errors import ReleaseError
from headwater.index.contract import flag_of
from headwater.index.request import PAYLOAD


@dataclass(frozen=True, slots=True)
class PointRow:
    """One point as the engines' libraries take it: vectors as plain lists, and the payload less the chunk id."""

    chunk_id: str
    vector: list[float]
    indices: list[int]
    values: list[float]
    payload: dict[str, Any]


def point_rows(batch: pa.RecordBatch, dimensions: int, rows: int) -> Iterator[list[PointRow]]:
    """Cut a batch of POINT_SCHEMA into lists of at most ``rows`` points.

    Raises ReleaseError for a vector that has not ``dimensions`` numbers.
    """
    for start in range(0, batch.num_rows, rows):
        yield _rows(batch.slice(start, rows), dimensions)


def _rows(batch: pa.RecordBatch, dimensions: int) -> list[PointRow]:
    ids: list[str] = batch.column("chunk_id").to_pylist()
    dense = batch.column("vector")
    widths = np.asarray(dense.value_lengths().fill_null(0))
    if (widths != dimensions).any():
        row = int(np.argmax(widths != dimensions))
        raise ReleaseError(
            f"chunk {ids[row]} has a vector of {widths[row]} numbers, the release holds {dimensions}; "
            "embed it with the model that the release was staged for"
        )
    vectors = np.asarray(dense.flatten()).reshape(len(ids), dimensions).tolist()
    indices = batch.column("sparse_indices").to_pylist()
    values = batch.column("sparse_values").to_pylist()
    columns = [batch.column(name).to_pylist() for name in PAYLOAD]
    payloads = (_payload(dict(zip(PAYLOAD, row, strict=True))) for row in zip(*columns, strict=True))
    return [
        PointRow(chunk, vector, terms or [], weights or [], payload)
        for chunk, vector, terms, weights, payload in zip(ids, vectors, indices, values, payloads, strict=True)
    ]


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is stored: without the fields it has no value for, and with front matter that can be searched."""
    payload = {name: value for name, value in row.items() if value is not None}
    if "meta" in payload:
        payload["meta"] = meta = json.loads(payload["meta"])
        payload["flags"] = [flag_of(name, value) for name, value in meta.items() if isinstance(value, bool)]
    return payload
