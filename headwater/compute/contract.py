"""What a place to compute offers: worker processes on this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headwater.pool import Timeout, WorkerFailure

if TYPE_CHECKING:
    from headwater.embedding.contract import EmbeddingModel
    from headwater.policies import EmbedPolicy


class BatchMap(Protocol):
    """Runs one function over batches; use as a context manager."""

    def __enter__(self) -> BatchMap: ...

    def __exit__(self, *exc: object) -> None: ...

    def map(self, batches: Iterable[Any], timeout: Timeout = None) -> Iterator[tuple[int, Any | WorkerFailure]]:
        """Yield ``(index of the batch, result or WorkerFailure)`` as batches complete, in any order.

        ``batches`` is read lazily, no further ahead than there is room for. ``timeout`` is the wall-clock limit of one
        batch in seconds, or a function of the batch that returns it. What is under way ends when the caller stops.
        Raises HeadwaterError when a worker can't start: that is no batch's fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class Embedding:
    """Where chunks are embedded: ``load`` returns the engine, which takes ``at_once`` batches side by side."""

    load: Callable[[], EmbeddingModel]
    at_once: int = 1


class Compute(Protocol):
    """A place to compute.

    ``takes_all`` says that every stage whose function can be imported by name runs on its workers, also those that a
    single machine is quicker with in the calling process.
    """

    takes_all: bool

    def batches(
        self, function: str, *args: Any, workers: int | None, memory_mb: int | None, prepare: str | None
    ) -> BatchMap:
        """Return what maps ``function`` (``package.module:name``, called with a batch and ``args``) over batches.

        ``memory_mb`` is what a worker process may take beyond its size after ``prepare(*args)``, in MiB, and
        ``workers`` how many of them work at a time where this machine has to bear them all.
        """
        ...

    def start_ahead(self, function: str, *args: Any, memory_mb: int | None, prepare: str | None) -> None:
        """Start what the next such :meth:`batches` will need, where waiting for it would be noticed."""
        ...

    def let_go(self, function: str, *args: Any, memory_mb: int | None, prepare: str | None) -> None:
        """Give back what is kept ready for the next such :meth:`batches`, where it takes memory of this machine."""
        ...

    def embedding(
        self, policy: EmbedPolicy, fingerprint: str, here: Callable[[], EmbeddingModel]
    ) -> AbstractContextManager[Embedding]:
        """Give where chunks are embedded, until the block ends.

        ``here`` loads the model of ``policy``, whose fingerprint is ``fingerprint``, into this process.
        """
        ...
