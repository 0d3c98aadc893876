"""What ``headwater up`` asks a running endpoint, over HTTP."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

from headwater.errors import HeadwaterError

_ANSWER_SECONDS = 180
"""The first answer waits for the embedding model, which a cold disk gives slowly."""


class Endpoint:
    """A Headwater endpoint at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ready(self) -> bool:
        """Return whether the endpoint answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def ask(self, corpus: str, question: str) -> dict[str, Any]:
        """Return the answer to a question as the endpoint sends it. Raises HeadwaterError with what it says instead."""
        body = json.dumps({"corpus": corpus, "question": question}).encode()
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get("HEADWATER_API_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self.url}/v1/answer", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise HeadwaterError(f"The endpoint gave no answer: {_detail(error)}") from error
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            raise HeadwaterError(f"The endpoint at {self.url} gave no answer: {error}") from error


def _detail(error: urllib.error.HTTPError) -> str:
    """Return what the problem details (RFC 9457) of an error say."""
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
