"""The prompts of a ledger: seeded from files, chosen by label, compared and rolled back."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.audit import audited, operator
from headwater.errors import ConfigError, NotFoundError
from headwater.ledger import Ledger
from headwater.ledger.prompts import LabelAction, LabelMove, PromptVersion
from headwater.prompts.files import read_prompt_files
from headwater.prompts.labels import (
    LIVE,
    arm_of,
    arms,
    check_label,
    check_weights,
    follows_files,
    previous_live,
    standing,
)
from headwater.prompts.prompt import Prompt
from headwater.prompts.purposes import check_name, check_text, normal

_FRESH_SECONDS = 5.0
"""How long what is served is remembered: an answer doesn't pay a query, and a rollback reaches every server soon."""

SEEDED_BY = "headwater"


@dataclass(frozen=True, slots=True)
class _Served:
    """What one prompt's labels pointed to at ``read_at``, a monotonic time."""

    shares: Sequence[tuple[str, float]]
    prompts: Mapping[str, Prompt]
    read_at: float


class PromptRegistry:
    """The prompts of a ledger. Thread-safe; the files are read once, at the first use.

    ``folder`` holds a project's own prompts (``<name>.md``), which stand in the place of those that come with
    Headwater. ``pins`` names versions that :meth:`choose` gives whatever the labels say: what evaluations use.
    """

    def __init__(self, ledger: Ledger, folder: Path | None = None, *, pins: Mapping[str, int] | None = None) -> None:
        self._ledger = ledger
        self._folder = folder
        self._pins = dict(pins or {})
        self._lock = threading.Lock()
        self._seeded = False
        self._served: dict[str, _Served] = {}

    # --- reading ----------------------------------------------------------------------------------------------

    def choose(self, name: str, *, key: str) -> Prompt:
        """Return the version of ``name`` to use for ``key``, the id of a conversation or request.

        That is the live one; during an A/B test, the arm that the key falls in, always the same one. At most five
        seconds old. Raises NotFoundError when nothing of that name is live.
        """
        if name in self._pins:
            return self.get(name, self._pins[name])
        served = self._served.get(name)
        if served is None or time.monotonic() - served.read_at > _FRESH_SECONDS:
            served = self._read(name)
        return served.prompts[arm_of(served.shares, name, key)]

    def get(self, name: str, version: int) -> Prompt:
        """Return one version of ``name``; NotFoundError when there is none of that number."""
        self._seed_once()
        found = self._ledger.prompt_version(name, version)
        return Prompt(found.name, found.version, found.text)

    def find(self, reference: str) -> Prompt:
        """Return the version that ``answer@3`` or ``answer@candidate`` names; a name alone is the live one.

        Raises NotFoundError for a version or label that does not exist, ConfigError for a name that can't be one.
        """
        name, _, wanted = reference.partition("@")
        check_name(name)
        if wanted.isdecimal():
            return self.get(name, int(wanted))
        label, labels = wanted or LIVE, self.labels(name)
        if label not in labels:
            known = ", ".join(sorted(labels)) or "none yet"
            raise NotFoundError(f"Prompt {name!r} has no label {label!r} (there are: {known}).")
        return self.get(name, labels[label].version)

    def versions(self, name: str | None = None) -> list[PromptVersion]:
        """Return all versions of ``name``, or of every prompt, oldest first."""
        self._seed_once()
        return self._ledger.prompt_versions(name)

    def labels(self, name: str) -> dict[str, LabelMove]:
        """Return what each label of ``name`` points to now, and the move that made it so."""
        self._seed_once()
        return standing(self._ledger.label_moves(name))

    def history(self, name: str) -> list[LabelMove]:
        """Return every move of the labels of ``name``, oldest first."""
        self._seed_once()
        return self._ledger.label_moves(name)

    def diff(self, name: str, a: int, b: int) -> str:
        """Return the unified difference between two versions; empty when they are one."""
        old, new = self.get(name, a), self.get(name, b)
        lines = difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), old.id, new.id, lineterm="")
        return "\n".join(lines)

    # --- changing ---------------------------------------------------------------------------------------------

    def add(self, name: str, text: str, *, source: str, who: str | None = None) -> PromptVersion:
        """Add a version and return it; the same text is the version that it was before. No label moves.

        ``source`` says where the text is from. Raises ConfigError for a text that can't be a prompt of that name.
        """
        text = normal(text)
        check_text(name, text, source)
        self._seed_once()
        version, _ = self._ledger.add_prompt(name, text, source=source, who=who or operator())
        return self._ledger.prompt_version(name, version)

    def label(self, name: str, version: int, label: str, reason: str, *, who: str | None = None) -> None:
        """Point ``label`` to a version, from now on. ``live`` is what is served.

        Raises NotFoundError for a version that does not exist, ConfigError without a reason.
        """
        check_label(label)

        def moved(moves: Sequence[LabelMove]) -> dict[str, tuple[int, float | None]]:
            now = standing(moves).get(label)
            return {label: (version, now.weight if now else None)}

        self._move(name, "label", reason, who, moved)

    def weights(self, name: str, weights: Mapping[str, float], reason: str = "", *, who: str | None = None) -> None:
        """Serve each label to a share of the keys: an A/B test. ``{"live": 1}`` ends it.

        Raises ConfigError unless the shares add up to 1, of labels that exist.
        """

        def moved(moves: Sequence[LabelMove]) -> dict[str, tuple[int, float | None]]:
            now = standing(moves)
            check_weights(weights, now, name)
            over = weights.get(LIVE) == 1
            return {label: (move.version, None if over else weights.get(label)) for label, move in now.items()}

        shown = ", ".join(f"{label} {weight:g}" for label, weight in weights.items())
        self._move(name, "weights", reason or f"served: {shown}", who, moved)

    def rollback(self, name: str, reason: str = "", *, who: str | None = None) -> Prompt:
        """Serve to everyone the version that was live before, and return it; an A/B test ends.

        Raises NotFoundError when only one version was ever live.
        """
        back: list[int] = []

        def moved(moves: Sequence[LabelMove]) -> dict[str, tuple[int, float | None]]:
            version = previous_live(moves)
            if version is None:
                raise NotFoundError(
                    f"No other version of prompt {name!r} was live before. To end an A/B test: "
                    f"headwater prompts weights {name} live=1"
                )
            back.append(version)
            others = {label: (move.version, None) for label, move in standing(moves).items() if move.weight is not None}
            return {**others, LIVE: (version, None)}

        self._move(name, "rollback", reason or "rolled back", who, moved)
        return self.get(name, back[-1])

    def seed(self) -> list[str]:
        """Enter the prompts of the files that the ledger doesn't hold; return the ids that went live.

        A newer text goes live as long as no person has chosen the live version (see ``label`` and ``rollback``) and no
        A/B test runs. A text that the ledger holds as an older version stays where it is, so that an older server
        beside a newer one takes nothing back.
        """
        files = read_prompt_files(self._folder)
        held = {(version.name, version.text): version.version for version in self._ledger.prompt_versions()}
        went_live = []
        for name, file in files.items():
            version = held.get((name, file.text))
            if version is None:
                version, _ = self._ledger.add_prompt(name, file.text, source=file.source, who=SEEDED_BY)
            while True:
                moves = self._ledger.label_moves(name)
                live = standing(moves).get(LIVE)
                if not follows_files(moves) or (live is not None and version <= live.version):
                    break
                reason = f"from {file.source}"
                if self._try(name, {LIVE: (version, None)}, "seed", SEEDED_BY, reason, moves):
                    went_live.append(f"{name}@{version}")
                    break
        self._forget()
        return went_live

    # --- how --------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> _Served:
        self._seed_once()
        read_at = time.monotonic()
        now = standing(self._ledger.label_moves(name))
        shares = arms(now)
        if not shares:
            check_name(name)
            raise NotFoundError(
                f"No version of prompt {name!r} is live. Put {name}.md into the project's prompts folder, or: "
                f"headwater prompts add {name} FILE"
            )
        prompts = {}
        for label, _ in shares:
            found = self._ledger.prompt_version(name, now[label].version)
            prompts[label] = Prompt(found.name, found.version, found.text, label)
        served = self._served[name] = _Served(shares, prompts, read_at)
        return served

    def _move(
        self,
        name: str,
        action: LabelAction,
        reason: str,
        who: str | None,
        moved: Callable[[Sequence[LabelMove]], Mapping[str, tuple[int, float | None]]],
    ) -> None:
        """Move labels by what ``moved`` makes of their history; anew when someone else was faster."""
        words = " ".join(reason.split())
        if not words:
            raise ConfigError("Say why the label moves: its history keeps the reason.")
        check_name(name)
        self._seed_once()
        who = who or operator()
        with audited(self._ledger, f"prompt.{action}", who=who, target=name):
            while True:
                moves = self._ledger.label_moves(name)
                if self._try(name, moved(moves), action, who, words, moves):
                    break
        self._forget()

    def _try(
        self,
        name: str,
        labels: Mapping[str, tuple[int, float | None]],
        action: LabelAction,
        who: str,
        reason: str,
        moves: Sequence[LabelMove],
    ) -> bool:
        after = moves[-1].id if moves else None
        return self._ledger.move_labels(name, labels, action=action, who=who, reason=reason, after=after)

    def _seed_once(self) -> None:
        with self._lock:
            if not self._seeded:
                self.seed()
                self._seeded = True

    def _forget(self) -> None:
        self._served.clear()
