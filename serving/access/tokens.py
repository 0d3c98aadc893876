"""Tokens of an identity provider (OpenID Connect, RFC 7519): checked, and read as an identity with groups and scopes.

What is accepted follows RFC 8725: pinned algorithms of public keys alone, issuer and audience required, an expiry
required, keys from the configured place and never from the token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from headwater.api_keys import SCOPES, Scope
from serving.access.callers import Identity
from serving.access.jwks import ProviderKeys
from serving.access.settings import AccessSettings, OidcSettings

LOG = logging.getLogger("headwater.serving")

MAX_TOKEN = 16 * 1024
"""Characters of a token; with some hundreds of groups it has a few thousand."""

_MAX_SUBJECT = 200


class InvalidToken(Exception):
    """A token that isn't accepted. The message says why, for the caller; it never repeats the token or its claims."""


class ProviderTokens:
    """Reads the tokens of the configured provider. Thread-safe."""

    def __init__(self, settings: AccessSettings, oidc: OidcSettings, *, clock: Callable[[], float] = time.monotonic):
        self._oidc = oidc
        self._limits = settings.limits
        self._keys = ProviderKeys(oidc, clock=clock)

    def identity(self, token: str) -> tuple[Identity, float]:
        """Return whose token it is, and when it expires (seconds since 1970).

        Raises InvalidToken, and KeysUnavailable when the provider's keys can't be read.
        """
        claims = self._claims(token)
        subject = str(claims["sub"])
        if not subject or not subject.isprintable() or len(subject) > _MAX_SUBJECT:
            raise InvalidToken(f"The token's sub is not 1 to {_MAX_SUBJECT} printable characters.")
        found = Identity(
            id=f"oidc:{subject}",
            scopes=frozenset(self._oidc.scopes) | self._scopes(claims),
            groups=self._groups(claims),
            limits=self._limits,
        )
        return found, float(claims["exp"]) + self._oidc.leeway_seconds

    def _claims(self, token: str) -> Mapping[str, Any]:
        oidc = self._oidc
        if len(token) > MAX_TOKEN:
            raise InvalidToken(f"The token is longer than {MAX_TOKEN} characters.")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in oidc.algorithms:
                accepted = ", ".join(oidc.algorithms)
                raise InvalidToken(f"The token is signed with an algorithm that isn't accepted (accepted: {accepted}).")
            key = self._keys.find(kid, algorithm)
            if key is None:
                raise InvalidToken("The token is signed with a key that the identity provider doesn't list.")
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=oidc.audience,
                issuer=oidc.issuer,
                leeway=oidc.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The token has expired.") from None
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
            raise InvalidToken("The token isn't valid yet; do the clocks agree?") from None
        except jwt.InvalidAudienceError:
            raise InvalidToken("The token is for another audience than this service.") from None
        except jwt.InvalidIssuerError:
            raise InvalidToken("The token is of another issuer than the one this service trusts.") from None
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(f"The token lacks the claim {error.claim}.") from None
        except jwt.InvalidSignatureError:
            raise InvalidToken("The token's signature is wrong.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise InvalidToken("The token is malformed.") from None

    def _groups(self, claims: Mapping[str, Any]) -> frozenset[str]:
        found = _at(claims, self._oidc.groups_claim)
        if found is None:
            return frozenset()
        listed = [found] if isinstance(found, str) else found
        names = [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else None
        if names is None or len(names) < len(listed):
            LOG.error("a token's groups are no list of names", extra={"fields": {"claim": self._oidc.groups_claim}})
            raise InvalidToken(f"The token's claim {self._oidc.groups_claim} is not a list of group names.")
        called = self._oidc.group_names
        return frozenset(called.get(name, name) for name in names)

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        if self._oidc.scopes_claim is None:
            return frozenset()
        found = _at(claims, self._oidc.scopes_claim)
        names = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        return frozenset(scope for scope in SCOPES if f"{self._oidc.scope_prefix}{scope}" in names)


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, which may have dots in it (a URL), or else by its path; None where there is none."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
