"""A model in a process of its own: the same vectors, the same errors, and a new process for one that died."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from headwater.embedding import Embedder
from headwater.embedding.apart import EmbedderApart
from headwater.errors import ConfigError, EmbeddingError
from headwater.pool import WorkerPool

TEXTS = ["The weir is opened at noon.", "Der Pegel wird alle 15 Minuten gelesen.", ""]


@pytest.fixture(scope="module")
def apart() -> Iterator[EmbedderApart]:
    embedder = EmbedderApart(None, device="cpu", tokens_per_batch=None)
    yield embedder
    embedder.close()


def die(batch: object) -> None:
    os._exit(7)


def process_of(apart: EmbedderApart) -> int:
    (worker,) = apart._process._pool._idle
    return worker._process.pid


def test_it_is_the_model_that_it_would_be_here(apart: EmbedderApart) -> None:
    here = Embedder(None, device="cpu")
    for name in ("fingerprint", "dimensions", "max_tokens"):
        assert getattr(apart, name) == getattr(here, name)
    assert np.allclose(apart.encode_queries(TEXTS), here.encode_queries(TEXTS), atol=1e-2)
    assert np.allclose(apart.encode_documents(TEXTS), here.encode_documents(TEXTS), atol=1e-2)
    vectors = apart.try_documents(TEXTS)
    assert vectors.values.shape == (3, here.dimensions) and not vectors.failed
    assert apart.describe(vectors.work)["device"] == "cpu"


def test_a_process_that_was_killed_is_started_anew(apart: EmbedderApart) -> None:
    apart.encode_queries(TEXTS)
    process = process_of(apart)
    os.kill(process, signal.SIGKILL)
    assert apart.encode_queries(TEXTS).shape == (3, apart.dimensions)
    assert process_of(apart) != process and not psutil.pid_exists(process)


def test_what_the_model_raises_is_raised_here(apart: EmbedderApart) -> None:
    with pytest.raises(TypeError):
        apart.encode_queries([3])  # type: ignore[list-item]
    assert apart.encode_queries(TEXTS[:1]).shape == (1, apart.dimensions)


def test_a_device_that_is_not_here_is_said_to_be_missing() -> None:
    with pytest.raises(ConfigError, match=r"embed\.device"):
        EmbedderApart(None, device="cuda:7", tokens_per_batch=None)


def test_a_model_that_ends_every_process_is_given_up(monkeypatch: pytest.MonkeyPatch, apart: EmbedderApart) -> None:
    with WorkerPool(f"{__name__}:die", workers=1) as pool, monkeypatch.context() as patched:
        patched.setattr(apart._process, "_pool", pool)
        with pytest.raises(EmbeddingError, match="exit code 7"):
            apart.encode_queries(TEXTS)
    assert apart.encode_queries(TEXTS).shape == (3, apart.dimensions)
