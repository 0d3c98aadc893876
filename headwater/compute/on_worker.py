"""What runs on the machines of a Ray cluster.

A batch still runs in a process of its own under the stage's limits, below the Ray worker that took it: what it may do to
itself (crash, hang, take too much memory) is found and contained there, exactly as on a single machine.
"""

from __future__ import annotations

import atexit
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from headwater import pool
from headwater.compute.sameness import Installation, check_same
from headwater.costs import tree_cpu_seconds
from headwater.errors import ConfigError, HeadwaterError

if TYPE_CHECKING:
    from headwater.embedding.contract import EmbeddingModel


@dataclass(frozen=True, slots=True)
class Done:
    """What a task or a call of an actor sends back: its result, and the CPU seconds that it took with all processes below.

    What Ray itself and the start of its workers took is no part of them.
    """

    result: Any
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """An error that stops the run: it is no batch's fault. ``node`` is the machine that had it."""

    node: str
    error: HeadwaterError

    def raised(self) -> HeadwaterError:
        """Return the error with its machine."""
        kind = ConfigError if isinstance(self.error, ConfigError) else HeadwaterError
        return kind(f"On the Ray node {self.node}: {self.error}")


@dataclass(frozen=True, slots=True)
class Started:
    """An embedding model that is loaded: on which machine, on what device, and what it is."""

    node: str
    device: str
    number_format: str
    dimensions: int
    max_tokens: int


def guarded(work: Callable[[], Any]) -> bytes:
    """Return the pickled :class:`Done` of ``work``; its result is a :class:`Stop` when a HeadwaterError was raised.

    Bytes, because the caller of a Ray task gets a copy of them: an array would stay in the object store as long as
    somebody holds it.
    """
    began = tree_cpu_seconds()
    try:
        result = work()
    except HeadwaterError as error:
        result = Stop(socket.gethostname(), error.with_traceback(None))
    # A process that could not be waited for takes its seconds along.
    used = max(tree_cpu_seconds() - began, 0.0)
    return pickle.dumps(Done(result, used), protocol=pickle.HIGHEST_PROTOCOL)


def run_batch(setup: bytes, batch: bytes, limit: float | None, expected: bytes) -> bytes:
    """Run one batch in a worker process of this machine; a Ray task.

    ``setup`` is (function, arguments, memory in MiB, preparation) of a :class:`headwater.pool.WorkerPool`, ``limit`` the
    batch's wall-clock limit in seconds, ``expected`` the :class:`Installation` of the run; all pickled. Returns a
    pickled :class:`Done` of the result, a WorkerFailure or a :class:`Stop`.
    """

    def work() -> Any:
        _checked(expected)
        [(_, outcome)] = _workers(setup).map([pickle.loads(batch)], limit)
        return outcome

    return guarded(work)


@lru_cache(maxsize=8)
def _checked(expected: bytes) -> None:
    found: Installation = pickle.loads(expected)
    check_same(found)


_kept: tuple[tuple[bytes, dict[str, str]], pool.WorkerPool] | None = None


def _workers(setup: bytes) -> pool.WorkerPool:
    """Return the pool of a stage, whose process and what it loaded stay for the next batch.

    Of one stage only: a machine has one Ray worker per processor, and memory for so many.
    """
    global _kept
    wanted = setup, pool.credentials()
    if _kept is None or _kept[0] != wanted:
        close_workers()
        function, arguments, memory_mb, prepare = pickle.loads(setup)
        _kept = wanted, pool.WorkerPool(function, *arguments, workers=1, memory_mb=memory_mb, prepare=prepare)
    return _kept[1]


@atexit.register
def close_workers() -> None:
    """End the process that is kept."""
    global _kept
    if _kept is not None:
        _kept[1].close()
        _kept = None


class EmbeddingActor:
    """One copy of the embedding model on a machine of the cluster; a Ray actor."""

    def __init__(self, policy: str, fingerprint: str, device: str, expected: bytes) -> None:
        self._policy, self._fingerprint, self._device, self._expected = policy, fingerprint, device, expected

    def start(self) -> bytes:
        """Load the model; returns a pickled :class:`Done` of a :class:`Started` or a :class:`Stop`."""

        def work() -> Started:
            model = self._model()
            return Started(
                socket.gethostname(),
                getattr(model, "device", self._device),
                getattr(model, "number_format", ""),
                model.dimensions,
                model.max_tokens,
            )

        return guarded(work)

    def embed(self, message: bytes) -> bytes:
        """Embed pickled (texts, token ids or None); returns, as above, :class:`headwater.embedding.Vectors`."""
        return guarded(lambda: self._model().try_documents(*pickle.loads(message)))

    def queries(self, message: bytes) -> bytes:
        """Embed pickled queries; returns, as above, an array of vectors."""
        return guarded(lambda: self._model().encode_queries(pickle.loads(message)))

    def _model(self) -> EmbeddingModel:
        _checked(self._expected)
        from headwater.embedding import open_embedder
        from headwater.policies import EmbedPolicy

        policy = EmbedPolicy.model_validate_json(self._policy).model_copy(update={"device": self._device})
        model = open_embedder(policy)
        if model.fingerprint != self._fingerprint:
            raise ConfigError(
                "embed.model is another model than where the run is: its files differ. Give the node the same ones."
            )
        return model
