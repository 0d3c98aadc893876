"""Decisions and speed of the rules for web pages, beside datatrove's filters, on the same texts and one core.

    python benchmarks/quality.py --texts handbook=FOLDER --texts pages=ground_truth.json --texts licences=FOLDER

A folder gives its .md and .txt files as they are; a JSON file its ``articleBody`` strings. datatrove (its environment
is made at the first run) applies GopherQualityFilter, GopherRepetitionFilter, C4QualityFilter and FineWebQualityFilter
with their defaults, each to every text, one text after the other; Headwater counts all signals in one pass and decides
by the four families. Reading files and loading tokenizers is not timed, tokenizing is. Ratios are of CPU seconds, which
a busy machine changes less than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import ONE_CORE, run_peer

os.environ.update(ONE_CORE)

import polars as pl

from headwater.edits import apply_edits
from headwater.policies import QualityPolicy
from headwater.quality import assess, clean_edits, decide, judge, signals
from headwater.quality.rules import RULES, profiled
from headwater.quality.web import web_signals

FAMILIES = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
# Where there is no text, Headwater says so whatever the rules.
NO_TEXT = {"gopher_quality": "short_doc", "gopher_repetition": "empty", "c4": "too_few_sentences", "fineweb": "empty"}
EXAMPLES = 5
REPEATS = 3
POLICY = QualityPolicy()


def read(path: Path) -> list[str]:
    if path.is_file():
        return [str(page["articleBody"]) for page in json.loads(path.read_text()).values()]
    files = sorted(file for file in path.rglob("*") if file.suffix in (".md", ".txt"))
    return [file.read_bytes().decode("utf-8", "replace") for file in files]


def decisions(texts: list[str]) -> dict[str, list[str | None]]:
    """Return the reason of every text (null: kept) by family, as datatrove would call it."""
    frame = signals(texts)
    result = {}
    for family in FAMILIES:
        policy = QualityPolicy.model_validate({"rules": [family], "languages": []})
        prefix = family.split("_")[0] + "_"
        found = decide(frame, policy)["reason"].to_list()
        result[family] = [
            None if code == "ok" else NO_TEXT[family] if code == "no_text" else code.removeprefix(prefix)
            for code in found
        ]
    return result


def compare(name: str, ours: dict[str, list[str | None]], theirs: dict[str, list[str | None]]) -> int:
    """Print how often two sets of decisions agree, and return in how many texts some filter decides otherwise."""
    count = len(ours[FAMILIES[0]])
    different: set[int] = set()
    print(f"\n{name}: {count} texts")
    print(f"  {'filter':<18}{'kept by both':>13}{'decisions equal':>17}{'reasons equal':>15}")
    for family in FAMILIES:
        pairs = list(zip(ours[family], theirs[family], strict=True))
        other = [index for index, (a, b) in enumerate(pairs) if (a is None) != (b is None)]
        kept = sum(a is None and b is None for a, b in pairs)
        reasons = sum(a == b for a, b in pairs)
        print(f"  {family:<18}{kept:>13}{1 - len(other) / count:>17.2%}{reasons / count:>15.2%}")
        for (a, b), times in Counter(pair for pair in pairs if pair[0] != pair[1]).most_common(EXAMPLES):
            print(f"    Headwater {a or 'keeps'}, datatrove {b or 'keeps'}: {times}")
        different.update(other)
    print(f"  {'all four':<18}{'':>13}{1 - len(different) / count:>17.2%}")
    return len(different)


def fastest(work: Callable[[], Any]) -> float:
    """Return the least CPU seconds of a few runs."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def decide_all(texts: list[str]) -> None:
    """The same work as datatrove's: from texts to four decisions and reasons each."""
    frame = web_signals(texts)
    for family in FAMILIES:
        rules = [rule for rule in RULES if rule.family == family]
        frame.select(pl.coalesce(pl.when(rule.broken(POLICY)).then(pl.lit(rule.reason)) for rule in rules))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", action="append", required=True, metavar="NAME=PATH", help="repeatable")
    sets = {name: read(Path(path)) for name, _, path in (item.partition("=") for item in parser.parse_args().texts)}
    texts = [text for group in sets.values() for text in group]
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} texts, {size:.2f} MB")

    theirs = run_peer("datatrove_filters", {"texts": texts}, one_core=True)
    # datatrove's name of a Gopher quality reason has the family in it.
    theirs["reasons"]["gopher_quality"] = [
        code and code.removeprefix("gopher_") for code in theirs["reasons"]["gopher_quality"]
    ]
    ours, cleaned = decisions(texts), decisions([apply_edits(text, clean_edits(text)) for text in texts])
    different = start = 0
    for name, group in sets.items():
        part = slice(start, start + len(group))
        start += len(group)
        cut = [{family: found[family][part] for family in FAMILIES} for found in (ours, theirs["reasons"])]
        different += compare(name, *cut)
    print(f"\nall: {1 - different / len(texts):.2%} of texts get the same decision of every filter")
    after = sum(any((a[i] is None) != (b[i] is None) for a, b in _pairs(cleaned, ours)) for i in range(len(texts)))
    print(f"cleaning first, as the line does, changes a decision for {after} texts ({after / len(texts):.2%})")

    seconds = fastest(lambda: decide_all(texts))
    print(f"\n{'from texts to decisions, one core':<44}{'MB/s':>8}{'texts/s':>9}")
    for label, used in (("datatrove, four filters", theirs["cpu_seconds"]), ("headwater, four families", seconds)):
        print(f"  {label:<42}{size / used:>8.2f}{len(texts) / used:>9.0f}")
    print(f"  headwater / datatrove: {theirs['cpu_seconds'] / seconds:.0f}")
    whole = fastest(lambda: assess(texts))
    print(f"  {'headwater.assess: cleaning, language, all':<42}{size / whole:>8.2f}{len(texts) / whole:>9.0f}")
    frame = profiled(judge(texts, POLICY), POLICY)
    again = fastest(lambda: decide(frame, POLICY))
    print(f"  {'deciding again over stored signals':<42}{size / again:>8.0f}{len(texts) / again:>9.0f}")


def _pairs(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> list[tuple[list[Any], list[Any]]]:
    return [(one[family], other[family]) for family in FAMILIES]


if __name__ == "__main__":
    main()
