"""One tick of the watching sensor over many objects: time, memory, and how many ticks a listing pass takes.

    python benchmarks/listing.py [--objects 100000] [--budget 20] [--stores folder s3]

The objects lie in a local folder, and in an S3 protocol server (moto, in a process of its own, filled from within; it
sorts its whole bucket for every page of 1,000, so its times are an upper bound). Ticks are evaluated in a fresh process,
as a code server would, with a real Dagster instance and ledger, until a pass is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PER_FOLDER = 100
BUCKET, PREFIX = "objects", "in"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

_TICKS = """
import json, re, time
from pathlib import Path
import dagster as dg
from headwater.project import find_project
from sensors.bucket import watch
sensor = watch(find_project(), "listed")
cursor, seconds, sizes = None, [], []
with dg.DagsterInstance.ephemeral() as instance:
    while True:
        started = time.perf_counter()
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            result = sensor(context)
        seconds.append(time.perf_counter() - started)
        cursor = result.cursor
        sizes.append(len(cursor))
        if result.run_requests or json.loads(cursor)["under_way"] is None:
            break
seen = json.loads(cursor)["seen"]
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"objects": seen and seen["objects"], "ticks": len(seconds), "longest": max(seconds),
                  "total": sum(seconds), "peak_mib": peak, "cursor": max(sizes)}))
"""

_SERVER = """
import sys
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
bucket, prefix, objects, per_folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
backend.create_bucket(bucket, "us-east-1")
for number in range(objects):
    backend.put_object(bucket, f"{prefix}/{number // per_folder:05d}/{number:07d}.txt", b"text %d" % number)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


def fill(folder: Path, objects: int) -> None:
    """Write so many small files, a hundred per folder."""
    for number in range(objects):
        path = folder / f"{number // PER_FOLDER:05d}" / f"{number:07d}.txt"
        if number % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_text(f"text {number}")


@contextmanager
def s3_server(objects: int) -> Iterator[str]:
    """Run an S3 server that holds so many objects, and give its URL."""
    arguments = [sys.executable, "-c", _SERVER, BUCKET, PREFIX, str(objects), str(PER_FOLDER)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def ticks(project: Path, uri: str, budget: float, environment: dict[str, str]) -> dict[str, Any]:
    """Watch ``uri`` in a fresh process until one pass is complete; return the figures."""
    corpus = project / "assets" / "listed"
    corpus.mkdir(parents=True)
    (project / "workspace.yaml").touch()
    attributes = {"source": {"uri": uri}, "watch": {"budget_seconds": budget, "quiet_seconds": 0.0}}
    (corpus / "defs.yaml").write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    home = {"HEADWATER_PROJECT": str(project), "HEADWATER_HOME": str(project / ".headwater")}
    environment = {**os.environ, **home, **environment}
    done = subprocess.run(
        [sys.executable, "-c", _TICKS], cwd=CHECKOUT, env=environment, check=True, capture_output=True, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(store: str, objects: int, budget: float) -> dict[str, Any]:
    """Return the figures of one kind of store: ``folder`` or ``s3``."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if store == "folder":
            fill(root / "documents", objects)
            return ticks(root / "project", (root / "documents").as_uri(), budget, {})
        with s3_server(objects) as url:
            endpoint = {**CREDENTIALS, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
            return ticks(root / "project", f"s3://{BUCKET}/{PREFIX}", budget, endpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--budget", type=float, default=20.0, help="watch.budget_seconds")
    parser.add_argument("--stores", nargs="+", choices=["folder", "s3"], default=["folder", "s3"])
    arguments = parser.parse_args()
    print(
        f"{'store':<8} {'objects':>9} {'ticks':>6} {'longest tick':>13} {'whole pass':>11} {'peak RSS':>10} {'cursor':>8}"
    )
    for store in arguments.stores:
        figures = measure(store, arguments.objects, arguments.budget)
        print(
            f"{store:<8} {figures['objects']:>9,} {figures['ticks']:>6} {figures['longest']:>11.2f} s "
            f"{figures['total']:>9.2f} s {figures['peak_mib']:>6.0f} MiB {figures['cursor']:>6} B"
        )


if __name__ == "__main__":
    main()
