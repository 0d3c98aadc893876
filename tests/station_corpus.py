"""A corpus of two dozen short documents with a golden set, indexed once: what gate and release tests change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.config import COMPONENT_TYPE
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline

NAME = "stations"
_THINGS = [
    "weir",
    "gate",
    "boom",
    "ladder",
    "lantern",
    "mooring",
    "pump",
    "sluice",
    "siren",
    "mast",
    "radar",
    "float",
    "buoy",
    "winch",
    "crane",
    "jetty",
    "culvert",
    "screen",
    "turbine",
    "spillway",
    "gantry",
    "slipway",
    "beacon",
    "dredger",
]
_KEEPERS = ("north crew", "south crew", "night watch", "harbour desk", "east workshop", "river patrol")
UNANSWERABLE = ("What does a season ticket to the opera cost?", "Who won the chess tournament in spring?")


def sentence(number: int) -> str:
    """Return the sentence that answers question ``number``."""
    keeper = _KEEPERS[number % len(_KEEPERS)]
    return f"The {_THINGS[number]} is greased every {number + 3} weeks by the {keeper} with paste number {number + 40}."


def document(number: int) -> str:
    """Return document ``number``: enough words of its own that no two are duplicates."""
    thing = _THINGS[number]
    own = " ".join(f"{thing} {_THINGS[(number * 7 + k) % len(_THINGS)]} note {number * 13 + k}" for k in range(8))
    return f"# The {thing}\n\n{sentence(number)}\n\nIts log lists {own}.\n"


def make(root: Path) -> Path:
    """Write the project; return the corpus file."""
    (root / "workspace.yaml").touch()
    (root / "documents").mkdir(parents=True)
    for number, thing in enumerate(_THINGS):
        (root / "documents" / f"{thing}.md").write_text(document(number))
    rows = [
        {
            "id": thing,
            "question": f"How often is the {thing} greased?",
            "answers": [{"key": f"{thing}.md", "quote": sentence(number)}],
        }
        for number, thing in enumerate(_THINGS)
    ]
    rows += [{"id": f"none-{n}", "question": text, "answers": []} for n, text in enumerate(UNANSWERABLE)]
    golden = root / "assets" / NAME / "golden.jsonl"
    golden.parent.mkdir(parents=True)
    golden.write_text("\n".join(json.dumps(row) for row in rows))
    return configure(root)


def configure(root: Path, **attributes: Any) -> Path:
    """Write the corpus file."""
    gate = {"golden": "golden.jsonl", "known_item_queries": 10} | attributes.pop("gate", {})
    source = {"uri": str(root / "documents")} | attributes.pop("source", {})
    path = root / "assets" / NAME / "defs.yaml"
    path.write_text(
        yaml.safe_dump({"type": COMPONENT_TYPE, "attributes": {"source": source, "gate": gate} | attributes})
    )
    return path


def build(root: Path) -> None:
    """Make the project and index it."""
    with open_corpus(make(root)) as corpus:
        Pipeline(corpus, workers=1).run()


def copy(built: Path, root: Path) -> Path:
    """Copy an indexed project; return the new root. Objects keep time and size, so nothing is read again but once."""
    shutil.copytree(built, root, copy_function=shutil.copy2)
    configure(root)
    return root


def thing(number: int) -> str:
    """Return the key of document ``number``."""
    return f"{_THINGS[number]}.md"


def reindex(corpus: Corpus, **options: bool) -> Any:
    """Run the whole line."""
    return Pipeline(corpus, workers=1, **options).run()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp("stations") / "project"
        root.mkdir()
        build(root)
        yield root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    return copy(built, tmp_path / "project")


@pytest.fixture
def corpus(root: Path) -> Iterator[Corpus]:
    with open_corpus(configure(root)) as corpus:
        yield corpus
