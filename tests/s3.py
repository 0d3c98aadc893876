"""A real S3 and SQS protocol server in this process, for obstore and boto3 alike."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from tests.object_store import REGION, use_server


class Aws:
    """The server at ``url``; every test has its own buckets and queues."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.s3: Any = boto3.client("s3", region_name=REGION)
        self.sqs: Any = boto3.client("sqs", region_name=REGION)

    def bucket(self, name: str) -> str:
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def put(self, bucket: str, key: str, data: bytes | str = b"x") -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=data.encode() if isinstance(data, str) else data)

    def put_any(self, bucket: str, key: str, data: bytes = b"x") -> None:
        """Put an object under a key that the server's own HTTP front would rewrite, such as a//b."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, data)

    def delete(self, bucket: str, key: str) -> None:
        self.s3.delete_object(Bucket=bucket, Key=key)

    def queue(self, name: str) -> str:
        return str(self.sqs.create_queue(QueueName=name)["QueueUrl"])


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    use_server(url, monkeypatch)
    try:
        aws = Aws(url)
        boto3.client("s3", region_name=REGION)
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()
        yield aws
    finally:
        server.stop()
