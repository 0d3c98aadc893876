"""A corpus indexed by the local pool and on Ray clusters of one, two and three nodes: the same rows, and how fast.

    python benchmarks/ray_scaling.py FOLDER [--documents N] [--nodes 1 2 3] [--kill]

The nodes are raylets of this machine with one CPU each (ray.cluster_utils), so they share its cores and its memory: the
figures are ratios of one run, and more nodes than free cores give nothing. Everything is indexed to the embeddings; what
a fresh process needs to start is part of the time, as it is of a reindex. CPU seconds are those of the cost ledger, which
nodes that wait for a core don't inflate as they do the time. ``--kill``: once more on the most nodes, one of which is
killed when half of the documents are parsed. Needs: pip install 'headwater[ray]'.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import yaml

from headwater.config import COMPONENT_TYPE
from headwater.corpus import open_corpus
from headwater.pipeline import STAGES, Pipeline
from headwater.project import CORPUS_FILE
from headwater.reports import NoProgress, Progress
from headwater.scaffold import make_project

TABLES = ("parsed_documents", "quality_documents", "name_spans", "anonymized_documents", "chunks", "embeddings")
STORE_BYTES = 512 * 2**20
"""What each node's object store holds: Ray would give every node a third of the machine."""
SAME_VECTOR = 0.9999
"""What the embedder's number formats keep to (headwater.embedding.devices): bfloat16 where the CPU has it, else float32."""
KILL_IN = "parsed_documents"
MEASURED = STAGES[: STAGES.index("embeddings") + 1]


class Killer(NoProgress):
    """Kills a node of the cluster when half of the documents are parsed."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self._cluster, self._node = cluster, node
        self._left = 0

    def start(self, stage: str, total: int) -> None:
        """Note how many there are."""
        if stage == KILL_IN:
            self._left = -(-total // 2)

    def advance(self, stage: str, count: int = 1) -> None:
        """Count down to the kill."""
        if stage == KILL_IN and self._left > 0:
            self._left -= count
            if self._left <= 0:
                self._cluster.remove_node(self._node, allow_graceful=False)


@contextmanager
def cluster_of(nodes: int, *, kill: bool = False) -> Iterator[tuple[Mapping[str, Any], Progress]]:
    """Give the settings of a cluster whose head computes nothing, and what watches a run on it: to ``kill`` a node, too."""
    import ray
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "_system_config": {"agent_register_timeout_ms": 300_000},  # a node gives up on a busy machine otherwise
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        every = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(nodes)]
        watch = Killer(cluster, every[-1]) if kill else NoProgress()
        yield {"engine": "ray", "address": cluster.address, "actors": nodes - kill}, watch
    finally:
        ray.shutdown()
        cluster.shutdown()


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds by stage, CPU seconds of all of them, and the rows of the stage tables."""

    seconds: Mapping[str, float]
    cpu_seconds: float
    rows: Mapping[str, Any]


def run(root: Path, documents: Path, compute: Mapping[str, Any] | None, progress: Progress | None = None) -> Run:
    """Index ``documents`` in a new project, here by one worker process."""
    make_project(root)
    os.environ["HEADWATER_PROJECT"], os.environ["HEADWATER_HOME"] = str(root), str(root / ".headwater")
    folder = root / "assets" / "handbook"
    folder.mkdir(parents=True)
    attributes = {"source": {"uri": documents.as_uri()}} | ({"compute": dict(compute)} if compute else {})
    (folder / CORPUS_FILE).write_text(yaml.safe_dump({"type": COMPONENT_TYPE, "attributes": attributes}))
    with open_corpus(folder) as corpus:
        pipeline = Pipeline(corpus, progress, workers=1)
        costs = [getattr(pipeline, stage)().cost for stage in MEASURED]
        rows = {name: getattr(corpus.tables, name).scan().collect().sort("id") for name in TABLES}
    return Run({cost.stage: cost.seconds for cost in costs}, sum(cost.cpu_seconds for cost in costs), rows)


def differences(rows: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return the tables whose rows or fingerprints are not the expected ones, and "vectors" where one is another.

    A vector hangs on the texts that it is computed beside, as far as the number format rounds: rows come back from several
    nodes in any order. So vectors are the same when each has a cosine above :data:`SAME_VECTOR` with the other.
    """
    found = []
    for name in TABLES:
        here, there = rows[name], expected[name]
        if name == "embeddings" and here.height == there.height:
            ours, theirs = (np.array(frame["vector"].to_list()) for frame in (here, there))
            if not ((ours * theirs).sum(axis=1) > SAME_VECTOR).all():
                found.append("vectors")
            here, there = here.drop("vector"), there.drop("vector")
        if not here.equals(there):
            found.append(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="documents to index")
    parser.add_argument("--documents", type=int, help="take so many of them only")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    files = sorted(file for file in options.folder.rglob("*") if file.is_file())[: options.documents]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for file in files:
            copy = place / "documents" / file.relative_to(options.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        base = run(place / "local", place / "documents", None)
        print(f"{len(files)} documents, {base.rows['chunks'].height} chunks, {os.cpu_count()} cores", flush=True)
        _print("local, 1 worker process", base, base, "")
        wrong = False
        for nodes, kill in [(nodes, False) for nodes in options.nodes] + [(max(options.nodes), True)] * options.kill:
            root = place / f"ray{nodes}{'-killed' if kill else ''}"  # an open cache of vectors outlives its folder
            with cluster_of(nodes, kill=kill) as (compute, watch):
                found = run(root, place / "documents", compute, watch)
            differ = differences(found.rows, base.rows)
            wrong = wrong or bool(differ)
            note = "DIFFERENT: " + ", ".join(differ) if differ else "same rows and fingerprints"
            _print(f"ray, {nodes} node(s) of 1 CPU{', one killed' if kill else ''}", found, base, note)
            shutil.rmtree(root)
    sys.exit(1 if wrong else 0)


def _print(label: str, found: Run, base: Run, note: str) -> None:
    ratios = ", ".join(
        f"{stage} {base.seconds[stage] / value:.2f}"
        for stage, value in found.seconds.items()
        if base.seconds[stage] > 1
    )
    taken = sum(found.seconds.values())
    print(
        f"{label}: {taken:.0f} s ({found.cpu_seconds:.0f} s of CPU), {sum(base.seconds.values()) / taken:.2f} times the local "
        f"speed ({ratios}) {note}",
        flush=True,
    )


if __name__ == "__main__":
    main()
