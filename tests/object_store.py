"""A real S3 protocol server in a process of its own, and a bucket on it for each test.

Not in the tests' process, as that of :mod:`tests.s3` is: Delta holds Python's global lock during some of its requests,
so such a server could not answer them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

REGION = "eu-north-1"

_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def server(**environment: str) -> Iterator[str]:
    """Run a server in a process of its own, which ends with this one; give its URL."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of the server of this test process."""
    with server() as url:
        yield url


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket on that server, which the environment points at."""
    use_server(s3_server, monkeypatch)
    return new_bucket()


def new_bucket() -> str:
    """Make a bucket on the server that the environment points at; return its name."""
    name = f"headwater-{uuid.uuid4().hex[:12]}"
    s3_client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def use_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every S3 client at ``url``, by the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": url,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)


def s3_client() -> Any:
    """Return a client of the server that the environment points at."""
    import boto3

    return boto3.client("s3", region_name=REGION)
