"""What a corpus of a million, a hundred million and a billion documents takes: arithmetic from measured figures.

    python benchmarks/scale_plan.py             # the tables of docs/scale.md, from the figures below
    python benchmarks/scale_plan.py --measure   # measure again the figures that hang on how much there is already

Figures of a stage are per document of a handbook in Markdown (7 KB, 8.9 chunks of 141 tokens), from the cost ledger of
``benchmarks/plan.py``. Nothing here was run at these sizes: the tables say where the design would have to change first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa

from headwater.driver import CORE, change_batches
from headwater.hashing import digest, document_id
from headwater.lake import Table
from headwater.memory import give_back
from headwater.source import SCHEMA as OBJECTS
from headwater.source import Listed
from headwater.source.table import stored_rows

SIZES = (1_000_000, 100_000_000, 1_000_000_000)
GB = 1e9

BYTES_PER_DOCUMENT = 7_000
CHUNKS = 8.9
TOKENS_PER_CHUNK = 141
DIMENSIONS = 384

MACHINE_CPUS = 64
MACHINE_GB = 256
PRICE_CPU_HOUR, PRICE_GPU_HOUR, PRICE_GB_MONTH = 0.04, 3.0, 0.023
"""Of a large cloud's list prices, rounded: to compare what is dear with what is cheap, not to budget by."""


@dataclass(frozen=True)
class Figure:
    """What one stage takes per document, in CPU seconds, and what it leaves in the lake, in bytes.

    ``spread`` says that its rows are computed in batches, by the processes of one machine or, with ``compute: {engine:
    ray}``, of many; the rest is the work of the process that drives the run.
    """

    cpu_seconds: float
    lake_bytes: float
    spread: bool


STAGES = {
    "source_objects": Figure(0.0007, 200, False),
    "parsed_documents": Figure(0.025, 3_300, True),
    "quality_documents": Figure(0.006, 3_700, True),
    "deduplicated_documents": Figure(0.001, 12_200, False),
    "anonymized_documents": Figure(0.16, 3_800, True),
    "chunks": Figure(0.0105, 8_300, True),
    "embeddings": Figure(0.24, 19_100, True),
    "index_candidate": Figure(0.013, 600, False),
}
"""Measured on four vCPUs of an AMD EPYC that others kept busy, start-up taken off; see docs/scale.md."""

GPU_TOKENS_PER_SECOND = 2_000_000
"""Assumed, not measured: 21 MFLOP per token of MiniLM at 4 % of an H100's 990 TFLOP/s in bfloat16."""

POINT_VECTOR = 4 * DIMENSIONS
POINT_GRAPH = 2 * 16 * 4 * 1.1
"""HNSW with m = 16: two lists of 16 links on the lowest layer, a tenth more above (Malkov and Yashunin 2018)."""
POINT_OTHERS = 80 * 8 * 1.25 + 250 + 60
"""In memory beside vector and graph, as docs/qdrant.md counts it: 80 BM25 terms, payload indexes, ids."""
POINT_PAYLOAD = 1_600
DISK_FACTOR = 1.5
"""For segments that are being rewritten."""
NODES_EFFICIENCY = 0.78
"""Of three Ray nodes on three CPUs, beside one: docs/ray.md."""
DEDUP_BYTES = 3_500
"""Of memory per document while duplicates are decided: docs/deduplication.md, one million signatures in 3.5 GiB."""
DEDUP_SECONDS = 11e-6
LISTING_BYTES = 1_000
"""Of memory per object while the bucket is compared with the last listing (``--measure``)."""
LISTING_SECONDS = 28e-6
"""Per unchanged object (``--measure``); and a thousand keys per request of a bucket:"""
REQUEST_SECONDS = 0.1
MERGE_SECONDS = 2.4e-6
"""Per row of the target table, to change one row of it (``--measure``, with short rows); chunks' tables are the longest."""
DIFFERENCE_BYTES = 350
"""Of memory per row while a stage compares fingerprints, by its columns: two frames of ids and fingerprints, their join."""


def human(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g}"


def hours(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    if seconds < 3600:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:,.0f} days"


