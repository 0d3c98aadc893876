"""API keys of the HTTP service: who may call it, and what for. Secrets are stored as hashes alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from headwater.api_keys import KeyLimits, Scope, hash_secret, is_secret, key_text, new_key_id, new_secret
from headwater.errors import ConfigError, NotFoundError
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.schema import api_keys
from headwater.text_files import encodes


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. Times are UTC. ``corpora`` None is every corpus; ``last_used_at`` may lag by a minute.

    ``previous_until`` is when the secret from before the last rotation stops working, None when there is none.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    groups: tuple[str, ...]
    corpora: tuple[str, ...] | None
    limits: KeyLimits
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    previous_until: datetime | None
    last_used_at: datetime | None

    def works(self, at: datetime) -> bool:
        """Say whether the key is neither revoked nor expired at ``at``."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class ApiKeys(LedgerPart):
    """The API keys. Rows are never deleted, so that the audit log's ids keep their meaning."""

    def create_api_key(
        self,
        name: str,
        *,
        scopes: Collection[Scope],
        groups: Collection[str] = (),
        corpora: Collection[str] | None = None,
        limits: KeyLimits | None = None,
        expires_at: datetime | None = None,
        who: str,
    ) -> tuple[ApiKey, str]:
        """Return a new key and its text, which can't be had again.

        Raises ConfigError for a blank name, or one that a key which still works has, and for a group
        that is no text.
        """
        if not name.strip() or not name.isprintable() or len(name) > 200:
            raise ConfigError("A key needs a name: 1 to 200 printable characters, such as the application's.")
        if unreadable := [group for group in groups if not encodes(group)]:
            raise ConfigError(f"The group {unreadable[0]!r} is not UTF-8 text.")
        key_id, secret, moment = new_key_id(), new_secret(), datetime.now(UTC)
        with write(self._engine) as connection:
            if any(key.works(moment) for key in _select(connection, api_keys.c.name == name)):
                raise ConfigError(
                    f"There is a key named {name!r} already. Rotate or revoke it, or choose another name."
                )
            connection.execute(
                api_keys.insert().values(
                    id=key_id,
                    name=name,
                    secret=hash_secret(secret),
                    scopes=list(scopes),
                    groups=sorted(set(groups)),
                    corpora=None if corpora is None else sorted(set(corpora)),
                    limits=(limits or KeyLimits()).model_dump(mode="json"),
                    created_at=moment,
                    created_by=who,
                    expires_at=expires_at,
                )
            )
            (key,) = _select(connection, api_keys.c.id == key_id)
        return key, key_text(key_id, secret)

    def api_keys(self) -> list[ApiKey]:
        """Return every key that ever was, newest first."""
        with self._engine.connect() as connection:
            return _select(connection, sa.true())

    def has_api_keys(self) -> bool:
        """Say whether there ever was a key: from then on nobody is let in without one."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(api_keys.c.id).limit(1)).first() is not None

    def api_key_of(self, key_id: str, secret: str) -> ApiKey | None:
        """Return the key of this id if the secret is its own, or its previous one in the grace period, and it works."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
        if row is None:
            return None
        key, moment = _key(row), datetime.now(UTC)
        right = is_secret(secret, row["secret"])
        if not right and row["previous"] is not None and key.previous_until is not None:
            right = moment < key.previous_until and is_secret(secret, row["previous"])
        return key if right and key.works(moment) else None

    def rotate_api_key(self, name: str, *, grace: timedelta) -> tuple[ApiKey, str]:
        """Give a key (by id, or name) a new secret and return both; the old secret works until ``grace`` is over.

        Raises NotFoundError when no key of that id or name works.
        """
        secret = new_secret()
        with write(self._engine) as connection:
            key = _working(connection, name)
            old = connection.execute(sa.select(api_keys.c.secret).where(api_keys.c.id == key.id)).scalar_one()
            connection.execute(
                api_keys.update()
                .where(api_keys.c.id == key.id)
                .values(secret=hash_secret(secret), previous=old, previous_until=datetime.now(UTC) + grace)
            )
            (key,) = _select(connection, api_keys.c.id == key.id)
        return key, key_text(key.id, secret)

    def revoke_api_key(self, name: str) -> ApiKey:
        """End a key (by id, or name) for good; NotFoundError when no key of that id or name works."""
        with write(self._engine) as connection:
            key = _working(connection, name)
            connection.execute(
                api_keys.update()
                .where(api_keys.c.id == key.id)
                .values(revoked_at=datetime.now(UTC), previous=None, previous_until=None)
            )
            (key,) = _select(connection, api_keys.c.id == key.id)
        return key

    def note_api_key_use(self, used: Mapping[str, datetime]) -> None:
        """Note when keys (by id) were last used; an earlier time than the one noted changes nothing."""
        with write(self._engine) as connection:
            for key_id, at in used.items():
                older = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < at)
                connection.execute(api_keys.update().where(api_keys.c.id == key_id, older).values(last_used_at=at))


def _select(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[ApiKey]:
    query = sa.select(api_keys).where(where).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    return [_key(row) for row in connection.execute(query).mappings()]


def _key(row: sa.RowMapping) -> ApiKey:
    fields: dict[str, Any] = {name: row[name] for name in ApiKey.__dataclass_fields__}
    fields["limits"] = KeyLimits.model_validate(row["limits"])
    for name in ("scopes", "groups", "corpora"):
        fields[name] = None if row[name] is None else tuple(row[name])
    return ApiKey(**fields)


def _working(connection: sa.Connection, name: str) -> ApiKey:
    named = _select(connection, sa.or_(api_keys.c.id == name, api_keys.c.name == name))
    moment = datetime.now(UTC)
    for key in named:
        if key.works(moment):
            return key
    state = "it was revoked or has expired" if named else "see: headwater keys list"
    raise NotFoundError(f"There is no working key {name!r}; {state}.")
