"""Readers are never blocked and never see two states at once, however often a corpus is reindexed.

``HEADWATER_SOAK_SECONDS`` sets how long (``make soak``: two minutes); the figures are printed.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headwater.corpus import open_corpus
from headwater.pipeline import Pipeline
from headwater.project import Project
from tests.conftest import MakeCorpus
from tests.soak import CLIENTS, Traffic, query_until, station

SECONDS = float(os.environ.get("HEADWATER_SOAK_SECONDS", "10"))
STATIONS = 40
EDITED = 10
"""Documents rewritten before each reindex."""
REINDEXES = 3
"""Played at least, however slow the machine is."""


@contextmanager
def serving(project: Project) -> Iterator[str]:
    """Run the service in a process of its own; give its URL when it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "headwater.cli", "serve", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    ) as process:
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended"
        try:
            urllib.request.urlopen(url, timeout=30)
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
    raise AssertionError("the service did not get ready")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_queries_neither_fail_nor_mix_revisions_while_reindexes_run(
    project: Project, make_corpus: MakeCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_corpus(
        "stations",
        {f"station-{number}.md": station(number, 0) for number in range(STATIONS)},
        dedup={"enabled": False, "boilerplate_min_documents": 0},
        gate={"known_item_queries": 5, "canary_chunks": 4},
    )
    with open_corpus(folder) as corpus, serving_after(corpus, project) as url:
        started = time.monotonic()
        quiet = query_until(url, "stations", STATIONS, lambda: time.monotonic() - started > SECONDS / 4)
        reindexes: list[float] = []
        over = [False]

        def churn() -> None:
            begun = time.monotonic()
            revision = 0
            while time.monotonic() - begun < SECONDS or len(reindexes) < REINDEXES:
                revision += 1
                for number in range(EDITED):
                    chosen = (revision * EDITED + number) % STATIONS
                    (folder / "documents" / f"station-{chosen}.md").write_text(station(chosen, revision))
                report = Pipeline(corpus, workers=1).run()
                reindexes.append(report.seconds)
            over[0] = True

        busy = _beside(churn, url, over)
    with capsys.disabled():
        print(f"\n{CLIENTS} clients, {SECONDS:g} s, {len(reindexes)} reindexes, {len(busy.releases)} releases seen")
        for name, traffic in (("quiet", quiet), ("reindexing", busy)):
            figures = f"p50 {traffic.percentile(0.5):.1f} ms, p99 {traffic.percentile(0.99):.1f} ms"
            print(f"{name}: {len(traffic.seconds)} requests, {len(traffic.failures)} failed, {figures}")
    assert quiet.failures == busy.failures == []
    assert busy.mixed == []
    assert len(busy.releases) >= 2 and len(busy.seconds) >= 10 * CLIENTS


@contextmanager
def serving_after(corpus: object, project: Project) -> Iterator[str]:
    """Index for the first time, then serve."""
    Pipeline(corpus, workers=1).run()  # type: ignore[arg-type]
    with serving(project) as url:
        yield url


def _beside(churn: object, url: str, over: list[bool]) -> Traffic:
    """Query while ``churn`` runs; its failure is this test's."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(churn)  # type: ignore[arg-type]
        traffic = query_until(url, "stations", STATIONS, lambda: over[0] or work.done())
        work.result()
    return traffic
