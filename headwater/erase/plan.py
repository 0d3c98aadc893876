"""What an erasure under way remembers, so that it is finished whenever it is interrupted.

The plan is a file beside the lake's tables. It holds pieces of the document's text (what to look for in the end), so it
is readable by its owner alone and goes with the last step.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from headwater.erase.probes import Probes

FOLDER = ".erase"

Step = Literal["planned", "swapping", "swapped", "removed", "unproven"]
"""How far it is: the lake has not changed; every table is written anew and takes its place; each has; all is removed,
and only the proof is outstanding; something was still found, so the next ``erase`` has to try again."""


@dataclass
class Plan:
    """One erasure. ``releases`` and ``readers`` are the lake versions of releases after the swap.

    ``attached`` is what is attached to the document, or was: ids with keys. It goes with it.
    """

    key: str
    doc_id: str
    reason: str
    erased_at: str
    revisions: list[str]
    listed: dict[str, Any]
    still_listed: bool | None
    copies: list[str]
    probes: Probes
    rows: dict[str, int]
    points: dict[str, int]
    step: Step = "planned"
    versions: dict[str, int] = field(default_factory=dict)
    releases: dict[str, dict[str, int]] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    vectors: int = 0
    answers: int = 0
    attached: dict[str, str] = field(default_factory=dict)

    @property
    def owners(self) -> list[str]:
        """The ids of all documents that are erased."""
        return [self.doc_id, *self.attached]

    def save(self, lake: Path) -> None:
        """Write the plan durably, in one step."""
        path = plan_file(lake, self.doc_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as sink:
            json.dump(asdict(self), sink)
            sink.flush()
            os.fsync(sink.fileno())
        draft.replace(path)

    def continues(self, before: Plan) -> None:
        """Take over what an earlier plan for the same document, whose proof failed, had found and removed."""
        self.erased_at, self.reason = before.erased_at, before.reason
        self.revisions = sorted({*self.revisions, *before.revisions})
        self.copies = sorted({*self.copies, *before.copies})
        self.attached = {**before.attached, **self.attached}
        self.probes = self.probes.joined(before.probes)
        for name in ("rows", "points"):
            earlier, found = getattr(before, name), getattr(self, name)
            setattr(self, name, {key: earlier.get(key, 0) + found.get(key, 0) for key in {**earlier, **found}})
        self.vectors, self.answers = before.vectors, before.answers

    @property
    def last_modified(self) -> datetime | None:
        """When the object was last written, as it was listed."""
        moment = self.listed.get("last_modified")
        return datetime.fromisoformat(moment) if moment else None


def plan_file(lake: Path, doc_id: str) -> Path:
    """Return where the plan of an erasure is."""
    return lake / FOLDER / f"{doc_id}.json"


def load(path: Path) -> Plan:
    """Return the plan in a file."""
    values = json.loads(path.read_text())
    return Plan(**{**values, "probes": Probes(**values["probes"])})


def unfinished(lake: Path) -> list[Plan]:
    """Return the plans of all erasures that are under way, or whose proof failed."""
    return [load(path) for path in sorted((lake / FOLDER).glob("*.json"))]
