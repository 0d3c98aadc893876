"""POST /v1/retrieve under load: the real server on two cores, and clients that never pause.

    python -m benchmarks.load FOLDER... --cache DIR [--clients 32] [--seconds 120] [--cores 0,1]

The folders hold real text: Markdown and plain text files, and collections in BEIR's layout (``corpus.jsonl``). They go
through the whole line once, into a project under ``--cache``, which later runs take as it is. Queries are runs of words
from the documents, none asked twice, so that every one is embedded. Clients run on the other cores. Printed are requests
per second, the server's CPU time for each, p50, p95 and p99 of what clients waited, and the server's own seconds by step. Ends with 1 if a request failed
or p99 is not under ``--target`` milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

CORPUS = "load"
STEPS = "headwater_retrieval_step_seconds"
PATIENCE = 300.0


def main() -> int:
    """Read the command line, build what is missing, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--cores", default="0,1", help="The server's, as taskset takes them.")
    parser.add_argument("--target", type=float, default=150.0)
    arguments = parser.parse_args()
    build(arguments.folders, arguments.cache)
    queries = make_queries(arguments.cache / "documents")
    own = {int(core) for core in arguments.cores.split(",")}
    with served(arguments.cache, arguments.cores) as (host, port, server):
        os.sched_setaffinity(0, (os.sched_getaffinity(0) - own) or own)
        asyncio.run(load(host, port, queries, arguments.clients, 5.0))  # what is slow only at first
        before = steps(host, port)
        began, busy = time.perf_counter(), cpu_seconds(server)
        taken, errors = asyncio.run(load(host, port, queries, arguments.clients, arguments.seconds))
        seconds, busy = time.perf_counter() - began, cpu_seconds(server) - busy
        after = steps(host, port)
    p50, p95, p99 = np.percentile(np.array(taken) * 1000, [50, 95, 99])
    print(
        f"{arguments.clients} clients, {seconds:.0f} s: {len(taken) / seconds:.0f} requests a second, {errors} errors"
    )
    print(f"the server's cores: {busy / seconds:.2f} of them busy, {1000 * busy / len(taken):.1f} ms a request")
    print(f"waited: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms")
    for step, (count, total, buckets) in after.items():
        count0, total0, buckets0 = before.get(step, (0.0, 0.0, {}))
        mean = 1000 * (total - total0) / max(count - count0, 1)
        most = _below({at: n - buckets0.get(at, 0.0) for at, n in buckets.items()}, count - count0)
        print(f"   {step:12} mean {mean:7.2f} ms, 99 % within {1000 * most:g} ms")
    return int(errors > 0 or p99 >= arguments.target)


def build(folders: Sequence[Path], cache: Path) -> None:
    """Put the documents through the line, unless that was done before; print how many chunks there are."""
    from headwater.corpus import open_corpus
    from headwater.pipeline import Pipeline

    documents, file = cache / "documents", cache / "assets" / CORPUS / "defs.yaml"
    if not file.is_file():
        documents.mkdir(parents=True, exist_ok=True)
        for number, (name, text) in enumerate(texts(folders)):
            (documents / f"{number:06}-{name}").write_text(text, encoding="utf-8")
        (cache / "workspace.yaml").touch()
        file.parent.mkdir(parents=True)
        attributes = {
            "source": {"uri": str(documents.resolve())},
            # What leaves documents out, or takes long and changes nothing about search.
            "quality": {"rules": []},
            "dedup": {"enabled": False},
            "privacy": {"enabled": False},
            "gate": {"known_item_queries": 0, "min_known_item_recall": 0},
        }
        file.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    with open_corpus(file) as corpus:
        if corpus.live() is None:
            Pipeline(corpus).run()
        with corpus.searcher() as searcher:
            print(f"{searcher.count():,} chunks", flush=True)


def texts(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Give file name and text of every document."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.name == "corpus.jsonl":
                for line in path.read_text(encoding="utf-8").splitlines():
                    row = json.loads(line)
                    yield "text.txt", f"{row.get('title') or ''}\n\n{row['text']}".strip()
            elif path.suffix in (".md", ".txt"):
                yield path.name, path.read_text(encoding="utf-8", errors="replace")


def make_queries(documents: Path) -> Iterator[str]:
    """Give queries of three to nine words that stand together in a document, without end; none twice."""
    rng, seen = random.Random(7), set[str]()
    bodies = [path.read_text(encoding="utf-8") for path in sorted(documents.iterdir())]
    while True:
        body = rng.choice(bodies)
        at = rng.randrange(max(1, len(body) - 200))
        words = re.findall(r"\w+", body[at : at + 200])[1:-1]
        query = " ".join(words[: rng.randint(3, 9)])
        if len(words) >= 3 and query not in seen:
            seen.add(query)
            yield query


@contextmanager
def served(project: Path, cores: str) -> Iterator[tuple[str, int, psutil.Process]]:
    """Run ``headwater serve`` on these cores; gives host, port and process once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "HEADWATER_PROJECT": str(project.resolve())}
    for name in ("HEADWATER_HOME", "HEADWATER_LEDGER_URL", "HEADWATER_API_TOKEN", "OMP_NUM_THREADS"):
        environment.pop(name, None)
    command = ["taskset", "-c", cores, sys.executable, "-m", "headwater.cli", "serve", "--port", str(port)]
    with (project / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while not _ready(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start; see {project / 'serve.log'}")
                time.sleep(0.2)
            yield "127.0.0.1", port, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


def cpu_seconds(process: psutil.Process) -> float:
    """Return what the process and those below it have computed so far."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


async def load(host: str, port: int, queries: Iterator[str], clients: int, seconds: float) -> tuple[list[float], int]:
    """Ask for so many seconds; return what each request waited, in seconds, and how many failed."""
    taken: list[float] = []
    errors = 0
    until = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, port)
        while time.perf_counter() < until:
            body = json.dumps({"corpus": CORPUS, "query": next(queries)}).encode()
            head = f"POST /v1/retrieve HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            began = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            taken.append(time.perf_counter() - began)
            errors += not answer.startswith(b"HTTP/1.1 200 ")
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken, errors


def steps(host: str, port: int) -> dict[str, tuple[float, float, dict[float, float]]]:
    """Return, by step, how many there were, their seconds, and how many took at most so long."""
    found: dict[str, tuple[float, float, dict[float, float]]] = {}
    with urllib.request.urlopen(f"http://{host}:{port}/metrics") as response:
        text = response.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == STEPS else ():
            count, total, buckets = found.get(sample.labels["step"], (0.0, 0.0, {}))
            if sample.name.endswith("_bucket"):
                buckets[float(sample.labels["le"])] = sample.value
            elif sample.name.endswith("_count"):
                count = sample.value
            elif sample.name.endswith("_sum"):
                total = sample.value
            found[sample.labels["step"]] = count, total, buckets
    return found


def _below(buckets: dict[float, float], count: float) -> float:
    """Return the smallest bound that 99 of 100 are within."""
    return min((at for at, n in buckets.items() if n >= 0.99 * count), default=float("inf"))


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


if __name__ == "__main__":
    sys.exit(main())
