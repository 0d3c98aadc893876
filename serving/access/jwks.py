"""The public keys of an identity provider (RFC 7517), from an address or a file, kept for a while and read anew.

Keys rotate: a token whose key isn't known makes the keys be read again at once, but not more often than every
:data:`FORCED_SECONDS`, so that made-up tokens can't make this service call the provider at will. A key that the provider
withdrew is refused when the keys have been kept for ``jwks_seconds``. While the provider can't be reached, the keys
already read go on counting for :data:`STALE_SECONDS`, and it is asked again every :data:`RETRY_SECONDS`.

One thread at a time asks the provider; meanwhile the others go on with the keys that are known.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from headwater.errors import ConfigError
from serving.access.hosts import is_loopback
from serving.access.settings import OidcSettings

LOG = logging.getLogger("headwater.serving")

FORCED_SECONDS = 10.0
STALE_SECONDS = 3600.0
RETRY_SECONDS = 10.0
"""From a failure to the next attempt. It is :data:`RETRY_SOON_SECONDS` where no keys are known: then nobody gets in."""

RETRY_SOON_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0
"""For a connection, for each read, and for a whole response."""

WAIT_SECONDS = 2.0
"""How long a token with an unknown key waits while another thread asks the provider."""

MAX_WAITING = 8
"""Tokens with unknown keys that wait at once; anybody can make one up, and each holds a thread."""

MAX_BYTES = 512 * 1024
"""A provider has a handful of keys of a few hundred bytes each."""


class KeysUnavailable(Exception):
    """The provider's keys can't be read; the message says what is wrong with the place that they should come from."""


class ProviderKeys:
    """The keys of one provider. Thread-safe; ``clock`` gives seconds. Raises ConfigError for an address that won't do."""

    def __init__(self, settings: OidcSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: list[jwt.PyJWK] | None = None
        self._read_at = float("-inf")
        self._failed_at = float("-inf")
        self._forced_at = float("-inf")
        self._reading: threading.Event | None = None
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        if settings.jwks is None:
            _check_address(settings.issuer, "the issuer, which has no `jwks` beside it,")
        elif "://" in settings.jwks:
            _check_address(settings.jwks, "jwks")

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key of this id for this algorithm, None when the provider has none.

        A token without a key id gets the only key for the algorithm, if there is only one. Raises KeysUnavailable.
        """
        self._refresh(forced=False)
        found = self._pick(kid, algorithm)
        if found is None:
            self._refresh(forced=True)
            found = self._pick(kid, algorithm)
        return found

    def _pick(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [
            key
            for key in self._keys or ()
            if key.algorithm_name == algorithm and key.public_key_use in (None, "sig") and kid in (None, key.key_id)
        ]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None

    def _refresh(self, *, forced: bool) -> None:
        """Read the keys when they are old, or a token's key is not among them (``forced``), and nobody else is at it."""
        with self._lock:
            moment = self._clock()
            if moment - self._read_at > self._settings.jwks_seconds + STALE_SECONDS:
                self._keys = None
            reading = self._reading
            if reading is None:
                if not self._is_due(moment, forced):
                    return
                if forced:
                    self._forced_at = moment
                mine = self._reading = threading.Event()
            elif self._keys is not None and not forced:
                return
        if reading is not None:
            self._wait(reading, forced)
            return
        try:
            self._read()
        finally:
            with self._lock:
                self._reading = None
            mine.set()

    def _is_due(self, moment: float, forced: bool) -> bool:
        """Say whether the provider is to be asked now; KeysUnavailable when there are no keys and it is too early."""
        if self._keys is None:
            if moment - self._failed_at < RETRY_SOON_SECONDS:
                raise KeysUnavailable("The identity provider's keys could not be read a moment ago.")
            return True
        if moment - self._failed_at < RETRY_SECONDS:
            return False
        if forced:
            return moment - self._forced_at > FORCED_SECONDS
        return moment - self._read_at > self._settings.jwks_seconds

    def _wait(self, reading: threading.Event, forced: bool) -> None:
        """Wait for the thread that asks the provider; KeysUnavailable when it gets no keys, or takes too long."""
        free = not forced or self._waiting.acquire(blocking=False)
        try:
            if not (free and reading.wait(WAIT_SECONDS)) or self._keys is None:
                raise KeysUnavailable("The identity provider's keys are being read.")
        finally:
            if forced and free:
                self._waiting.release()

    def _read(self) -> None:
        """Read the keys; keep the old ones when that fails."""
        try:
            keys = _parse(self._fetch())
        except KeysUnavailable as error:
            LOG.error("the identity provider's keys can't be read", extra={"fields": {"problem": str(error)}})
            with self._lock:
                self._failed_at = self._clock()
                if self._keys is None:
                    raise
            return
        with self._lock:
            self._keys, self._read_at = keys, self._clock()

    def _fetch(self) -> Any:
        place = self._settings.jwks
        if place is None:
            issuer = self._settings.issuer
            found = _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            if not isinstance(found, dict) or found.get("issuer") != issuer:
                raise KeysUnavailable(f"The openid-configuration of {issuer} is of another issuer; check its spelling.")
            place = found.get("jwks_uri")
            if not isinstance(place, str) or not _is_trustworthy(place):
                raise KeysUnavailable(f"The openid-configuration of {issuer} names no jwks_uri with https.")
        if "://" in place:
            return _get(place)
        try:
            return json.loads(Path(place).read_bytes())
        except (OSError, ValueError) as error:
            raise KeysUnavailable(f"{place} can't be read as JSON ({type(error).__name__}).") from error


def _parse(document: Any) -> list[jwt.PyJWK]:
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise KeysUnavailable("There is no list under `keys`: that is no JSON Web Key Set.")
    keys = []
    for item in listed:
        # A shared secret has no place in a set of public keys, and would let its readers sign.
        if not isinstance(item, dict) or item.get("kty") not in ("RSA", "EC", "OKP") or "d" in item:
            continue
        try:
            keys.append(jwt.PyJWK(item))
        except jwt.PyJWTError:  # a kind of key that this service doesn't accept
            continue
    if not keys:
        raise KeysUnavailable("The JSON Web Key Set has no public key that can be used.")
    return keys


def _get(url: str) -> Any:
    here = is_loopback(urlsplit(url).hostname or "")
    until = time.monotonic() + TIMEOUT_SECONDS
    try:
        # No redirects: they would lead past the check of the address. No proxy for what is on this machine.
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=not here) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != 200:
                raise KeysUnavailable(f"{url} answers with status {response.status_code} instead of 200.")
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise KeysUnavailable(f"{url} sends more than {MAX_BYTES} bytes.")
                if time.monotonic() > until:
                    raise KeysUnavailable(f"{url} takes longer than {TIMEOUT_SECONDS:g} s.")
        return json.loads(bytes(body))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise KeysUnavailable(f"{url} can't be reached ({type(error).__name__}).") from error
    except ValueError as error:
        raise KeysUnavailable(f"{url} sends no JSON.") from error


def _is_trustworthy(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    )


def _check_address(url: str, what: str) -> None:
    if not _is_trustworthy(url):
        raise ConfigError(
            f"serving.oidc: {what} must be an https address (http on this machine only): whoever can change the keys "
            "on their way can sign in as anybody."
        )
