"""Prompts: numbered versions that never change, and labels that point to them. Every move of a label is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from headwater.errors import NotFoundError
from headwater.hashing import digest
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.schema import prompt_labels, prompts

LabelAction = Literal["seed", "label", "weights", "rollback"]

ADVISORY_LOCK = 0x50726F6D
"""Key of the PostgreSQL advisory lock under which prompts are changed ("Prom" in ASCII); SQLite has one writer anyway."""


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One version of a prompt: its text, where it came from, who added it and when (UTC)."""

    name: str
    version: int
    digest: str
    text: str
    source: str
    added_by: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class LabelMove:
    """A label of a prompt as it was from ``at`` (UTC) on: its version, its share in an A/B test (None outside of one),
    and who moved it, by what, and why."""

    id: int
    name: str
    label: str
    version: int
    weight: float | None
    action: LabelAction
    who: str
    reason: str
    at: datetime


class Prompts(LedgerPart):
    """The prompts that answers are written with."""

    def add_prompt(self, name: str, text: str, *, source: str, who: str) -> tuple[int, bool]:
        """Return the version of ``name`` that has this text, and whether it is new. Numbers start at 1."""
        content = digest(text)
        with write(self._engine) as connection:
            _lock(connection)
            held = sa.select(prompts.c.version).where(prompts.c.name == name, prompts.c.digest == content)
            version = connection.execute(held).scalar()
            if version is not None:
                return int(version), False
            newest = connection.execute(
                sa.select(sa.func.max(prompts.c.version)).where(prompts.c.name == name)
            ).scalar()
            version = int(newest or 0) + 1
            connection.execute(
                prompts.insert().values(
                    name=name,
                    version=version,
                    digest=content,
                    text=text,
                    source=source,
                    added_by=who,
                    added_at=datetime.now(UTC),
                )
            )
        return version, True

    def prompt_versions(self, name: str | None = None) -> list[PromptVersion]:
        """Return all versions of ``name``, or of every prompt, in order of name and version."""
        query = sa.select(prompts).order_by(prompts.c.name, prompts.c.version)
        if name is not None:
            query = query.where(prompts.c.name == name)
        with self._engine.connect() as connection:
            return [PromptVersion(**row) for row in connection.execute(query).mappings()]

    def prompt_version(self, name: str, version: int) -> PromptVersion:
        """Return one version; NotFoundError when there is none of that number."""
        query = sa.select(prompts).where(prompts.c.name == name, prompts.c.version == version)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"There is no prompt {name}@{version}; see: headwater prompts list")
        return PromptVersion(**row)

    def label_moves(self, name: str | None = None) -> list[LabelMove]:
        """Return every move of the labels of ``name``, or of all prompts, oldest first."""
        query = sa.select(prompt_labels).order_by(prompt_labels.c.id)
        if name is not None:
            query = query.where(prompt_labels.c.name == name)
        with self._engine.connect() as connection:
            return [LabelMove(**row) for row in connection.execute(query).mappings()]

    def move_labels(
        self,
        name: str,
        labels: Mapping[str, tuple[int, float | None]],
        *,
        action: LabelAction,
        who: str,
        reason: str,
        after: int | None,
    ) -> bool:
        """Point each label to (version, weight), all at once.

        ``after`` is the id of the newest move that the caller knows of ``name`` (None: there is none). Returns False,
        and changes nothing, when there is a newer one by now. Raises NotFoundError for a version that does not exist.
        """
        with write(self._engine) as connection:
            _lock(connection)
            newest = sa.select(sa.func.max(prompt_labels.c.id)).where(prompt_labels.c.name == name)
            if connection.execute(newest).scalar() != after:
                return False
            wanted = {version for version, _ in labels.values()}
            there = sa.select(prompts.c.version).where(prompts.c.name == name, prompts.c.version.in_(wanted))
            missing = wanted - set(connection.execute(there).scalars())
            if missing:
                raise NotFoundError(f"There is no prompt {name}@{min(missing)}; see: headwater prompts list")
            at = datetime.now(UTC)
            connection.execute(
                prompt_labels.insert(),
                [
                    {
                        "name": name,
                        "label": label,
                        "version": version,
                        "weight": weight,
                        "action": action,
                        "who": who,
                        "reason": reason,
                        "at": at,
                    }
                    for label, (version, weight) in labels.items()
                ],
            )
        return True


def _lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
