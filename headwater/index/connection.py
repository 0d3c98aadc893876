"""One Qdrant server: connecting to it, trying again when that may help, and saying what went wrong when not."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import ConfigError, HeadwaterError, ReleaseError
from headwater.policies import IndexPolicy

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

PROBE_SECONDS = 3
"""Limit of the look whether the server answers gRPC; a firewall that swallows the port must not stop anybody."""

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.2
"""Five attempts with doubling pauses bridge about three seconds: a restart of the server or a change of its leader."""

LONGEST_PAUSE_SECONDS = 30.0
"""Most that a server that limits its callers may ask for."""

MIN_VERSION = (1, 19)
"""Older servers take no corpus for the IDF, and would weigh terms by what other releases hold."""


ONCE = frozenset({"create_snapshot"})
"""Methods that are not tried again: each call makes another file, also where its answer was lost."""


class MissingCollectionError(ReleaseError):
    """The server has no such collection (any more)."""


class Connection:
    """Calls a client's methods by name; connects at the first one, and is safe to use from several threads."""

    def __init__(self, connect: Callable[[], QdrantClient], server: str) -> None:
        self.server = server
        self._connect = connect
        self._client: QdrantClient | None = None
        self._lock = threading.Lock()

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return what the client's ``method`` returns; it may be repeated without harm, or is in :data:`ONCE`.

        What is called with a ``timeout`` (in seconds) of its own is not tried again once that time is over.

        Raises MissingCollectionError when the server has no such collection, ReleaseError for everything else.
        """
        started = time.monotonic()
        for attempt in range(ATTEMPTS):
            try:
                return getattr(self._connected(), method)(*arguments, **named)
            except HeadwaterError:
                raise
            except Exception as error:  # the client raises httpx', gRPC's and its own errors
                if _is_missing(error):
                    raise MissingCollectionError(f"{self.server} has no such collection ({method})") from error
                transient = _is_transient(error)
                late = time.monotonic() - started >= named.get("timeout", float("inf"))
                if not transient or late or attempt == ATTEMPTS - 1 or method in ONCE:
                    raise self._failed(method, error, transient) from error
                pause = FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.75, 1.25)
                # A server that limits its callers says how long to stay away.
                asked = float(getattr(error, "retry_after_s", 0.0))
            time.sleep(max(pause, min(asked, LONGEST_PAUSE_SECONDS)))
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Let go of the client; the next call connects again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> QdrantClient:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _failed(self, method: str, error: Exception, transient: bool) -> ReleaseError:
        advice = (
            "Look whether it runs and can be reached, then try again"
            if transient
            else "Look at the server's log; if it asks for a key, set QDRANT_API_KEY"
        )
        return ReleaseError(f"{self.server}: {method} failed ({_brief(error)}). {advice}")


def connect_to(
    url: str, api_key: str | None, ca_file: str | None = None, policy: IndexPolicy = IndexPolicy()
) -> QdrantClient:
    """Connect to the server at ``url``, over gRPC when it answers on the policy's port.

    ``ca_file`` is a PEM file of the authorities that vouch for an https server, None for the system's. Raises ReleaseError for a server that is too old, and the client's own errors when none answers.
    """
    from qdrant_client import QdrantClient

    trust = _trust(ca_file)

    def client(prefer_grpc: bool, timeout: int) -> QdrantClient:
        return QdrantClient(
            url=url,
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            grpc_port=policy.grpc_port,
            timeout=timeout,
            check_compatibility=False,
            **trust,
        )

    rest = client(False, policy.timeout_seconds)
    version = rest.info().version
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < MIN_VERSION:
        wanted = ".".join(map(str, MIN_VERSION))
        raise ReleaseError(f"the Qdrant server at {url} is version {version}; Headwater needs {wanted} or later")
    probe = client(True, PROBE_SECONDS)
    try:
        probe.info()
    except Exception:  # whatever is wrong with gRPC, REST answers
        return rest
    finally:
        probe.close()
    rest.close()
    return client(True, policy.timeout_seconds)


def _trust(ca_file: str | None) -> dict[str, Any]:
    """Return the client's arguments that make it trust the authorities in a file, over REST and over gRPC."""
    import ssl

    if ca_file is None:
        return {}
    try:
        authorities = Path(ca_file).read_bytes()
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl's own errors are OSErrors, too
        raise ConfigError(
            f"QDRANT_CA_FILE: {ca_file} can't be read as certificates ({type(error).__name__})."
        ) from error
    return {"verify": context, "grpc_options": {"root_certificates": authorities}}


def _is_transient(error: Exception) -> bool:
    import grpc  # type: ignore[import-untyped]
    import httpx
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, ResourceExhaustedResponse):
        return True
    if isinstance(error, UnexpectedResponse):
        return error.status_code is not None and (error.status_code >= 500 or error.status_code == 429)
    if isinstance(error, grpc.RpcError):
        code = grpc.StatusCode
        return _grpc_code(error) in (code.UNAVAILABLE, code.DEADLINE_EXCEEDED, code.RESOURCE_EXHAUSTED)
    source = error.source if isinstance(error, ResponseHandlingException) else error
    return isinstance(source, httpx.TransportError)


def _is_missing(error: Exception) -> bool:
    import grpc
    from qdrant_client.http.exceptions import UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        return error.status_code == 404
    if isinstance(error, grpc.RpcError):
        return bool(_grpc_code(error) == grpc.StatusCode.NOT_FOUND)
    return isinstance(error, ValueError) and str(error).endswith("not found")  # the client's in-memory mode


def _grpc_code(error: Exception) -> Any:
    return error.code() if hasattr(error, "code") else None


def _brief(error: Exception) -> str:
    """Return the kind of error without what the server quotes of the request."""
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        return f"HTTP {error.status_code} {error.reason_phrase}".rstrip()
    code = _grpc_code(error)
    if code is not None:
        return f"gRPC {code.name}"
    return type(error.source if isinstance(error, ResponseHandlingException) else error).__name__
