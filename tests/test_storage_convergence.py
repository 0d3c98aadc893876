"""The convergence machine on the stores of a cluster: bucket and lake in S3, the ledger in PostgreSQL.

What they made of a sequence is compared with a rebuild on the default stores. ``HEADWATER_SERVER_SEQUENCES`` says how
many sequences are played; the default is what CI plays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.convergence import Bucket
from tests.object_store import new_bucket, s3_client
from tests.postgres import database
from tests.test_convergence import Convergence, play

SEQUENCES = int(os.environ.get("HEADWATER_SERVER_SEQUENCES", "4"))


class ServerBucket(Bucket):
    """A project whose corpus reads an S3 bucket; what is made of it is on servers, but for a rebuild."""

    postgres: str
    """The server that every project has a database on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.name = new_bucket()
        self._client = s3_client()
        self._databases = ExitStack()
        self._ledger = self._databases.enter_context(database(self.postgres))

    @property
    def uri(self) -> str:
        return f"s3://{self.name}/documents"

    def environment(self, home: Path) -> dict[str, str]:
        if home.name == "anew":
            return {"HEADWATER_HOME": str(home), "HEADWATER_LAKE": "", "HEADWATER_LEDGER_URL": ""}
        where = {"HEADWATER_LAKE": f"s3://{self.name}/lake", "HEADWATER_LEDGER_URL": self._ledger}
        return {"HEADWATER_HOME": str(home), **where}

    def write(self, key: str, text: str) -> None:
        self._client.put_object(Bucket=self.name, Key=f"documents/{key}", Body=text.encode())

    def stamp(self, key: str, number: int) -> None:
        """The ETag is of the content, so time does not matter."""

    def read(self, key: str) -> str:
        body = self._client.get_object(Bucket=self.name, Key=f"documents/{key}")["Body"]
        return str(body.read().decode())

    def rename(self, key: str, to: str) -> None:
        if to != key:
            self.write(to, self.read(key))
            self._delete(key)

    def delete(self, key: str) -> None:
        self._delete(key)
        self._delete(f"{key}.acl.json")

    def permit(self, key: str, groups: list[str] | None) -> None:
        if groups is None:
            self._delete(f"{key}.acl.json")
        else:
            self.write(f"{key}.acl.json", json.dumps({"groups": groups}))

    def keys(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self.name, Prefix="documents/").get("Contents", ())
        keys = (entry["Key"].removeprefix("documents/") for entry in found)
        return sorted(key for key in keys if not key.endswith(".acl.json"))

    def close(self) -> None:
        self._databases.close()

    def _delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=f"documents/{key}")


class ServerConvergence(Convergence):
    """The machine on servers."""

    make_bucket = ServerBucket

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            assert isinstance(self.bucket, ServerBucket)
            self.bucket.close()


@pytest.fixture
def servers(postgres_server: str, s3: str) -> Iterator[None]:
    ServerBucket.postgres = postgres_server
    yield


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_on_servers_after_any_sequence_the_next_reindex_equals_a_rebuild(servers: None, tmp_path: Path) -> None:
    play(tmp_path / "cache", SEQUENCES, ServerConvergence)
