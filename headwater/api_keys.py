"""API keys: what they are made of, what they allow, and how one is told from another.

A key is ``hw_<id>_<secret>``: a public id (96 random bits in hexadecimal), by which the key is looked up and which logs
may name, and a secret of 256 random bits. Only the secret's SHA-256 is stored. A slow, salted hash (bcrypt, Argon2)
protects passwords because people choose them from a small space; of 2^256 equally likely secrets nobody can try a
noticeable share, so a fast hash loses nothing, and a check costs microseconds instead of a tenth of a second that
would itself be a way to keep the service busy (OWASP ASVS 5.0, 11.4.2 and 6.5.2: fast hashes are for secrets with at
least 112 bits of entropy only).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from headwater.errors import ConfigError

Scope = Literal["search", "answer", "documents", "receipts", "feedback", "questions", "admin", "vouch", "metrics"]
"""What a caller may do. ``questions``: read what other people asked. ``vouch``: say which groups its end user has, beyond
its own. ``metrics``: read /metrics."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
READING: frozenset[Scope] = frozenset({"search", "answer", "documents", "receipts", "feedback"})
"""Every scope that changes nothing for others and claims nothing about others."""

PREFIX = "hw_"
_KEY = re.compile(r"hw_([0-9a-f]{24})_([A-Za-z0-9_-]{43})")
_PERIOD = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Count = Annotated[int, Field(ge=0, le=2**53)]


class KeyLimits(BaseModel):
    """How much a caller may do. What is not set is left to the service's configuration; 0 allows nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    per_minute: dict[Scope, Count] = Field(default_factory=dict, description="Requests per minute, by scope.")
    requests_per_day: Count | None = Field(default=None, description="Requests per day (UTC).")
    answer_tokens_per_day: Count | None = Field(
        default=None, description="Tokens per day (UTC) that a language model reads and writes for answers."
    )

    def over(self, defaults: KeyLimits) -> KeyLimits:
        """Return these limits, and those of ``defaults`` where nothing is set here."""
        return KeyLimits(
            per_minute={**defaults.per_minute, **self.per_minute},
            requests_per_day=defaults.requests_per_day if self.requests_per_day is None else self.requests_per_day,
            answer_tokens_per_day=defaults.answer_tokens_per_day
            if self.answer_tokens_per_day is None
            else self.answer_tokens_per_day,
        )


def new_key_id() -> str:
    """Return an id for a new key."""
    return secrets.token_hex(12)


def new_secret() -> str:
    """Return a secret of 256 random bits, 43 characters."""
    return secrets.token_urlsafe(32)


def key_text(key_id: str, secret: str) -> str:
    """Return the key as its holder sends it."""
    return f"{PREFIX}{key_id}_{secret}"


def split_key(text: str) -> tuple[str, str] | None:
    """Return (id, secret) of a key as it was sent, None for anything that isn't one."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def hash_secret(secret: str) -> str:
    """Return what is stored of a secret: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, stored: str) -> bool:
    """Say whether ``stored`` is the hash of ``secret``, in a time that tells nothing."""
    return hmac.compare_digest(hash_secret(secret), stored)


def check_scopes(names: Iterable[str]) -> list[Scope]:
    """Return the scopes of these names, in their fixed order; ConfigError names those that don't exist."""
    wanted = set(names)
    unknown = sorted(wanted.difference(SCOPES))
    if unknown:
        raise ConfigError(f"There is no scope {', '.join(map(repr, unknown))}; there are: {', '.join(SCOPES)}.")
    if not wanted:
        raise ConfigError(f"Name at least one scope; there are: {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in wanted]


def parse_period(text: str) -> timedelta:
    """Return a period written as a number and m, h, d or w (``90d``); ConfigError for anything else, or nothing."""
    found = _PERIOD.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ConfigError(f"{text!r} is no period; write a number and m, h, d or w, such as 12h or 90d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
