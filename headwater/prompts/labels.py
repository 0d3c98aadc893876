"""What the moves of a prompt's labels come to: functions over its history, oldest move first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from headwater.errors import ConfigError
from headwater.hashing import digest
from headwater.ledger import Ledger
from headwater.ledger.prompts import LabelMove

LIVE = "live"
"""The label that is served unless an A/B test says otherwise."""

_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_SUM_TOLERANCE = 1e-6


def check_label(label: str) -> None:
    """Raise ConfigError for what can't be a label."""
    if not _LABEL.fullmatch(label):
        raise ConfigError(
            f"{label!r} can't be a label: use lower-case letters, digits, hyphens and underscores, starting with a letter."
        )


def standing(moves: Sequence[LabelMove]) -> dict[str, LabelMove]:
    """Return the newest move of each label."""
    return {move.label: move for move in moves}


def live_versions(ledger: Ledger, names: Iterable[str]) -> dict[str, str]:
    """Return the live version (``answer@3``) of each of these prompts that has one."""
    now = {name: standing(ledger.label_moves(name)) for name in names}
    return {name: f"{name}@{moves[LIVE].version}" for name, moves in now.items() if LIVE in moves}


def arms(now: Mapping[str, LabelMove]) -> list[tuple[str, float]]:
    """Return the labels that are served, with their shares (adding up to 1): ``live`` first, then by name.

    Outside of an A/B test that is ``live`` alone.
    """
    shares = [(label, move.weight) for label, move in now.items() if move.weight]
    if not shares:
        return [(LIVE, 1.0)] if LIVE in now else []
    return sorted(shares, key=lambda arm: (arm[0] != LIVE, arm[0]))


def arm_of(shares: Sequence[tuple[str, float]], name: str, key: str) -> str:
    """Return the label that ``key`` is served: always the same for the same key, name and shares.

    Where a test of two arms is widened, a key that was in the second one stays there.
    """
    place = int(digest("prompt", name, key)[:16], 16) / 16**16
    for label, share in shares:
        place -= share
        if place < 0:
            return label
    return shares[-1][0]


def check_weights(weights: Mapping[str, float], now: Mapping[str, LabelMove], name: str) -> None:
    """Raise ConfigError unless these are shares of labels that exist, adding up to 1."""
    unknown = sorted(weights.keys() - now.keys())
    if unknown:
        known = ", ".join(sorted(now)) or "none yet"
        raise ConfigError(f"Prompt {name!r} has no label {unknown[0]!r} (there are: {known}).")
    # Written so that a share that is not a number fails, too.
    if not all(0 <= weight <= 1 for weight in weights.values()) or not abs(sum(weights.values()) - 1) <= _SUM_TOLERANCE:
        given = ", ".join(f"{label}={weight:g}" for label, weight in weights.items())
        raise ConfigError(f"The weights of prompt {name!r} have to be shares that add up to 1; these are: {given}.")


def previous_live(moves: Sequence[LabelMove]) -> int | None:
    """Return the version that was live before the one that is; None when there is none.

    Rolling back twice goes two versions back, not forth again.
    """
    stack: list[int] = []
    for move in moves:
        if move.label != LIVE or (stack and move.version == stack[-1]):
            continue
        if move.action == "rollback":
            stack.pop()
        else:
            stack.append(move.version)
    return stack[-2] if len(stack) > 1 else None


def follows_files(moves: Sequence[LabelMove]) -> bool:
    """Say whether a newer text in the files goes live by itself.

    It does until a person chose the live version, and not while an A/B test runs.
    """
    now = standing(moves)
    if LIVE not in now:
        return True
    for move in reversed([move for move in moves if move.label == LIVE]):
        if move.version != now[LIVE].version:
            break
        if move.action in ("label", "rollback"):
            return False
    return arms(now) == [(LIVE, 1.0)]