def first_index() -> None:
    print("First index\n")
    print("| documents | " + " | ".join(human(size) for size in SIZES) + " |")
    print("|---|" + "--:|" * len(SIZES))
    spread = sum(one.cpu_seconds for one in STAGES.values() if one.spread)
    without_model = spread - STAGES["embeddings"].cpu_seconds
    alone = sum(one.cpu_seconds for one in STAGES.values() if not one.spread)
    tokens = CHUNKS * TOKENS_PER_CHUNK
    lake = sum(one.lake_bytes for one in STAGES.values())
    beside = POINT_GRAPH + POINT_OTHERS
    index = CHUNKS * (POINT_VECTOR + beside + POINT_PAYLOAD) * DISK_FACTOR
    lines = {
        "chunks": lambda n: human(n * CHUNKS),
        "CPU hours, embedding on CPUs": lambda n: f"{n * (spread + alone) / 3600:,.0f}",
        "CPU hours, embedding on GPUs": lambda n: f"{n * (without_model + alone) / 3600:,.0f}",
        "GPU hours (assumed rate)": lambda n: f"{n * tokens / GPU_TOKENS_PER_SECOND / 3600:,.1f}",
        f"spread work on 10 machines of {MACHINE_CPUS} CPUs": lambda n: hours(
            n * spread / (10 * MACHINE_CPUS * NODES_EFFICIENCY)
        ),
        "work of the one process that drives the run": lambda n: hours(n * alone),
        "source": lambda n: f"{n * BYTES_PER_DOCUMENT / GB:,.0f} GB",
        "lake": lambda n: f"{n * lake / GB:,.0f} GB",
        "index on disk": lambda n: f"{n * index / GB:,.0f} GB",
        "Qdrant memory": lambda n: f"{n * CHUNKS * (POINT_VECTOR + beside) / GB:,.0f} GB",
        "... with int8 vectors in memory": lambda n: f"{n * CHUNKS * (DIMENSIONS + 4 + beside) / GB:,.0f} GB",
        "compute, CPUs alone": lambda n: f"{n * (spread + alone) / 3600 * PRICE_CPU_HOUR:,.0f}",
        "compute, with GPUs": lambda n: (
            f"{n * (without_model + alone) / 3600 * PRICE_CPU_HOUR + n * tokens / GPU_TOKENS_PER_SECOND / 3600 * PRICE_GPU_HOUR:,.0f}"
        ),
        "storage per month": lambda n: f"{n * (lake + index) / GB * PRICE_GB_MONTH:,.0f}",
    }
    for name, line in lines.items():
        print(f"| {name} | " + " | ".join(line(size) for size in SIZES) + " |")


def every_run() -> None:
    print("\nEvery run, however little changed\n")
    print("| documents | " + " | ".join(human(size) for size in SIZES) + " | at most in " + f"{MACHINE_GB} GB |")
    print("|---|" + "--:|" * (len(SIZES) + 1))
    memory = {
        "listing compared: memory": LISTING_BYTES,
        "duplicates decided: memory": DEDUP_BYTES,
        "fingerprints of chunks compared: memory": CHUNKS * DIFFERENCE_BYTES,
    }
    for name, each in memory.items():
        cells = [f"{size * each / GB:,.0f} GB" for size in SIZES]
        print(f"| {name} | " + " | ".join(cells) + f" | {human(MACHINE_GB * GB / each)} |")
    times = {
        "listing a bucket, one request after another": REQUEST_SECONDS / 1000,
        "listing compared": LISTING_SECONDS,
        "duplicates decided": DEDUP_SECONDS,
        "one row merged into the table of chunks": CHUNKS * MERGE_SECONDS,
    }
    for name, each in times.items():
        print(f"| {name}: time | " + " | ".join(hours(size * each) for size in SIZES) + " | |")


def measure_listing(count: int) -> None:
    """Print memory and time per object of comparing a listing in which nothing changed."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    keys = [f"team-{number % 97:02}/folder-{number % 9973:04}/document-{number:09}.md" for number in range(count)]
    rows = [
        {
            "id": document_id("scale", key),
            "doc_id": document_id("scale", key),
            "fingerprint": digest(key),
            "state": "ok",
            "reason": "ok",
            "key": key,
            "revision": digest(key, "r"),
            "size": 7000,
            "etag": digest(key, "e"),
            "last_modified": moment,
            "readers": ["*"],
        }
        for key in keys
    ]
    with tempfile.TemporaryDirectory() as folder:
        table = Table(Path(folder) / "source_objects", OBJECTS)
        table.replace(pa.Table.from_pylist(rows, schema=OBJECTS).to_batches())
        del rows
        give_back()
        before, began = resident(), time.perf_counter()
        known = {row["id"]: row for row in stored_rows(table).iter_rows(named=True)}
        listed = [Listed(key, 7000, digest(key, "e"), moment) for key in keys]
        present = set()
        changed = 0
        for entry in listed:
            row = known[document_id("scale", entry.key)]
            present.add(row["id"])
            changed += (row["etag"], row["size"], row["last_modified"]) != (entry.etag, entry.size, entry.last_modified)
        seconds, grown = time.perf_counter() - began, resident() - before
    print(
        f"listing: {grown / count:.0f} bytes and {seconds / count * 1e6:.0f} µs per object, {changed} changed of {count}"
    )


def measure_merge(counts: tuple[int, ...]) -> None:
    """Print how long it takes to change one row, by the number of rows that the table has."""
    schema = pa.schema([*CORE, ("text", pa.string())])
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            table = Table(Path(folder) / "rows", schema)

            def batch(numbers: range) -> pa.RecordBatch:
                ids = [digest(number) for number in numbers]
                columns = {
                    name: ids if name.endswith("id") or name == "fingerprint" else ["ok"] * len(ids)
                    for name in schema.names
                }
                return pa.RecordBatch.from_pydict(columns, schema=schema)

            table.replace(batch(range(start, min(start + 10_000, count))) for start in range(0, count, 10_000))
            began = time.perf_counter()
            table.change(change_batches(schema, [batch(range(7, 8))], []))
            seconds = time.perf_counter() - began
            print(f"merge of one row into {count:,}: {seconds:.2f} s")


def resident() -> int:
    """Return the memory that this process has."""
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--objects", type=int, default=200_000)
    arguments = parser.parse_args()
    if arguments.measure:
        measure_merge((10_000, 100_000, 1_000_000))
        measure_listing(arguments.objects)
        return
    first_index()
    every_run()


if __name__ == "__main__":
    main()
