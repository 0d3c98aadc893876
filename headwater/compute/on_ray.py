"""Computing on a Ray cluster: batches of rows as tasks, the embedding model as actors."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headwater.compute.cluster import LOOK_SECONDS, Cluster, Request, require_ray
from headwater.compute.contract import Embedding
from headwater.compute.on_worker import run_batch
from headwater.compute.sameness import installation
from headwater.pool import Timeout, WorkerFailure
from headwater.source.store import local_folder

if TYPE_CHECKING:
    from headwater.embedding.contract import EmbeddingModel
    from headwater.policies import CorpusPolicy, EmbedPolicy

LOG = logging.getLogger("headwater.compute")


class RayCompute:
    """The Ray cluster that a corpus' ``compute`` names.

    Raises ConfigError when Ray is not installed; when the cluster can't be reached, at the first work for it.
    """

    takes_all = True

    def __init__(self, policy: CorpusPolicy) -> None:
        require_ray()
        self._policy = policy
        self.cluster = Cluster(policy.compute)

    @cached_property
    def _expected(self) -> bytes:
        """How the workers have to be set up: like this process."""
        from headwater.privacy.actions import needs_key

        policy = self._policy
        names = [*policy.parse.passwords, *([policy.privacy.key_env] if needs_key(policy.privacy) else [])]
        folder = local_folder(policy.source.uri)
        return pickle.dumps(installation(names, str(folder) if folder is not None else None))

    def batches(
        self, function: str, *args: Any, workers: int | None, memory_mb: int | None, prepare: str | None
    ) -> RayBatches:
        """Return a map over the cluster; ``workers`` says nothing there, the policy's reservations do."""
        setup = pickle.dumps((function, args, memory_mb, prepare))
        return RayBatches(self.cluster, setup, self._expected)

    def start_ahead(self, function: str, *args: Any, memory_mb: int | None, prepare: str | None) -> None:
        """Do nothing: the first batches start what they need, and a node may yet have to be started for them."""

    def let_go(self, function: str, *args: Any, memory_mb: int | None, prepare: str | None) -> None:
        """Do nothing: the next stage's batches make way for themselves."""

    @contextmanager
    def embedding(
        self, policy: EmbedPolicy, fingerprint: str, here: Callable[[], EmbeddingModel]
    ) -> Iterator[Embedding]:
        """Give the actors, which start with the first text to embed; an endpoint is asked from here."""
        if policy.url is not None or self._policy.compute.actors == 0:
            yield Embedding(here)
            return
        from headwater.compute.embedding import BATCHES_PER_ACTOR, RayEmbedder

        embedder = RayEmbedder(self.cluster, policy, fingerprint, self._expected)
        try:
            yield Embedding(embedder.started, self._policy.compute.actors * BATCHES_PER_ACTOR)
        finally:
            embedder.close()


@dataclass(slots=True)
class _Sent:
    """A batch that is out: its number, its bytes, its limit, and how often it was sent."""

    index: int
    message: bytes
    limit: float | None
    attempts: int = 0


class RayBatches:
    """One function over batches, each a Ray task that runs it in a worker process of the node that takes it.

    A batch whose node or Ray worker is lost is sent again, ``retries`` times; then the run stops with HeadwaterError,
    because a broken cluster must not put good documents into quarantine. What a batch does to its own process is a
    WorkerFailure, as in :class:`headwater.pool.WorkerPool`.
    """

    def __init__(self, cluster: Cluster, setup: bytes, expected: bytes) -> None:
        self._cluster = cluster
        self._setup = setup
        self._expected = expected
        policy = cluster.policy
        memory = (policy.memory_per_task_mb or 0) * 2**20
        self._request: Request = {"CPU": policy.cpus_per_task, "memory": float(memory)}

    def __enter__(self) -> RayBatches:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is left to close: :meth:`map` ends what it started."""

    def map(self, batches: Iterable[Any], timeout: Timeout = None) -> Iterator[tuple[int, Any | WorkerFailure]]:
        """Yield ``(index of the batch, result or WorkerFailure)`` as batches complete.

        At most ``in_flight`` batches of together ``in_flight_mb`` are out at a time; a result counts as out until the
        caller has taken it.
        """
        source = enumerate(batches)
        out: dict[Any, _Sent] = {}
        most = self._cluster.policy.in_flight_mb * 2**20
        exhausted = False
        try:
            while True:
                while not exhausted and self._has_room(out, most):
                    try:
                        index, batch = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    message = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
                    self._send(out, _Sent(index, message, timeout(batch) if callable(timeout) else timeout))
                    del batch
                if not out:
                    return
                ready = self._cluster.wait(list(out), LOOK_SECONDS)
                if not ready:
                    self._cluster.check_room(self._request, "a batch")
                for reference in ready:
                    sent = out.pop(reference)
                    outcome = self._outcome(reference, sent)
                    del reference, ready
                    if outcome is _AGAIN:
                        self._send(out, sent)
                    else:
                        yield sent.index, outcome
        finally:
            for reference in out:
                with suppress(Exception):  # it may be the connection that ended the run
                    self._cluster.ray.cancel(reference, force=True)

    def _has_room(self, out: dict[Any, _Sent], most: int) -> bool:
        if not out:
            return True
        limit = self._cluster.policy.in_flight or 2 * max(1, self._cluster.room(self._request))
        return len(out) < limit and sum(len(sent.message) for sent in out.values()) < most

    def _send(self, out: dict[Any, _Sent], sent: _Sent) -> None:
        sent.attempts += 1
        out[self._task.remote(self._setup, sent.message, sent.limit, self._expected)] = sent

    @cached_property
    def _task(self) -> Any:
        # Ray's own retries stay off: it would try for ever what ran out of memory, and say nothing of it.
        return self._cluster.ray.remote(run_batch).options(
            name="headwater batch",
            num_cpus=self._request["CPU"],
            memory=int(self._request["memory"]) or None,
            max_retries=0,
            scheduling_strategy="SPREAD",
        )

    def _outcome(self, reference: Any, sent: _Sent) -> Any:
        from ray import exceptions

        try:
            return self._cluster.result(reference)
        except exceptions.RayError as error:
            retries = self._cluster.policy.retries
            if sent.attempts <= retries:
                LOG.warning(
                    "The Ray cluster lost a batch (%s); sent again (%d of %d).",
                    type(error).__name__,
                    sent.attempts,
                    retries,
                )
                return _AGAIN
            if isinstance(error, exceptions.OutOfMemoryError):
                return WorkerFailure("memory", "its Ray worker was ended because the node ran out of memory")
            raise self._cluster.lost(error, "a batch", sent.attempts) from None


_AGAIN = object()
