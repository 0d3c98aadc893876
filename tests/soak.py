"""Queries while reindexes run in a loop: what the soak test and its command measure.

Every document carries its revision in each of its chunks. A result that holds two revisions of one document would
have mixed two states of the index.
"""

from __future__ import annotations

import json
import re
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

CLIENTS = 8
_MARKER = re.compile(r"revision (\d+) of station (\d+)")
_WORDS = ("weir", "gauge", "lantern", "landing", "keeper", "crew", "boat", "mast", "rail", "sluice", "tower", "bank")


def station(number: int, revision: int) -> str:
    """Return a document of several chunks, each of which names the document and its revision."""
    sections = []
    for part in range(4):
        word = _WORDS[(number * 5 + part) % len(_WORDS)]
        other = _WORDS[(number + part * 3) % len(_WORDS)]
        sections.append(
            f"## The {word} and the {other}\n\nThis is revision {revision} of station {number}. The {word} of station "
            f"{number} is looked after by the {other} crew in part {part}, and its log has entry {number * 31 + part}. "
            + " ".join(f"The {word} was seen beside the {other} in week {week + number}." for week in range(12))
        )
    return f"# Station {number}\n\n" + "\n\n".join(sections) + "\n"


@dataclass
class Traffic:
    """What the clients saw; times in seconds."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    releases: set[int] = field(default_factory=set)

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds below which ``share`` of the requests were."""
        return 1000 * statistics.quantiles(self.seconds, n=1000)[round(share * 1000) - 1]


def query_until(url: str, corpus: str, stations: int, done: Callable[[], bool]) -> Traffic:
    """Let eight clients retrieve over HTTP until ``done``; every answer is looked at."""
    traffic, lock = Traffic(), threading.Lock()

    def client(seed: int) -> None:
        turn = seed
        while not done():
            turn += CLIENTS
            word = _WORDS[turn % len(_WORDS)]
            query = f"Who looks after the {word} of station {turn % stations}?"
            body = json.dumps({"corpus": corpus, "query": query, "k": 40}).encode()
            request = urllib.request.Request(f"{url}/v1/retrieve", body, {"Content-Type": "application/json"})
            started = time.perf_counter()
            try:
                with urllib.request.urlopen(request, timeout=120) as response:
                    answer = json.load(response)
            except Exception as error:
                with lock:
                    traffic.failures.append(repr(error))
                continue
            seconds = time.perf_counter() - started
            with lock:
                traffic.seconds.append(seconds)
                traffic.releases.add(answer["release"])
                traffic.mixed += _mixed(answer["passages"])

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return traffic


def _mixed(passages: list[dict[str, object]]) -> list[str]:
    """Return what is wrong with one answer: two revisions of a document, by its text or by what the index says."""
    revisions: dict[str, set[str]] = {}
    for passage in passages:
        revisions.setdefault(str(passage["doc_id"]), set()).add(str(passage["revision"]))
        found = _MARKER.findall(str(passage["text"]))
        for revision, number in found:
            revisions.setdefault(number, set()).add(revision)
    return [f"{document}: revisions {sorted(seen)}" for document, seen in revisions.items() if len(seen) > 1]
