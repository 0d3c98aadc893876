"""How fast an embedding model is, where no run of the corpus tells: some of its own chunks are embedded here and timed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from headwater.plan.lines import Line

if TYPE_CHECKING:
    from headwater.embedding import EmbeddingModel
    from headwater.lake import Table
    from headwater.policies import EmbedPolicy

SAMPLE_SECONDS = 6.0
"""No round of the sample is begun that would take longer. Loading the model comes on top."""

_FIRST = 4
"""Chunks that are embedded untimed: the first ones pay for compiled code and for memory."""

_GROWTH = 4
"""By how much a round is larger than the one before: few chunks tell a slow model, a fast one works on many at a time."""

_MOST = 1024
"""Chunks that are taken at most: two batches of the stage."""

_STAND_IN = pl.DataFrame({"embedded": ["headwater " * 74] * 256, "tokens": [150] * 256})
"""For a corpus that has next to no chunks: texts as long as chunks are (``headwater`` is two tokens of most vocabularies)."""


@dataclass(frozen=True, slots=True)
class ModelSample:
    """How a model did. ``lines`` are by measure, of one token as the model counts them, with loading as their start.

    ``texts`` were embedded in ``seconds`` to find out. ``token_ratio`` is how many tokens the model makes of one that the
    chunks were counted with when they were cut.
    """

    lines: Mapping[str, Line]
    texts: int
    seconds: float
    token_ratio: float


def sample_model(policy: EmbedPolicy, chunks: Table) -> ModelSample:
    """Load the model of ``policy``, which is to run in this process, and embed a few seconds' worth of ``chunks``.

    Raises ConfigError when the model or its device is not there.
    """
    from headwater.embedding import open_embedder

    drawn = _drawn(chunks)
    began, used = time.perf_counter(), time.process_time()
    model = open_embedder(policy)
    model.try_documents(drawn["embedded"][:_FIRST].to_list())
    load, load_cpu = time.perf_counter() - began, time.process_time() - used
    done = min(_FIRST, drawn.height - 1)
    size = _GROWTH * _FIRST
    while True:
        part = drawn[done : done + size]
        found = _timed(model, part)
        done += part.height
        size *= _GROWTH
        if done == drawn.height or found.seconds * _GROWTH > SAMPLE_SECONDS:
            break
    gpus = sum(device.startswith("cuda") for device in getattr(model, "devices", ()))
    each = 1 / max(found.tokens, 1)
    lines = {
        "seconds": Line(0.0, load, found.seconds * each),
        "cpu_seconds": Line(0.0, load_cpu, found.cpu_seconds * each),
        "gpu_seconds": Line(0.0, 0.0, found.model_seconds * gpus * each),
    }
    return ModelSample(
        lines, done, time.perf_counter() - began - load, found.tokens / max(int(part["tokens"].sum()), 1)
    )


@dataclass(frozen=True, slots=True)
class _Round:
    tokens: int
    seconds: float
    cpu_seconds: float
    model_seconds: float


def _timed(model: EmbeddingModel, part: pl.DataFrame) -> _Round:
    texts = part["embedded"].to_list()
    began, used = time.perf_counter(), time.process_time()
    work = model.try_documents(texts).work
    return _Round(work.tokens, time.perf_counter() - began, time.process_time() - used, work.seconds)


def _drawn(chunks: Table) -> pl.DataFrame:
    """Return ``embedded`` and ``tokens`` of some chunks in any order, the same ones every time."""
    ids = chunks.scan().filter(pl.col("state") == "ok").select("id").collect()["id"].sort()
    if len(ids) <= _FIRST:
        return _STAND_IN
    chosen = ids.sample(min(_MOST, len(ids)), seed=0).to_list()
    parts = [pl.DataFrame(batch) for batch in chunks.batches(["id", "embedded", "tokens"], chosen, _MOST)]
    return pl.concat(parts).sample(fraction=1, shuffle=True, seed=0)
