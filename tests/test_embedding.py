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
import pyarrow as pa
import pytest

from headwater.chunking import chunk, embedded_text
from headwater.embedding import (
    Bm25Encoder,
    Embedder,
    VectorCache,
    Work,
    fingerprint_of,
    grid_average_length,
    load_tokenizer,
    locate_model,
    model_fingerprint,
    open_embedder,
    prompts_of,
    token_counts,
)
from headwater.embedding.embedder import _PROBES
from headwater.embedding.model import Prompts
from headwater.errors import ConfigError, EmbeddingError, HeadwaterError
from headwater.lake import Table
from headwater.policies import ChunkPolicy, CorpusPolicy, EmbedPolicy
from headwater.stages.chunks import chunk_rows, chunk_stage
from headwater.stages.embeddings import embedding_stage
from headwater.types import ParsedDocument

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


def tiny_model(folder: Path, kind: str) -> Path:
    """A sentence-transformers model of random weights that reads words of this file's texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted({word for text in (*TEXTS, *_PROBES) for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    )
    fast.model_max_length = 500
    fast.save_pretrained(folder / "parts")
    sizes = {
        "hidden_size": 16,
        "dim": 16,
        "num_hidden_layers": 2,
        "n_layers": 2,
        "num_attention_heads": 2,
        "n_heads": 2,
    }
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind, vocab_size=len(words), pad_token_id=1, max_position_embeddings=520, initializer_range=0.5, **sizes
    )
    AutoModel.from_config(config).save_pretrained(folder / "parts")
    encoder = Transformer(str(folder / "parts"), max_seq_length=500)
    SentenceTransformer(modules=[encoder, Pooling(16)], device="cpu").save(str(folder / "model"))
    return folder / "model"


KINDS = [("bert", 0), ("distilbert", 0), ("roberta", 2), ("mpnet", None), ("modernbert", None), ("gpt2", None)]
"""MPNet has relative positions, ModernBERT sees a window of a text, and GPT-2 only what stands before."""


@pytest.mark.parametrize(("kind", "first"), KINDS)
def test_queries_are_packed_where_a_model_takes_them_so(tmp_path: Path, kind: str, first: int | None) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tiny_model(tmp_path, kind)
    texts = [*TEXTS, *(" ".join(TEXTS[0].split()[:count]) for count in range(1, 9))] * 4
    assert len(texts) == 60
    reference = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    for number_format in ("float32", None):
        embedder = Embedder(str(folder), device="cpu", number_format=number_format)
        queries = embedder.encode_queries(texts)
        assert embedder._queries.packs_from == first
        assert embedder._documents.packs_from is None
        for vectors in (queries, embedder.encode_documents(texts)):
            assert (vectors * reference).sum(axis=1).min() >= (0.999_999 if number_format else 0.999)


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


def test_a_policys_prompts_go_before_what_a_local_models_files_name(tmp_path: Path) -> None:
    plain = open_embedder(EmbedPolicy(device="cpu"))
    policy = EmbedPolicy(device="cpu", document_prompt="passage: ", query_prompt="query: ")
    prompted = open_embedder(policy)
    np.testing.assert_allclose(
        prompted.encode_queries(["where is it"]), plain.encode_queries(["query: where is it"]), atol=1e-5
    )
    np.testing.assert_allclose(
        prompted.encode_documents(["it is here"]), plain.encode_documents(["passage: it is here"]), atol=1e-5
    )
    assert prompts_of(policy) == Prompts("passage: ", "query: ")
    assert prompted.fingerprint == fingerprint_of(policy) != plain.fingerprint == model_fingerprint()

    copy = tmp_path / "prompted"
    shutil.copytree(locate_model(None), copy)
    (copy / "config_sentence_transformers.json").write_text('{"prompts": {"query": "question: ", "passage": "text: "}}')
    own = EmbedPolicy(model=str(copy))
    assert prompts_of(own) == Prompts("text: ", "question: ")
    assert prompts_of(own.model_copy(update={"query_prompt": "ask: "})) == Prompts("text: ", "ask: ")
    same = own.model_copy(update={"query_prompt": "question: "})
    assert fingerprint_of(own) == fingerprint_of(same) == model_fingerprint(str(copy))


def test_token_ids_from_chunking_give_the_same_vectors_as_the_text(embedder: Embedder) -> None:
    pieces = chunk(ParsedDocument("\n\n".join(TEXTS), (), {"title": "A manual"}))
    texts = [
        embedded_text("A manual", piece.section, piece.text, ChunkPolicy(), load_tokenizer(None)) for piece in pieces
    ]
    by_ids = embedder.encode_documents(texts, [piece.ids for piece in pieces])
    np.testing.assert_allclose(by_ids, embedder.encode_documents(texts), atol=1e-6)
    np.testing.assert_allclose(embedder.encode_documents([""] * len(texts), [piece.ids for piece in pieces]), by_ids)
    too_long = load_tokenizer(None).encode(TEXTS[5]).ids
    assert len(too_long) > embedder.max_tokens
    np.testing.assert_allclose(
        embedder.encode_documents(TEXTS[5:6], [too_long]), embedder.encode_documents(TEXTS[5:6]), atol=1e-6
    )


def test_several_devices_share_the_batches_and_give_the_same_vectors(embedder: Embedder) -> None:
    several = Embedder(device=["cpu", "cpu", "cpu"], tokens_per_batch=60)
    assert several.devices == ["cpu"] * 3
    assert len({id(lane.model) for lane in several._lanes}) == 3
    texts = TEXTS * 6
    assert (several.encode_documents(texts) * embedder.encode_documents(texts)).sum(axis=1).min() >= 0.9999


def break_word(embedder: Embedder, word: str) -> None:
    import torch

    (token,) = load_tokenizer(None).encode(word, add_special_tokens=False).ids
    with torch.no_grad():
        embedder._model[0].auto_model.get_input_embeddings().weight[token] = float("nan")


def test_a_vector_that_is_not_finite_costs_only_its_own_text() -> None:
    broken = Embedder(device="cpu")
    break_word(broken, "turbine")
    texts = ["A pump.", "A turbine.", "A valve."]
    result = broken.try_documents(texts)
    assert result.failed == {1: "bad_vector"}
    np.testing.assert_allclose(np.linalg.norm(result.values[[0, 2]], axis=1), 1.0, atol=1e-5)
    with pytest.raises(EmbeddingError, match="1 of 3 texts have no vector") as error:
        broken.encode_documents(texts)
    assert "turbine" not in str(error.value)


def embed_documents(tmp_path: Path, broken: Embedder, texts: list[str]) -> pa.Table:
    """Chunk and embed documents by the stages' own functions."""
    policy = CorpusPolicy.model_validate({"source": {"uri": "."}})
    stage = chunk_stage(policy)
    rows = [
        {"id": f"d{i}", "doc_id": f"d{i}", "text": text, "elements": [], "title": None} for i, text in enumerate(texts)
    ]
    chunks = chunk_rows(pa.Table.from_pylist(rows), {**stage.parameters, **stage.ephemeral})
    embedding = embedding_stage(
        policy.embed, broken.fingerprint, Table(tmp_path / "chunks", stage.schema), lambda: broken, tmp_path
    )
    assert callable(embedding.function)
    return embedding.function(chunks, embedding.parameters)


