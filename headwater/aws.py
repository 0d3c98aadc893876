"""boto3 clients, which only those who use them need (``pip install 'headwater[sqs]'``)."""

from __future__ import annotations

import os
from typing import Any

from headwater.errors import ConfigError

_CONNECT_SECONDS, _ANSWER_SECONDS, _TRIES = 3, 10, 2
"""How long is waited for a server that does not answer; a sensor's tick has more to do."""


def client(service: str, purpose: str) -> Any:
    """Return a boto3 client; endpoint, region and credentials come from the environment.

    Raises ConfigError when boto3 is not installed; ``purpose`` says what it is needed for.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigError(f"{purpose} needs boto3, which is not installed: pip install 'headwater[sqs]'.") from error
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
    )
    # obstore reads AWS_REGION, boto3 does not.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return boto3.client(service, region_name=region, config=config)
