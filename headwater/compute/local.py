"""Computing on this machine: worker processes, and the embedding model in the calling process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headwater import pool
from headwater.compute.contract import Embedding

if TYPE_CHECKING:
    from headwater.embedding.contract import EmbeddingModel
    from headwater.policies import EmbedPolicy


class LocalCompute:
    """A pool of worker processes per stage; what they are forked from stays ready for the next pool like it."""

    takes_all = False

    def batches(
        self, function: str, *args: Any, workers: int | None, memory_mb: int | None, prepare: str | None
    ) -> pool.WorkerPool:
        """Return a pool of ``workers`` processes; default: the usable CPUs, at most eight."""
        return pool.WorkerPool(function, *args, workers=workers, memory_mb=memory_mb, prepare=prepare, spare=True)

    def start_ahead(self, function: str, *args: Any, memory_mb: int | None, prepare: str | None) -> None:
        """Start what the workers of a pool to come are forked from."""
        pool.start_ahead(function, *args, memory_mb=memory_mb, prepare=prepare)

    def let_go(self, function: str, *args: Any, memory_mb: int | None, prepare: str | None) -> None:
        """End what is ready for such a pool."""
        pool.let_go(function, *args, memory_mb=memory_mb, prepare=prepare)

    @contextmanager
    def embedding(
        self, policy: EmbedPolicy, fingerprint: str, here: Callable[[], EmbeddingModel]
    ) -> Iterator[Embedding]:
        """Give the engine of this process, which brings its own parallelism."""
        yield Embedding(here)
