"""The embedding model as actors of a Ray cluster, behind the contract of any embedding engine."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.compute.cluster import LOOK_SECONDS, Cluster, Request
from headwater.compute.on_worker import EmbeddingActor, Started
from headwater.embedding.contract import TokenIds, Vectors, Work, all_or_error, rates
from headwater.errors import HeadwaterError
from headwater.policies import EmbedPolicy

BATCHES_PER_ACTOR = 2
"""One is computed while the next one is on its way."""


class RayEmbedder:
    """A model on as many actors as the policy asks for. Safe to use from several threads.

    Work begins when the first actor is up; the others join in as they come. An actor whose node is lost is started
    elsewhere and its batch computed again, ``retries`` times.
    """

    def __init__(self, cluster: Cluster, policy: EmbedPolicy, fingerprint: str, expected: bytes) -> None:
        self.fingerprint = fingerprint
        self.dimensions = 0
        self.max_tokens = 0
        self.devices: tuple[str, ...] = ()
        """What one batch is computed on."""
        self._cluster = cluster
        self._policy = policy
        self._expected = expected
        self._lock = threading.Lock()
        self._actors: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._up: list[Started] = []
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._began: float | None = None
        settings = cluster.policy
        self._request: Request = {"CPU": settings.cpus_per_actor, "GPU": settings.gpus_per_actor}

    def started(self) -> RayEmbedder:
        """Return this embedder, once one actor is up at least."""
        with self._lock:
            if not self._actors:
                self._start()
            self._welcome(block=not self._up)
        return self

    def _start(self) -> None:
        ray, settings = self._cluster.ray, self._cluster.policy
        remote = ray.remote(EmbeddingActor).options(
            num_cpus=settings.cpus_per_actor,
            num_gpus=settings.gpus_per_actor,
            max_restarts=settings.retries,
            max_task_retries=settings.retries,
            scheduling_strategy="SPREAD",
        )
        device = "cuda" if settings.gpus_per_actor else "cpu"
        policy = self._policy.model_dump_json()
        for _ in range(settings.actors):
            actor = remote.remote(policy, self.fingerprint, device, self._expected)
            self._actors.append(actor)
            self._starting[actor.start.remote()] = actor

    def _welcome(self, *, block: bool) -> None:
        """Take in the actors that have loaded their model; wait for one when told to."""
        while self._starting:
            ready = self._cluster.wait(list(self._starting), LOOK_SECONDS if block else 0)
            if not ready and not block:
                return
            if not ready:
                self._cluster.check_room(self._request, "an embedding actor")
                continue
            actor = self._starting.pop(ready[0])
            started: Started = self._result(ready[0])
            self._up.append(started)
            self.dimensions, self.max_tokens = started.dimensions, started.max_tokens
            self.devices = (started.device,)
            for _ in range(BATCHES_PER_ACTOR):
                self._free.put(actor)
            block = False
        if block:  # the others failed, and whoever waited for them has the error
            raise HeadwaterError(f"No embedding actor could be started on the Ray cluster at {self._cluster.where}.")

    def encode_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the document prompt is applied.

        Raises EmbeddingError when a text has no usable vector.
        """
        return all_or_error(self.try_documents(texts, ids), "the Ray cluster")

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the query prompt is applied."""
        vectors: npt.NDArray[np.float32] = self._ask("queries", list(texts))
        return vectors

    def try_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> Vectors:
        """Return what :meth:`encode_documents` does, but note the texts that have no usable vector instead of raising."""
        # The same numbers, copied: one view of a column would take the whole column along.
        own = None if ids is None else [np.array(one, dtype=np.int32) for one in ids]
        vectors: Vectors = self._ask("embed", (list(texts), own))
        return vectors

    def _ask(self, method: str, message: Any) -> Any:
        self.started()
        self._began = self._began or time.perf_counter()
        actor = self._free.get()
        try:
            request = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
            return self._result(getattr(actor, method).remote(request))
        finally:
            self._free.put(actor)

    def _result(self, reference: Any) -> Any:
        from ray import exceptions

        try:
            return self._cluster.result(reference)
        except exceptions.RayError as error:
            attempts = self._cluster.policy.retries + 1
            raise self._cluster.lost(error, "an embedding actor", attempts) from None

    def describe(self, work: Work) -> dict[str, Any]:
        """Return device, number format, actors and nodes, and the rates by the clock of the run: actors work side by side."""
        if self._began is None:
            return {}
        elapsed = Work(rows=work.rows, tokens=work.tokens, seconds=time.perf_counter() - self._began)
        return {
            "device": ", ".join(sorted({started.device for started in self._up})),
            "number_format": ", ".join(sorted({started.number_format for started in self._up})),
            "actors": len(self._up),
            "nodes": len({started.node for started in self._up}),
            **rates(elapsed),
        }

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            with suppress(Exception):  # it may be the connection that ended the run
                self._cluster.ray.kill(actor)
        self._actors, self._starting, self._up = [], {}, []
