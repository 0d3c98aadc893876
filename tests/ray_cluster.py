"""A Ray cluster on this machine whose nodes can be killed, and functions for its workers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.driver import row_schema
from headwater.errors import RowError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

LENGTHS = pa.schema([("length", pa.int64())])

STORE_MB = 80
"""What each node's object store holds; Ray's least is 75 MiB."""


@contextmanager
def ray_cluster(workers: int, cpus: int = 1, store_mb: int = STORE_MB) -> Iterator[Any]:
    """Give a cluster of a head that computes nothing and ``workers`` nodes that do; this process is not connected yet."""
    import ray
    from ray.cluster_utils import Cluster

    store = store_mb * 2**20
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": store,
            "include_dashboard": False,
            "ray_client_server_port": port,
            "_system_config": {"agent_register_timeout_ms": 300_000},  # a node gives up on a busy machine otherwise
        },
    )
    cluster.client_address = f"ray://127.0.0.1:{port}"
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=cpus, object_store_memory=store)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def node_of(batch: object) -> tuple[object, str]:
    """Return the batch and the number of the raylet, one per node, whose worker started this process."""
    time.sleep(0.3)
    return batch, os.environ["RAY_RAYLET_PID"]


def echo_length(batch: bytes) -> tuple[int, bytes]:
    """Return the length of a batch, and the batch."""
    return len(batch), batch


def misbehave(what: str) -> str:
    """Do ``what`` a bad document can make a parser do."""
    if what == "exit":
        os._exit(3)
    if what == "spin":
        while True:
            pass
    if what == "allocate":
        return "x" * len(bytearray(2**31))
    if what == "raise":
        raise ValueError(what)
    return what


def length_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Return how long each text is; 'bad' is a bad row, 'die' ends the process."""
    texts = batch.column("text").to_pylist()
    if "die" in texts:
        os._exit(3)
    if "bad" in texts:
        raise RowError("the row is bad", code="corrupt")
    rows = [
        {"input": name, "id": name, "state": "ok", "reason": "ok", "length": len(text)}
        for name, text in zip(batch.column("id").to_pylist(), texts, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=row_schema(LENGTHS))


def fail_to_prepare(*args: object) -> None:
    """Fail as a worker does whose image lacks a model."""
    raise RuntimeError("no model in this image")


def until_killed(batch: str) -> None:
    """Leave the process' number in the file named ``batch``, and never return; return at once without a name."""
    if not batch:
        return
    with open(batch, "w") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    while True:
        time.sleep(1)


def until_lost(batch: str) -> int:
    """Leave the number of the raylet that this process is below in the folder named ``batch``. The first time, never
    return; afterwards return how often the folder was called for. Without a name return at once."""
    if not batch:
        return 0
    calls = len(list(Path(batch).iterdir())) + 1
    Path(batch, str(calls)).write_text(os.environ["RAY_RAYLET_PID"])
    while calls == 1:
        time.sleep(1)
    return calls


def use_cpu(seconds: float) -> float:
    """Use the processor for so long; return what was asked for."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return seconds
