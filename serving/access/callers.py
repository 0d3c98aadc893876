"""Who calls: the application behind an API key, a token or an identity provider's user, and what it may do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from headwater.api_keys import READING, KeyLimits, Scope
from headwater.hashing import digest
from headwater.ledger.audit import AuditEntry, Outcome
from headwater.types import Principal, Usage

if TYPE_CHECKING:
    from serving.access.access import Access
    from serving.access.limits import Allowance


REFUSALS_PER_MINUTE = 60
"""Requests a minute for a scope that the caller lacks: more than a person or a page that is set up wrongly sends."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What authentication established; the same for every request with the same credentials.

    ``id`` is ``key:<id>``, ``oidc:<subject>``, ``token`` (the single API token) or ``local`` (no authentication is
    configured). ``groups`` are its own, ``corpora`` None is every corpus.
    """

    id: str
    scopes: frozenset[Scope]
    groups: frozenset[str] = frozenset()
    corpora: frozenset[str] | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)

    @property
    def log_name(self) -> str:
        """The id, for log lines: a user's subject may be an e-mail address, so there its digest stands for it."""
        kind, _, subject = self.id.partition(":")
        return f"oidc:{digest(subject)[:12]}" if kind == "oidc" else self.id


LOCAL = Identity("local", READING | {"vouch", "metrics"})
"""Everyone on this machine, where no authentication is configured: reads, and vouches; administers nothing, and is not told
what others asked."""

TOKEN = Identity("token", READING | {"vouch", "metrics"})
"""Whoever holds the single API token: everything but ``admin`` and ``questions``."""


class Forbidden(HTTPException):
    """403, with a ``WWW-Authenticate`` that names the missing scope (RFC 6750, section 3.1)."""

    def __init__(self, detail: str, scope: Scope) -> None:
        challenge = f'Bearer realm="headwater", error="insufficient_scope", scope="{scope}"'
        super().__init__(403, detail, {"WWW-Authenticate": challenge})


class UnknownCorpusForCaller(HTTPException):
    """404 for a corpus that the caller may not use: the same words as for one that doesn't exist."""

    def __init__(self) -> None:
        super().__init__(404, "There is no corpus of that name; GET /v1/corpora lists them.")


class Caller:
    """One request's caller."""

    def __init__(self, identity: Identity, access: Access, request_id: str) -> None:
        self._identity = identity
        self._access = access
        self._request_id = request_id

    @property
    def id(self) -> str:
        """What the ledger and logs name the caller by."""
        return self._identity.id

    @property
    def scopes(self) -> frozenset[Scope]:
        """What the caller may do."""
        return self._identity.scopes

    @property
    def groups(self) -> frozenset[str]:
        """The caller's own groups."""
        return self._identity.groups

    def has(self, scope: Scope) -> bool:
        """Say whether the caller has the scope."""
        return scope in self._identity.scopes

    def require(self, scope: Scope) -> None:
        """Raise Forbidden (403) when the caller lacks the scope."""
        if scope not in self._identity.scopes:
            if scope == "admin":
                self._access.trail.refused(self.entry("access", target=scope, outcome="refused"))
            raise Forbidden(f"This takes the scope {scope}, which these credentials don't have.", scope)

    def take(self, scope: Scope) -> tuple[Allowance, ...]:
        """Count one request and return how the caller's limits stand; LimitReached when one of them is used up.

        Without the scope, :data:`REFUSALS_PER_MINUTE` is the limit, unless the caller's own is lower.
        """
        limits = self._identity.limits
        if not self.has(scope):
            most = min(REFUSALS_PER_MINUTE, limits.per_minute.get(scope, REFUSALS_PER_MINUTE))
            limits = limits.model_copy(update={"per_minute": {**limits.per_minute, scope: most}})
        return self._access.limiter.take(self.id, scope, limits)

    def principal(self, groups: Iterable[str] | None = None) -> Principal:
        """Return whom to search as. None: the caller's own groups; else these, which a request named.

        Raises Forbidden (403) for groups that aren't the caller's own, unless it has the scope ``vouch``.
        """
        wanted = self.groups if groups is None else frozenset(groups)
        if not wanted <= self.groups and not self.has("vouch"):
            raise Forbidden(
                "These credentials may ask for their own groups only; to name others takes the scope vouch.", "vouch"
            )
        return Principal(groups=wanted, name=self.id)

    @property
    def sees_all(self) -> bool:
        """Whether the caller may use every corpus."""
        return self._identity.corpora is None

    def sees(self, corpus: str) -> bool:
        """Say whether the caller may know of the corpus."""
        return self._identity.corpora is None or corpus in self._identity.corpora

    def corpus(self, name: str) -> str:
        """Return ``name``; 404, as for a corpus that doesn't exist, when the caller may not use it."""
        if not self.sees(name):
            raise UnknownCorpusForCaller
        return name

    def visible(self, names: Collection[str]) -> list[str]:
        """Return those of the corpora that the caller may know of, sorted."""
        return sorted(name for name in names if self.sees(name))

    def charge(self, usage: Usage | None) -> None:
        """Count the tokens of an answer against the caller's quota; None, an answer without a model, is free."""
        if usage is not None:
            self._access.limiter.spend(self.id, usage.prompt_tokens + usage.completion_tokens)

    def record(
        self,
        action: str,
        *,
        corpus: str | None = None,
        release: int | None = None,
        target: str | None = None,
        outcome: Outcome = "ok",
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Enter in the audit log what the caller did (see :class:`headwater.ledger.AuditEntry`). Never waits.

        Actions of the reading routes: ``search``, ``answer``, ``document.read``, ``receipts.read``, ``feedback``,
        ``questions.read``.
        """
        self._access.trail.add(self.entry(action, corpus, release, target, outcome, counts))

    def entry(
        self,
        action: str,
        corpus: str | None = None,
        release: int | None = None,
        target: str | None = None,
        outcome: Outcome = "ok",
        counts: Mapping[str, int] | None = None,
    ) -> AuditEntry:
        """Return an entry of the audit log in the caller's name, not stored."""
        return AuditEntry(
            who=self.id,
            action=action,
            corpus=corpus,
            release=release,
            target=target,
            outcome=outcome,
            counts=dict(counts or {}),
            request_id=self._request_id,
        )
