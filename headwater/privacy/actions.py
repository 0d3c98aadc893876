"""What is written in place of a finding, with or without a key.

Keyed actions derive one key each from the secret that the policy's environment variable holds, for one corpus (HKDF,
RFC 5869), so that the tokens of two corpora say nothing about one another. All of them are deterministic: a rebuild
of a corpus gives the same text, and equal values can be told to be equal, which is what a keyed token is for.

* ``hash``: HMAC-SHA-256, cut to 64 bits. An unkeyed hash of a phone number is undone by trying all of them.
* ``pseudonym``: a readable name with 60 bits of an HMAC of the value without regard to case and spacing. Two different
  values out of a million get the same one with a probability of 4e-7, so none are merged unnoticed.
* ``encrypt``: AES-SIV (RFC 5297), deterministic authenticated encryption; corpus and entity are authenticated with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from headwater.errors import ConfigError, HeadwaterError
from headwater.privacy.entities import KEYED, Action, action_for, chosen_entities

if TYPE_CHECKING:
    from headwater.policies import PrivacyPolicy

LEAST_SECRET = 16
"""Characters of a secret."""

_HASH_BYTES = 8
_PSEUDONYM_CHARACTERS = 12  # 5 bits each

TOKEN = re.compile(r"<([A-Z][A-Z0-9_]*):([A-Za-z0-9_-]{22,})>")
"""What ``encrypt`` writes: the entity, and the cipher text in URL-safe base64 without padding."""

WRITTEN = re.compile(r"<[A-Z][A-Z0-9_]*(?::[A-Za-z0-9_#-]+)?>|\b[A-Z][A-Za-z0-9]*-[a-z2-7]{12}\b")
"""Everything that an action other than ``mask`` writes in place of a finding."""


class Writer:
    """Writes what the policy puts in place of findings, for one corpus.

    Raises ConfigError when an action that the policy can apply needs a key and there is none.
    """

    def __init__(self, policy: PrivacyPolicy, corpus: str = "") -> None:
        self._policy = policy
        self._corpus = corpus
        self._keys = _keys(secret_of(policy), corpus) if needs_key(policy) else None

    def action(self, entity: str) -> Action:
        """Return what is done with findings of ``entity``."""
        policy = self._policy
        return action_for(entity, policy.actions, policy.default_action, policy.profile)

    def write(self, value: str, entity: str) -> str:
        """Return what is written in place of ``value``; for ``keep`` and ``reject_document`` that is ``<ENTITY>``."""
        action = self.action(entity)
        if action == "mask":
            return "*" * len(value)
        if action in KEYED:
            assert self._keys is not None
            if action == "hash":
                return f"<{entity}:#{_mac(self._keys['hash'], entity, value)[:_HASH_BYTES].hex()}>"
            if action == "pseudonym":
                plain = " ".join(value.casefold().split())
                digest = base64.b32encode(_mac(self._keys["pseudonym"], entity, plain)).decode().lower()
                return f"{''.join(map(str.title, entity.split('_')))}-{digest[:_PSEUDONYM_CHARACTERS]}"
            sealed = _cipher(self._keys["encrypt"]).encrypt(value.encode(), [self._corpus.encode(), entity.encode()])
            return f"<{entity}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}>"
        return f"<{entity}>"


def reveal(token: str, policy: PrivacyPolicy, corpus: str) -> tuple[str, str]:
    """Return the entity and the value of a token that ``encrypt`` wrote in this corpus.

    Raises ConfigError without the key, HeadwaterError for what is no such token or was written with another key.
    """
    from cryptography.exceptions import InvalidTag

    match = TOKEN.fullmatch(token.strip())
    if match is None:
        raise HeadwaterError("That is no token of the action encrypt: it should look like <IBAN_CODE:Zm9v...>.")
    entity, coded = match.groups()
    cipher = _cipher(_keys(secret_of(policy), corpus)["encrypt"])
    try:
        sealed = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        return entity, cipher.decrypt(sealed, [corpus.encode(), entity.encode()]).decode()
    except (InvalidTag, ValueError):
        message = f"The token was not written in corpus {corpus!r} with the key in {policy.key_env}, or it was changed."
        raise HeadwaterError(message) from None


def needs_key(policy: PrivacyPolicy) -> bool:
    """Return whether the policy can apply an action that needs a key."""
    return policy.enabled and not KEYED.isdisjoint(_possible(policy))


def _possible(policy: PrivacyPolicy) -> set[Action]:
    entities = chosen_entities(policy.entities, policy.countries, policy.own_entities)
    return {action_for(name, policy.actions, policy.default_action, policy.profile) for name in entities}


def can_reject(policy: PrivacyPolicy) -> bool:
    """Return whether the policy can keep a whole document out."""
    return policy.enabled and "reject_document" in _possible(policy)


def key_fingerprint(policy: PrivacyPolicy, corpus: str) -> str | None:
    """Return what tells one key from another without telling anything of it; None where none is needed.

    Raises ConfigError when the key is missing.
    """
    return _keys(secret_of(policy), corpus)["fingerprint"].hex()[:16] if needs_key(policy) else None


def secret_of(policy: PrivacyPolicy) -> str:
    """Return the secret. Raises ConfigError when the environment variable is not set, or too short to be a secret."""
    secret = os.environ.get(policy.key_env, "")
    if len(secret) < LEAST_SECRET:
        what = f"is shorter than {LEAST_SECRET} characters" if secret else "is not set"
        raise ConfigError(
            f"privacy.key_env: the environment variable {policy.key_env} {what}, and the actions hash, pseudonym and "
            "encrypt need the secret in it. Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return secret


@cache
def _keys(secret: str, corpus: str) -> Mapping[str, bytes]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    def derive(purpose: str, length: int) -> bytes:
        info = f"headwater privacy {purpose}".encode()
        return HKDF(hashes.SHA256(), length, salt=corpus.encode(), info=info).derive(secret.encode())

    lengths = {"hash": 32, "pseudonym": 32, "encrypt": 64, "fingerprint": 32}
    return {purpose: derive(purpose, length) for purpose, length in lengths.items()}


def _mac(key: bytes, entity: str, value: str) -> bytes:
    return hmac.new(key, f"{entity}\0{value}".encode(), hashlib.sha256).digest()


@cache
def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(key)
