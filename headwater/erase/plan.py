"""What an erasure under way remembers, so that it is finished whenever it is interrupted.

The plan is a file beside the lake's tables. It holds pieces of the document's text (what to look for in the end), so it
is readable by its owner alone (in a bucket: by whom the bucket's policy says) and goes with the last step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from headwater.erase.probes import Probes
from headwater.lake_folder import LakeFolder

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

    def save(self, lake: LakeFolder) -> None:
        """Write the plan durably, in one step."""
        lake.write(plan_file(self.doc_id), json.dumps(asdict(self)).encode())

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


def plan_file(doc_id: str) -> str:
    """Return the name of an erasure's plan in the lake."""
    return f"{FOLDER}/{doc_id}.json"


def load(data: bytes) -> Plan:
    """Return the plan that a file holds."""
    values = json.loads(data)
    return Plan(**{**values, "probes": Probes(**values["probes"])})


def unfinished(lake: LakeFolder) -> list[Plan]:
    """Return the plans of all erasures that are under way, or whose proof failed."""
    names = (PurePosixPath(name) for name in lake.names(FOLDER))
    return [load(lake.read(str(name))) for name in names if name.suffix == ".json"]
