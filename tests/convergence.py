"""A bucket that anything may happen to, and what a corpus made of it: the parts of the convergence tests."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from headwater.config import COMPONENT_TYPE
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline
from headwater.types import Principal
from tests.mails import mail_bytes

NAME = "works"
READERS = Principal(frozenset({"hr", "field"}))
QUESTIONS = ("How long does the battery last?", "paid leave days", "Who books the trains?", "calibration of the rail")

SUBJECTS = ("battery", "leave", "train", "rail", "weir", "lantern")
TEXTS = {
    "battery": "The battery of the teal gauge lasts nine years at one transmission per hour and is replaced by part TB.",
    "leave": "Everyone has twenty-eight days of paid leave each year, to be asked for two weeks before the first day.",
    "train": "Trains are booked through the office, and first class is allowed on journeys of more than four hours.",
    "rail": "The calibration rail is checked every thirty-six months against the reference in the east workshop.",
    "weir": "The upper weir is opened by the keeper when the water stands above the second red mark for an hour.",
    "lantern": "A lantern hangs at the gate of the lower station so that crews find the landing after dark in winter.",
}
CONTACT = " Ask the desk at duty.desk@heronworks.example.org or 212-555-0142."

PARAMETERS: tuple[dict[str, Any], ...] = (
    {},
    {"quality": {"min_words": 30}},
    {"dedup": {"threshold": 0.6}},
    {"chunk": {"max_tokens": 40}},
    {"access": [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]},
    {"dedup": {"survivor": "first_key"}},
    {"dedup": {"survivor": "first_seen", "preferred_prefixes": ["hr/"], "sentences": "remove", "sentence_window": 1}},
    {"source": {"include": ["**/*.md", "*.md"]}},
    {"parse": {"max_attachments": 1}},
    {"privacy": {"actions": {"PHONE_NUMBER": "reject_document"}}, "dedup": {"threshold": 0.3}},
)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def text_of(subject: str, variant: int) -> str:
    """Return a short document; variants 0 and 1 of a subject are near-duplicates, 2 and 3 have other words."""
    sentence = TEXTS[subject]
    if variant >= 2:
        sentence = " ".join(reversed(sentence.rstrip(".").split())).capitalize() + "."
    more = " ".join(TEXTS[other] for other in SUBJECTS[: 2 + variant]) if variant == 3 else ""
    return f"# {subject.title()}\n\n{sentence} {sentence.replace('The', 'This')} {more}{CONTACT if variant else ''}\n"


def mail_of(files: list[tuple[str, int]], *, forwarded: bool) -> str:
    """Return a mail with documents attached, or a mail with that mail attached."""
    named = [(f"{subject}.md", text_of(subject, variant)) for subject, variant in files]
    mail = mail_bytes("Papers", TEXTS["lantern"], named)
    return (mail_bytes("Forwarded", TEXTS["weir"], [("papers.eml", mail)]) if forwarded else mail).decode()


class Bucket:
    """A project whose corpus reads one folder; ``home`` is where lake, index and ledger are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.documents = root / "documents"
        self.documents.mkdir(parents=True, exist_ok=True)
        (root / "workspace.yaml").touch()
        self.parameters: dict[str, Any] = {}

    @property
    def uri(self) -> str:
        """Where the objects are."""
        return str(self.documents)

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables that say where lake, index and ledger of ``home`` are."""
        return {"HEADWATER_HOME": str(home)}

    # --- what may happen -------------------------------------------------------------------------------------

    def write(self, key: str, text: str) -> None:
        """Add or change an object."""
        path = self.documents / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def stamp(self, key: str, number: int) -> None:
        """Let write ``number`` have a time of its own: two of one size may share a clock tick, where ETags would differ."""
        os.utime(self.documents / key, ns=(0, 1_700_000_000_000_000_000 + number * 1_000_000))

    def read(self, key: str) -> str:
        return (self.documents / key).read_text()

    def rename(self, key: str, to: str) -> None:
        (self.documents / to).parent.mkdir(parents=True, exist_ok=True)
        (self.documents / key).rename(self.documents / to)

    def delete(self, key: str) -> None:
        (self.documents / key).unlink()
        (self.documents / f"{key}.acl.json").unlink(missing_ok=True)

    def permit(self, key: str, groups: list[str] | None) -> None:
        sidecar = self.documents / f"{key}.acl.json"
        if groups is None:
            sidecar.unlink(missing_ok=True)
        else:
            sidecar.write_text(json.dumps({"groups": groups}))

    def keys(self) -> list[str]:
        found = (path for path in self.documents.rglob("*") if path.is_file() and not path.name.endswith(".acl.json"))
        return sorted(path.relative_to(self.documents).as_posix() for path in found)

    # --- what is made of it ----------------------------------------------------------------------------------

    def configure(self) -> Path:
        """Write the corpus file and return it."""
        attributes = {
            "source": {"uri": self.uri, "max_removed_share": 1.0},
            "quality": {"min_words": 3},
            "gate": {
                "known_item_queries": 1,
                "canary_chunks": 1,
                "max_shrink": 1.0,
                "max_quarantined_share": 1.0,
                "min_known_item_recall": 0.0,
            },
            "index": {"retain": 2},
        }
        for name, values in self.parameters.items():
            both = isinstance(values, dict) and isinstance(attributes.get(name), dict)
            attributes[name] = {**attributes[name], **values} if both else values  # type: ignore[dict-item]
        path = self.root / "assets" / NAME / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"type": COMPONENT_TYPE, "attributes": attributes}))
        return path

    @contextmanager
    def opened(self, home: Path) -> Iterator[Corpus]:
        """Open the corpus with its lake, index and ledger under ``home``."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(home).items():
                patch.setenv(name, value)
            with open_corpus(self.configure()) as corpus:
                yield corpus

    def reindex(self, home: Path) -> dict[str, Any]:
        """Reindex, and return what readers and engineers can see of it."""
        with self.opened(home) as corpus:
            Pipeline(corpus, workers=1, confirm_removals=True).run()
            return snapshot(corpus)


