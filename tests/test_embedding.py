"""Vectors: the model's own, whatever the batching; BM25; and the cache."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from headwater.embedding import (
    Bm25Encoder,
    Embedder,
    VectorCache,
    grid_average_length,
    load_tokenizer,
    locate_model,
    model_fingerprint,
    token_counts,
)
from headwater.errors import ConfigError, HeadwaterError

TEXTS = [
    "The pump must be primed before the first start.",
    "",
    "Invoices are paid within thirty days. " * 12,
    "ok",
    "Über die Brücke führt kein Weg, 日本語も少し。",
    "A long manual about nothing in particular. " * 60,
    "The pump must be primed before the first start.",
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    import torch

    torch.set_num_threads(1)  # short texts: more threads than free cores only wait for each other
    return Embedder(device="cpu", tokens_per_batch=300)


def test_vectors_equal_those_of_sentence_transformers_in_input_order(embedder: Embedder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(locate_model(None)), device="cpu").encode(TEXTS, normalize_embeddings=True)
    for vectors in (embedder.encode_documents(TEXTS), embedder.encode_queries(TEXTS)):
        assert vectors.shape == (len(TEXTS), embedder.dimensions) == (7, 384)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        assert (vectors * reference).sum(axis=1).min() >= 0.9999


def test_the_token_budget_changes_nothing_but_the_batches(embedder: Embedder) -> None:
    one = embedder.encode_documents(TEXTS)
    embedder.tokens_per_batch = 1
    try:
        # Where the CPU computes in bfloat16, padding changes the last of its bits.
        assert (embedder.encode_documents(TEXTS) * one).sum(axis=1).min() >= 0.9999
    finally:
        embedder.tokens_per_batch = 300


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.encode_documents([]).shape == (0, 384)
    assert embedder.encode_queries([]).dtype == np.float32


def test_several_threads_may_embed_at_once(embedder: Embedder) -> None:
    expected = embedder.encode_queries(TEXTS)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(embedder.encode_queries(TEXTS))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for result in results:
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_models_prompts_are_applied(tmp_path: Path) -> None:
    copy = tmp_path / "prompted"
    shutil.copytree(locate_model(None), copy)
    (copy / "config_sentence_transformers.json").write_text(
        '{"prompts": {"query": "question: ", "document": "passage: "}}'
    )
    prompted, plain = Embedder(str(copy), device="cpu"), Embedder(device="cpu")
    np.testing.assert_allclose(
        prompted.encode_queries(["where is it"]), plain.encode_queries(["question: where is it"]), atol=1e-5
    )
    np.testing.assert_allclose(
        prompted.encode_documents(["it is here"]), plain.encode_documents(["passage: it is here"]), atol=1e-5
    )
    assert prompted.fingerprint != plain.fingerprint


def test_vectors_that_are_not_numbers_are_an_error(embedder: Embedder) -> None:
    import torch

    broken = Embedder(device="cpu")
    with torch.no_grad():
        next(broken._model.parameters()).fill_(float("nan"))
    with pytest.raises(HeadwaterError, match="not finite"):
        broken.encode_documents(["a"])


def test_an_unknown_model_or_device_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        locate_model(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"embed\.device"):
        Embedder(device="tpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        load_tokenizer(str(tmp_path / "empty"))


def test_fingerprint_and_tokenizer_are_cheap() -> None:
    code = (
        "import sys, headwater.embedding as e; e.model_fingerprint(None); e.load_tokenizer(None); "
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'qdrant_edge'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "two" / "README.md").write_text("words")
    one = model_fingerprint(str(tmp_path / "one"))
    assert one == model_fingerprint(str(tmp_path / "two"))
    (tmp_path / "two" / "model.safetensors").write_bytes(b"Weights!")
    assert one != model_fingerprint(str(tmp_path / "two"))


def test_the_tokenizer_neither_cuts_nor_pads() -> None:
    tokenizer = load_tokenizer(None)
    lengths = [len(encoded) for encoded in tokenizer.encode_batch(["word " * 1000, "word"])]
    assert lengths == [1002, 3]


def test_bm25_weights_follow_the_formula() -> None:
    k, b, average = 0.9, 0.4, 8.0
    (vector,) = Bm25Encoder(k, b, average).encode_documents(["The pumps pump; a pump and valves."])
    length = 4  # pump three times and valv; stop words are gone
    norm = k * (1 - b + b * length / average)
    np.testing.assert_allclose(sorted(vector.values), sorted(tf * (k + 1) / (tf + norm) for tf in (3, 1)), rtol=1e-5)
    assert vector.indices.dtype == np.uint32
    assert vector.values.dtype == np.float32


def test_bm25_is_deterministic_and_queries_share_its_terms() -> None:
    encoder = Bm25Encoder()
    texts = ["The running dogs barked at 42 caches", "", "of the and"]
    first, second = encoder.encode_documents(texts), Bm25Encoder().encode_documents(texts)
    for one, other in zip(first, second, strict=True):
        assert (one.indices == other.indices).all()
        assert (one.values == other.values).all()
    assert [len(vector.indices) for vector in first] == [5, 0, 0]
    assert (np.diff(first[0].indices.astype(np.int64)) > 0).all()
    query = encoder.encode_query("dog RUNS the dog")
    assert set(query.indices) <= set(first[0].indices)
    assert query.values.tolist() == [1.0, 1.0]


def test_token_counts_count_as_bm25_does() -> None:
    assert token_counts(["The running dogs run", "", "the of", "word " * 500]) == [3, 0, 0, 500]


def test_bm25_refuses_an_unknown_language() -> None:
    with pytest.raises(ConfigError, match="bm25_language"):
        Bm25Encoder(language="klingon")


def test_the_average_length_moves_in_coarse_steps() -> None:
    assert grid_average_length(64.0) == 64.0
    assert {grid_average_length(mean) for mean in np.linspace(55, 75, 50)} == {64.0}
    assert grid_average_length(91.0) == pytest.approx(64 * 2**0.5)
    assert grid_average_length(0.0) == grid_average_length(float("nan")) == 1.0


def rows(count: int) -> tuple[list[str], np.ndarray]:
    return [f"{number:032x}" for number in range(count)], np.random.default_rng(0).normal(size=(count, 8)).astype(
        np.float32
    )


def test_the_cache_returns_what_was_stored_and_knows_what_it_lacks(tmp_path: Path) -> None:
    keys, vectors = rows(5000)
    cache = VectorCache(tmp_path, "model", 8)
    cache.store(keys[:4000], vectors[:4000])
    cache.store(keys[3990:4000], vectors[:10])  # known already: left as they are
    cache.close()
    again = VectorCache(tmp_path, "model", 8)
    found, known = again.lookup([*keys, keys[0]])
    assert found.tolist() == [True] * 4000 + [False] * 1000 + [True]
    assert (known[:4000] == vectors[:4000]).all()
    assert not known[4000:5000].any()
    assert again.lookup([])[1].shape == (0, 8)
    other = VectorCache(tmp_path, "another-model", 8)
    assert not other.lookup(keys)[0].any()


def test_a_deleted_vector_leaves_the_disk(tmp_path: Path) -> None:
    keys, vectors = rows(50)
    cache = VectorCache(tmp_path, "model", 8)
    cache.store(keys, vectors)
    cache.delete([keys[7], "unknown"])
    assert cache.lookup(keys)[0].sum() == 49
    stored = b"".join(path.read_bytes() for path in (tmp_path / "model").iterdir())
    assert vectors[8].tobytes() in stored
    assert vectors[7].tobytes() not in stored
    assert keys[7].encode() not in stored


def _store_and_die(path: Path) -> None:
    cache = VectorCache(path, "model", 8)
    keys, vectors = rows(100)
    cache.store(keys[:50], vectors[:50])
    cache._connection.execute("BEGIN IMMEDIATE")
    cache._connection.execute("INSERT INTO vectors VALUES (?, ?)", (keys[60], vectors[60].tobytes()))
    os._exit(9)


def test_a_killed_writer_leaves_whole_batches_only(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_store_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    keys, vectors = rows(100)
    cache = VectorCache(tmp_path, "model", 8)
    found, known = cache.lookup(keys)
    assert found.tolist() == [True] * 50 + [False] * 50
    assert (known[:50] == vectors[:50]).all()
    cache.store(keys, vectors)
    assert cache.lookup(keys)[0].all()


def _store_part(path: Path, part: int) -> None:
    cache = VectorCache(path, "model", 8)
    keys, vectors = rows(400)
    for start in range(part * 100, part * 100 + 100, 10):
        cache.store(keys[start : start + 10], vectors[start : start + 10])


def test_several_processes_write_one_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_store_part, args=(tmp_path, part)) for part in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    keys, vectors = rows(400)
    found, known = VectorCache(tmp_path, "model", 8).lookup(keys)
    assert found.all()
    assert (known == vectors).all()


def test_a_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    keys, vectors = rows(3)
    VectorCache(tmp_path, "model", 8).store(keys, vectors)
    with pytest.raises(HeadwaterError, match="delete its folder"):
        VectorCache(tmp_path, "model", 4).lookup(keys)
    with pytest.raises(ValueError, match="shape"):
        VectorCache(tmp_path, "model", 8).store(keys, vectors[:2])
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "vectors.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(HeadwaterError, match="delete its folder") as raised:
        VectorCache(tmp_path, "broken", 8)
    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)
