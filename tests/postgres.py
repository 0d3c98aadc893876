"""A PostgreSQL server of one's own, of Debian's package, and a database in it for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

GIVEN = os.environ.get("HEADWATER_TEST_POSTGRES_URL")
"""A server to use instead, as an account that may create databases."""

_START_SECONDS = 60
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60")
"""Nothing of it outlives the tests, so nothing has to reach a disk."""


def binaries() -> Path | None:
    """Return the folder of initdb and postgres (Debian keeps them out of PATH), None where there are none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return folders[-1].parent if folders else None


def _other_user() -> dict[str, object]:
    """Return what starts a process as the server's own user where this one is root, as whom it refuses to run."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def server() -> Iterator[str]:
    """Run a server on a socket in a new folder, where no port can be taken; give the URL of its first database."""
    there = binaries()
    assert there is not None
    # Not in pytest's own folder, which other users can't enter.
    folder = Path(tempfile.mkdtemp(prefix="headwater-postgres-"))
    process = None
    try:
        if _other_user():
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        setup = [there / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
        subprocess.run(setup, check=True, capture_output=True, cwd=folder, **_other_user())  # type: ignore[call-overload]
        options = [word for setting in ("listen_addresses=", *_QUICK) for word in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [there / "postgres", "-D", data, "-k", folder, *options],
                stdout=log,
                stderr=log,
                cwd=folder,
                **_other_user(),  # type: ignore[call-overload]
            )
        url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
        _wait(url, process, folder / "log")
        yield url
    finally:
        if process is not None:
            process.terminate()  # no new connections, and an end once those there are have closed
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with closing(sa.create_engine(url, poolclass=sa.NullPool).connect()):
                return
        except sa.exc.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start: {log.read_text()[-1000:]}") from None
            time.sleep(0.05)


@contextmanager
def database(url: str) -> Iterator[str]:
    """Give the URL of a new, empty database on the server of ``url``."""
    name = f"headwater_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    try:
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The server of this test process, started when the first test asks for it."""
    if GIVEN:
        yield GIVEN
        return
    if binaries() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed: make postgres")
        pytest.skip("Debian's postgresql is not installed (make postgres)")
    with server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database."""
    with database(postgres_server) as url:
        yield url
