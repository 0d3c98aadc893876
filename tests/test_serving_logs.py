"""The service's log: its own lines, and of the libraries below only what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SERVICE = """
import logging, sys
import boto3, httpx
from headwater.ledger import Ledger
from serving.json_lines import log_json_lines

log_json_lines(logging.INFO)
Ledger(sys.argv[1]).close()                                          # alembic tells of its migrations
httpx.get(f"{sys.argv[2]}/")                                         # httpx of every request
boto3.Session(region_name="eu-north-1").client("s3").list_buckets()  # botocore of where it found credentials
logging.getLogger("headwater.serving").info("ready")
logging.getLogger("botocore.credentials").warning("the credentials will soon expire")
"""


def test_libraries_log_warnings_into_the_service_log_and_nothing_of_what_went_well(
    tmp_path: Path, s3_server: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, f"sqlite:///{tmp_path}/ledger.db", s3_server],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": s3_server,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["logger"], line["level"], line["message"]) for line in lines] == [
        ("headwater.serving", "info", "ready"),
        ("botocore.credentials", "warning", "the credentials will soon expire"),
    ]
