"""Authentication: whose credentials these are, by the single API token, an API key, or an identity provider's token."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import anyio.to_thread
import sqlalchemy as sa
from anyio import CapacityLimiter

from headwater.api_keys import PREFIX, split_key
from headwater.errors import HeadwaterError, LedgerError, NotFoundError
from headwater.ledger import Ledger
from headwater.ledger.api_keys import ApiKey
from headwater.project import Project, find_project
from serving.access.callers import LOCAL, TOKEN, Identity
from serving.access.jwks import KeysUnavailable
from serving.access.limits import Limiter
from serving.access.settings import AccessSettings, api_token, load_settings
from serving.access.tokens import InvalidToken, ProviderTokens
from serving.access.trail import Trail

REMEMBERED_SECONDS = 1.0
"""How long an identity is remembered: a revoked key is refused this much later at most, in every process."""

_MOST_REMEMBERED = 10_000
_THREADS = 4
"""Look-ups at a time; they take no threads from the requests that are at work."""

_PROVIDER_THREADS = 16
"""Tokens of the identity provider that are looked at at a time; keys don't wait for a provider that is slow."""


class Unauthenticated(Exception):
    """No credentials, or wrong ones; the message says what to send, for the caller. ``given`` tells the two apart."""

    def __init__(self, detail: str, *, given: bool) -> None:
        super().__init__(detail)
        self.given = given


class Unavailable(Exception):
    """Nobody can be authenticated now: the ledger or the identity provider can't be read."""


class Access:
    """Authenticates callers, and holds what is counted and noted of them. Thread-safe."""

    def __init__(
        self,
        *,
        token: str | None = None,
        settings: AccessSettings | None = None,
        ledger: Ledger | None = None,
        limiter: Limiter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Accept ``token``, the keys of ``ledger`` (which stays its owner's to close) and the provider in ``settings``.

        Raises ConfigError for a provider whose keys would come over an unprotected connection.
        """
        self.settings = settings or AccessSettings()
        self.limiter = limiter or Limiter()
        self.ledger = ledger
        self.trail = Trail(ledger, retention_days=self.settings.audit.retention_days)
        self._token = token.encode() if token else None
        oidc = self.settings.oidc
        self._provider = ProviderTokens(self.settings, oidc, clock=clock) if oidc else None
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: dict[bytes, tuple[Identity, float]] = {}
        self._closed = self._token is not None or self._provider is not None
        self._looked = float("-inf")
        self._workers: CapacityLimiter | None = None
        self._provider_workers: CapacityLimiter | None = None
        self._owned: Ledger | None = None

    def own(self, ledger: Ledger) -> None:
        """Close this ledger, too, at the end."""
        self._owned = ledger

    def start(self) -> None:
        """Begin to write the audit log."""
        self.trail.start()

    def close(self) -> None:
        """Write what waits for the audit log."""
        self.trail.close()
        if self._owned is not None:
            self._owned.close()

    def is_open(self) -> bool:
        """Say whether no authentication is configured: no token, no provider, and there never was a key.

        Once it is, it stays so until the process ends. Raises Unavailable when the ledger can't be asked.
        """
        if self._closed or self.ledger is None:
            return not self._closed
        if not self._looked_lately():
            moment = self._clock()
            try:
                self._closed = self.ledger.has_api_keys()
            except (LedgerError, sa.exc.SQLAlchemyError) as error:
                raise Unavailable("The ledger can't be read.") from error
            self._looked = moment
        return not self._closed

    def _looked_lately(self) -> bool:
        """Say whether the ledger, if there is one, need not be asked again for API keys yet."""
        return self.ledger is None or self._clock() - self._looked <= REMEMBERED_SECONDS

    async def authenticate(self, authorization: str) -> Identity:
        """Return whose request it is, by its Authorization header (empty without one).

        Raises Unauthenticated and Unavailable.
        """
        scheme, _, sent = authorization.partition(" ")
        # Headers arrive as Latin-1; what is beyond it is in no credential.
        credential = sent.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else b""
        remembered = self._recall(credential)
        if remembered is not None:
            return remembered
        if not self._closed and self._looked_lately():  # no thread has to be waited for
            return LOCAL
        if self._workers is None or self._provider_workers is None:
            self._workers, self._provider_workers = CapacityLimiter(_THREADS), CapacityLimiter(_PROVIDER_THREADS)
        workers = self._provider_workers if self._is_of_provider(credential) else self._workers
        return await anyio.to_thread.run_sync(self._identify, credential, limiter=workers)

    def _is_of_provider(self, credential: bytes) -> bool:
        """Say whether it looks like a token of the identity provider, and is nothing else."""
        if self._provider is None or credential.count(b".") != 2 or credential.startswith(PREFIX.encode()):
            return False
        return self._token is None or not hmac.compare_digest(credential, self._token)

    def _identify(self, credential: bytes) -> Identity:
        if self.is_open():
            return LOCAL
        if not credential:
            raise Unauthenticated("Send an API key or token as: Authorization: Bearer KEY", given=False)
        deadline = self._clock() + REMEMBERED_SECONDS
        if self._token is not None and hmac.compare_digest(credential, self._token):
            found = TOKEN
        elif credential.startswith(PREFIX.encode()):
            found = self._key_holder(credential.decode("latin-1"))
        elif self._provider is not None and self._is_of_provider(credential):
            try:
                found, expires = self._provider.identity(credential.decode("latin-1"))
            except InvalidToken as error:
                raise Unauthenticated(str(error), given=True) from error
            except KeysUnavailable as error:
                raise Unavailable("The identity provider's keys can't be read.") from error
            deadline = min(deadline, self._clock() + expires - time.time())
        else:
            raise Unauthenticated("The API key or token is wrong.", given=True)
        self._remember(credential, found, deadline)
        return found

    def _key_holder(self, text: str) -> Identity:
        parts = split_key(text)
        key: ApiKey | None = None
        if parts is not None and self.ledger is not None:
            try:
                key = self.ledger.api_key_of(*parts)
            except (LedgerError, sa.exc.SQLAlchemyError) as error:
                raise Unavailable("The ledger can't be read.") from error
        if key is None:
            raise Unauthenticated("The API key is wrong, expired or revoked.", given=True)
        self.trail.used(key.id)
        return Identity(
            id=f"key:{key.id}",
            scopes=frozenset(key.scopes),
            groups=frozenset(key.groups),
            corpora=None if key.corpora is None else frozenset(key.corpora),
            limits=key.limits.over(self.settings.limits),
        )

    def _recall(self, credential: bytes) -> Identity | None:
        # By digest, so that a memory image of the table holds no credentials.
        with self._lock:
            found = self._remembered.get(sha256(credential).digest())
        return found[0] if found is not None and self._clock() < found[1] else None

    def _remember(self, credential: bytes, identity: Identity, deadline: float) -> None:
        with self._lock:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[sha256(credential).digest()] = (identity, deadline)


def open_access(project: Project | None) -> Access:
    """Return the access of a project as its file and the environment configure it.

    Without a project: of the environment alone, and there are no API keys and no audit log. Raises ConfigError.
    """
    settings = load_settings(project)
    ledger = None
    if project is not None:
        project.make_home()
        ledger = Ledger(project.ledger_url)
    try:
        access = Access(token=api_token(), settings=settings, ledger=ledger)
    except HeadwaterError:
        if ledger is not None:
            with suppress(Exception):
                ledger.close()
        raise
    if ledger is not None:
        access.own(ledger)
    return access


def project_at_hand() -> Project | None:
    """Return the project around the working directory, None when there is none."""
    try:
        return find_project()
    except NotFoundError:
        return None
