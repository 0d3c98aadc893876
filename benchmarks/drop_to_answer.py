"""How long it takes from dropping a file into a watched folder until the endpoint finds it.

    python benchmarks/drop_to_answer.py [--drops 10]

Starts everything with `headwater up` on the sample corpus in a project of its own, as `make demo` does, then drops one
file after another, each at another moment of the sensor's interval, and asks the endpoint until the file is found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.1
PATIENCE = 180.0
IDLE_SECONDS = 12.0
"""Between two drops: the run before has ended, and the sensor has looked in vain at least once."""

WORDS = ("aster", "bramble", "cinder", "dapple", "ember", "fennel", "garnet", "hazel", "indigo", "juniper", "kelp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drops", type=int, default=10)
    drops = parser.parse_args().drops
    with tempfile.TemporaryDirectory(prefix="headwater-drop-") as name:
        root = Path(name)
        documents = make_project(root)
        ports = free_port(), free_port()
        log = (root / "up.log").open("w")
        up = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "headwater.cli",
                "up",
                "--reindex",
                "samples",
                "--port",
                str(ports[0]),
                "--dagster-port",
                str(ports[1]),
            ],
            cwd=root,
            env={k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait(up, ports[0], "Heron H3 calibration", None)
            seconds = []
            for drop in range(drops):
                time.sleep(IDLE_SECONDS + drop * 0.5)
                word = WORDS[drop % len(WORDS)]
                sentence = f"The {word} buoy number {drop} is painted every {drop + 2} years by the yard at the lock."
                started = time.perf_counter()
                (documents / f"{word}-{drop}.md").write_text(f"# The {word} buoy\n\n{sentence}\n")
                wait(up, ports[0], sentence, f"{word}-{drop}.md")
                seconds.append(time.perf_counter() - started)
                print(f"drop {drop + 1}: {seconds[-1]:.1f} s", flush=True)
            print(f"median {statistics.median(seconds):.1f} s, slowest {max(seconds):.1f} s, {os.cpu_count()} cores")
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)


def make_project(root: Path) -> Path:
    """Copy the checkout's Dagster project and sample documents; return the watched folder."""
    shutil.copy(CHECKOUT / "workspace.yaml", root)
    shutil.copytree(CHECKOUT / "assets" / "samples", root / "assets" / "samples")
    shutil.copytree(CHECKOUT / "samples", root / "samples")
    return root / "samples" / "documents"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def find(port: int, query: str, key: str | None) -> bool:
    """Say whether the endpoint finds the document (or anything at all)."""
    body = json.dumps({"corpus": "samples", "query": query, "k": 3}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/retrieve", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            passages = json.load(response)["passages"]
    except OSError:
        return False
    return any(key is None or passage["key"] == key for passage in passages)


def wait(process: subprocess.Popen[bytes], port: int, query: str, key: str | None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not find(port, query, key):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("The endpoint did not find it; see logs/ in the project's home.")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
