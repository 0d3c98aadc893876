"""What every engine that makes dense vectors offers: a model in this process, or an endpoint elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headwater.errors import EmbeddingError

BAD_VECTOR = "bad_vector"
OUT_OF_MEMORY = "embed_memory"
REFUSED = "embed_refused"

REASONS: dict[str, tuple[str, str]] = {
    BAD_VECTOR: (
        "The embedding model gave no usable vector for a passage of this document.",
        "Look at the passage's text, or choose another embedding model (embed.model).",
    ),
    OUT_OF_MEMORY: (
        "A passage of this document takes more memory to embed than there is, even alone.",
        "Lower chunk.max_tokens, or embed on a machine with more memory.",
    ),
    REFUSED: (
        "The embedding endpoint refused a passage of this document.",
        "Look at the endpoint's log; lower chunk.max_tokens if the passage is too long for its model. Once the endpoint "
        "would take it, have the document processed again (headwater requeue).",
    ),
}
TokenIds = Sequence[int] | npt.NDArray[np.int32]
"""The token ids of one text."""

_WHY = {
    BAD_VECTOR: "it is not finite and of unit length",
    OUT_OF_MEMORY: "out of memory",
    REFUSED: "the endpoint refused them",
}
_UNIT_TOLERANCE = 1e-3


@dataclass(slots=True)
class Work:
    """What was embedded: rows, tokens without and with padding, arithmetic in FLOP, and wall-clock seconds.

    ``padded`` and ``flops`` are 0 where an engine can't know them.
    """

    rows: int = 0
    tokens: int = 0
    padded: int = 0
    flops: float = 0.0
    seconds: float = 0.0

    def add(self, other: Work) -> None:
        """Count ``other`` in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of ``values[row]`` for each text; rows in ``failed`` (row to a code of :data:`REASONS`) hold none."""

    values: npt.NDArray[np.float32]
    failed: Mapping[int, str] = field(default_factory=dict)
    work: Work = field(default_factory=Work)


class EmbeddingModel(Protocol):
    """An engine. Safe to use from several threads.

    ``fingerprint`` identifies what decides the vectors, ``dimensions`` is their width, ``max_tokens`` the longest
    input that the model sees.
    """

    fingerprint: str
    dimensions: int
    max_tokens: int

    def encode_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the document prompt is applied.

        ``ids`` are the texts' token ids where the caller has them: prompt and special tokens included. Raises
        EmbeddingError when a text has no usable vector.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the query prompt is applied."""
        ...

    def try_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> Vectors:
        """Return what :meth:`encode_documents` does, but note the texts that have no usable vector instead of raising."""
        ...

    def describe(self, work: Work) -> dict[str, Any]:
        """Return where ``work`` was done and how fast, for people: engine, device, number format, rates."""
        ...


def unusable(vectors: npt.NDArray[np.float32]) -> list[int]:
    """Return the rows that are not finite or not of unit length."""
    return np.flatnonzero(~(np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < _UNIT_TOLERANCE)).tolist()


def all_or_error(result: Vectors, where: str) -> npt.NDArray[np.float32]:
    """Return the vectors; EmbeddingError, with the first code, when a row has none."""
    if result.failed:
        code = next(iter(result.failed.values()))
        raise EmbeddingError(
            f"{len(result.failed)} of {len(result.values)} texts have no vector on {where} ({_WHY[code]}). "
            f"{REASONS[code][1]}",
            code,
        )
    return result.values


def rates(work: Work) -> dict[str, Any]:
    """Return rows and tokens per second of ``work``."""
    seconds = max(work.seconds, 1e-9)
    return {"chunks_per_second": round(work.rows / seconds, 1), "tokens_per_second": round(work.tokens / seconds)}
