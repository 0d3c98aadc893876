"""The Ray cluster: connecting to it, what its nodes can take, and what its failures mean.

A connection is made when there is work, one per process, and lasts as long as the process.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from headwater.compute.on_worker import Done, Stop
from headwater.costs import note
from headwater.errors import ConfigError, HeadwaterError
from headwater.policies import ComputePolicy

LOG = logging.getLogger("headwater.compute")

REACH_SECONDS = 10.0
"""How long a host may take to accept a connection. Ray itself tries for minutes, and then ends the process."""

LOOK_SECONDS = 2.0
"""How often the nodes are looked at while nothing comes back."""

_CLIENT_TRIES = 3
"""Each client is given a server of its own, which a busy cluster starts too late: seen twice in a row on four busy cores."""

Request = Mapping[str, float]
"""What one task or actor reserves: ``CPU``, ``GPU``, ``memory`` (bytes)."""

_lock = threading.Lock()
_connected: str | None = None
"""The address that this process connected to."""


class Cluster:
    """A Ray cluster as one policy describes it; connected to at the first use.

    Raises ConfigError, from whatever needs the connection, when Ray is not installed, nothing answers at the address, or
    another version of Ray or Python does.
    """

    def __init__(self, policy: ComputePolicy) -> None:
        self.policy = policy
        self._looked = float("-inf")
        self._nodes: list[Mapping[str, Any]] = []
        self._lacking_since: float | None = None

    @property
    def ray(self) -> Any:
        """The connected ``ray`` module."""
        connect(address_of(self.policy))
        import ray

        return ray

    def nodes(self) -> list[Mapping[str, Any]]:
        """Return the nodes that are up, as they were at most two seconds ago."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._nodes = [node for node in self.ray.nodes() if node["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    def room(self, request: Request) -> int:
        """Return how many such requests all nodes together can run at a time."""
        return sum(_room(node["Resources"], request) for node in self.nodes())

    def check_room(self, request: Request, what: str) -> None:
        """Raise ConfigError when, for ``wait_seconds`` of calls in a row, no node was large enough for ``request``."""
        if self.room(request):
            self._lacking_since = None
            return
        now = time.monotonic()
        if self._lacking_since is None:
            self._lacking_since = now
            LOG.warning("No node of the Ray cluster can take %s (%s); waiting for one.", what, _written(request))
        if now - self._lacking_since >= self.policy.wait_seconds:
            there = "; ".join(_written(node["Resources"]) for node in self.nodes()) or "none"
            raise ConfigError(
                f"No node of the Ray cluster at {self.where} can take {what}, which reserves {_written(request)}, and none "
                f"came up in compute.wait_seconds = {self.policy.wait_seconds:g}. The nodes have: {there}. Reserve less "
                "(compute.cpus_per_task, memory_per_task_mb, cpus_per_actor, gpus_per_actor), or add a larger node."
            )

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Return one of the references whose result is there, in a list; an empty one after so many seconds."""
        with self._connection():
            ready: list[Any] = self.ray.wait(list(references), num_returns=1, timeout=seconds)[0]
            return ready

    def result(self, reference: Any) -> Any:
        """Return a result that was pickled on a worker; waits for it. What it took there counts for the stage that is
        being measured.

        Raises what Ray does when it is lost, and the error itself when it is one that stops the run.
        """
        from ray.exceptions import RayTaskError, RuntimeEnvSetupError

        try:
            with self._connection():
                done: Done = pickle.loads(self.ray.get(reference))
        except (RayTaskError, RuntimeEnvSetupError) as error:
            raise self._broken(error) from None
        note(cpu_seconds=done.cpu_seconds)
        if isinstance(done.result, Stop):
            raise done.result.raised()
        return done.result

    @contextmanager
    def _connection(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise HeadwaterError(
                f"The connection to the Ray cluster at {self.where} was lost. Nothing was committed; run again when it is up."
            ) from error

    @property
    def where(self) -> str:
        """The address, for people."""
        return address_of(self.policy) or "this machine"

    def lost(self, error: Exception, what: str, attempts: int) -> HeadwaterError:
        """Return the error of work that the cluster lost again and again."""
        return HeadwaterError(
            f"The Ray cluster at {self.where} lost {what} {attempts} time{'s' * (attempts != 1)} ({type(error).__name__}). "
            "Nothing was committed. Look at its nodes (ray status; memory and disk of the workers), then run again; what "
            "may be lost more often is compute.retries."
        )

    def _broken(self, error: Exception) -> HeadwaterError:
        """Return the error of a worker that could not run our code at all; foreign messages are not repeated."""
        cause = getattr(error, "cause", None) or error
        name = type(cause).__name__
        missing = getattr(cause, "name", None)
        detail = f": no module {missing!r}" if isinstance(cause, ImportError) and missing else ""
        return ConfigError(
            f"A worker of the Ray cluster at {self.where} could not run a batch ({name}{detail}). Headwater must be "
            "installed on all its nodes: start them from the image that the run uses. The worker's log says more "
            "(ray logs)."
        )


def _room(resources: Mapping[str, float], request: Request) -> int:
    needed = {name: amount for name, amount in request.items() if amount}
    return int(min((resources.get(name, 0.0) / amount for name, amount in needed.items()), default=0))


def _written(resources: Mapping[str, float]) -> str:
    parts = [f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU") if resources.get(name)]
    memory = resources.get("memory")
    return ", ".join([*parts, f"{memory / 2**20:.0f} MiB memory"] if memory else parts) or "nothing"


def address_of(policy: ComputePolicy) -> str | None:
    """Return the address of the policy, else that of RAY_ADDRESS; None is a Ray on this machine."""
    return policy.address or os.environ.get("RAY_ADDRESS") or None


def require_ray() -> None:
    """Raise ConfigError, which says how to get it, when Ray is not installed."""
    if find_spec("ray") is None:
        raise ConfigError(
            "compute.engine is ray, but Ray is not installed. Install it with: pip install 'headwater[ray]', or set "
            "compute.engine: local."
        )


def connect(address: str | None) -> None:
    """Connect this process to the cluster at ``address``, once; None starts a Ray on this machine.

    A connection that this process has already made by other means is used as it is.
    """
    global _connected
    require_ray()
    import ray

    with _lock:
        if ray.is_initialized():
            if _connected is None or _connected == (address or "local"):
                return
            ray.shutdown()
        reach(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray that we start tells nobody of it
        handler = signal.getsignal(signal.SIGTERM)
        try:
            init: Any = ray.init
            if address is not None and address.startswith("ray://"):
                for tries_left in reversed(range(_CLIENT_TRIES)):
                    try:
                        init(address, logging_level=logging.WARNING)
                        break
                    except ConnectionAbortedError:
                        if not tries_left:
                            raise
                        ray.shutdown()
            else:
                # What workers print stays in their logs: libraries quote documents.
                quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.WARNING}
                init(address or "local", include_dashboard=False if address is None else None, **quiet)
        except Exception as error:
            with suppress(Exception):  # half a connection would be in the way of the next one
                ray.shutdown()
            raise _refused(address, f"{type(error).__name__}: {error}") from error
        finally:
            if threading.current_thread() is threading.main_thread():  # Ray puts its own in place
                signal.signal(signal.SIGTERM, handler)
        _connected = address or "local"


def reach(address: str | None) -> None:
    """Raise ConfigError when nothing accepts a connection at ``address``; of ``auto`` and None nothing is known."""
    if address is None or ":" not in address:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _refused(address, f"nothing answers there ({error})") from error


def _refused(address: str | None, why: str) -> ConfigError:
    import ray

    where = f"The Ray cluster at {address} (compute.address, or RAY_ADDRESS)" if address else "A Ray on this machine"
    return ConfigError(
        f"{where} can't be used: {why.splitlines()[0] if why else 'unknown'}. It must be up and reachable from here "
        "(ray://HOST:10001 from outside of it, HOST:6379 on one of its machines) and have the same versions as this "
        f"process: Ray {ray.__version__}, Python {platform.python_version()}. To go on without it, set "
        "compute.engine: local."
    )