# --- what is compared ------------------------------------------------------------------------------------------

_VECTOR_TOLERANCE = 0.01
"""A vector's last bits depend on the batch that it was computed in, where the CPU computes in bfloat16."""

_TABLES = (
    "source_objects",
    "parsed_documents",
    "quality_documents",
    "injection_scans",
    "document_signatures",
    "copy_name_spans",
    "anonymized_copies",
    "deduplicated_documents",
    "name_spans",
    "anonymized_documents",
    "chunks",
    "embeddings",
    "index_manifest",
    "leak_scans",
    "receipts",
)


def snapshot(corpus: Corpus) -> dict[str, Any]:
    """Return lake and live release as plain values, without what may differ between two equal histories."""
    result: dict[str, Any] = {name: _rows(name, getattr(corpus.tables, name).scan().collect()) for name in _TABLES}
    live = corpus.ledger.live(corpus.name)
    result["live"] = live is not None
    if live is None:
        return result
    with corpus.searcher(live) as searcher:
        fingerprints = searcher.fingerprints()
        points = searcher.retrieve(sorted(fingerprints), with_vectors=True)
    result["index"] = fingerprints
    result["points"] = [_plain(point.payload) for point in points]
    for question in QUESTIONS:
        for who in (None, READERS):
            found = corpus.search(question, 5, principal=who)
            result[f"{question} {who is not None}"] = [(p.chunk_id, p.key, p.text) for p in found]
    result["states"] = {receipt.key: (receipt.state, receipt.reason, receipt.survivor) for receipt in corpus.receipts()}
    return result


def _rows(name: str, frame: pl.DataFrame) -> list[dict[str, Any]]:
    if name == "receipts":  # since when it is so is history
        frame = frame.drop("since", "fingerprint")
    return [_plain(row) for row in frame.sort("id").iter_rows(named=True)]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    floats = ("vector", "sparse_values")
    return {
        name: np.asarray(value, dtype=np.float32) if name in floats and value is not None else value
        for name, value in row.items()
    }


def differences(followed: Mapping[str, Any], built: Mapping[str, Any]) -> list[str]:
    """Return where two snapshots differ, as paths with both values."""
    return [line for name in built for line in _differ(name, followed.get(name), built[name])]


def _differ(path: str, one: Any, other: Any) -> list[str]:
    if isinstance(other, np.ndarray) and isinstance(one, np.ndarray):
        same = one.shape == other.shape and np.allclose(one, other, atol=_VECTOR_TOLERANCE)
        return [] if same else [f"{path}: vectors differ"]
    if isinstance(other, dict) and isinstance(one, dict):
        names = sorted(one.keys() | other.keys())
        return [line for name in names for line in _differ(f"{path}.{name}", one.get(name), other.get(name))]
    if isinstance(other, list) and isinstance(one, list) and len(one) == len(other):
        return [
            line
            for place, pair in enumerate(zip(one, other, strict=False))
            for line in _differ(f"{path}[{place}]", *pair)
        ]
    return [] if one == other else [f"{path}: {one!r} instead of {other!r}"]


# --- being killed ----------------------------------------------------------------------------------------------


@contextmanager
def killed_at(corpus: Corpus, step: int, kill: Callable[[], None] | None = None) -> Iterator[None]:
    """Kill the writer at the ``step``-th thing that it stores: even steps before it is stored, odd ones after.

    ``kill`` defaults to raising :class:`Killed`.
    """
    from headwater.lake import Table

    count = 0

    def die() -> None:
        if kill is not None:
            kill()
        raise Killed

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            here = count
            if here == step // 2 and step % 2 == 0:
                die()
            result = function(*arguments, **named)
            if here == step // 2 and step % 2 == 1:
                die()
            return result

        return call

    targets: list[tuple[Any, str]] = [(Table, "replace"), (Table, "change")]
    targets += [(corpus.engine, name) for name in ("stage", "apply", "seal", "drop", "redact", "publish")]
    targets += [
        (corpus.ledger, name)
        for name in ("create_release", "set_state", "publish", "note_redaction", "touch", "set_applied_listing")
    ]
    before = [(owner, name, vars(owner).get(name)) for owner, name in targets]
    for owner, name in targets:
        setattr(owner, name, wrapped(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, original in before:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def kill_myself() -> None:
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)