def test_a_chunk_without_a_vector_is_quarantined_and_the_run_goes_on(tmp_path: Path) -> None:
    broken = Embedder(device="cpu")
    break_word(broken, "turbine")
    rows = embed_documents(tmp_path, broken, ["A pump.", "A turbine.", "A valve."]).to_pylist()
    assert [(row["state"], row["reason"]) for row in rows] == [
        ("ok", "ok"),
        ("quarantined", "bad_vector"),
        ("ok", "ok"),
    ]
    assert rows[1]["vector"] is None and "turbine" not in rows[1]["error"]
    repaired = Embedder(device="cpu")
    again = embed_documents(tmp_path, repaired, ["A pump.", "A turbine.", "A valve."]).to_pylist()
    assert [row["state"] for row in again] == ["ok"] * 3, "a bad vector was kept in the cache"


def test_a_model_that_gives_no_vector_at_all_stops_the_run(tmp_path: Path) -> None:
    broken = Embedder(device="cpu")
    break_word(broken, "pump")
    with pytest.raises(EmbeddingError, match="20 of 20"):
        embed_documents(tmp_path, broken, [f"Pump {number}." for number in range(20)])


def test_chunks_that_the_model_would_cut_off_stop_the_run(tmp_path: Path, embedder: Embedder) -> None:
    policy = CorpusPolicy.model_validate({"source": {"uri": "."}, "chunk": {"max_tokens": 400}})
    stage = chunk_stage(policy)
    row = {
        "id": "d",
        "doc_id": "d",
        "text": "A long manual about nothing in particular. " * 42,
        "elements": [],
        "title": None,
    }
    chunks = chunk_rows(pa.Table.from_pylist([row]), {**stage.parameters, **stage.ephemeral})
    embedding = embedding_stage(
        policy.embed, embedder.fingerprint, Table(tmp_path / "chunks", stage.schema), lambda: embedder, tmp_path
    )
    assert callable(embedding.function)
    with pytest.raises(ConfigError, match=r"chunk\.max_tokens to 256"):
        embedding.function(chunks, embedding.parameters)


def test_the_report_says_how_fast_and_where(embedder: Embedder) -> None:
    work = embedder.try_documents(TEXTS).work
    assert (work.rows, work.tokens) == (7, sum(min(256, len(load_tokenizer(None).encode(text))) for text in TEXTS))
    said = embedder.describe(work)
    assert said["device"] == "cpu" and said["number_format"] == embedder.number_format
    assert said["tokens_per_second"] > 0 and 0 <= said["padding_share"] < 1
    assert "peak_share" not in said, "too little work to say"
    enough = Work(rows=10, tokens=10, padded=10, flops=1e9, seconds=6.0)
    assert 0 < embedder.describe(enough)["peak_share"] < 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address-space limits are Linux's")
def test_when_memory_runs_out_batches_are_halved_until_they_fit() -> None:
    code = """
import resource, sys
import torch
from headwater.embedding import Embedder

torch.set_num_threads(1)
embedder = Embedder(device="cpu", tokens_per_batch=60_000)
texts = ["pump valve " * 120 + str(number) for number in range(220)]
expected = embedder.encode_documents(texts[:2])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20, used + 400 * 2**20))
result = embedder.try_documents(texts)
print(len(result.failed), embedder.tokens_per_batch, float((result.values[:2] * expected).sum(axis=1).min()))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    failed, budget, cosine = done.stdout.split()
    assert failed == "0" and 250 <= int(budget) <= 30_000 and float(cosine) >= 0.9999


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
