"""What a release learns when it is built: its chunks sampled, queries made of some of them, its weights written down.

The sample is the chunks with the lowest ids, which are hashes: a function of what the corpus holds. So are the weights,
and they are learnt again when the sample changed: always in a small corpus, where that is quick, and seldom in a large
one. On a corpus of fewer than :data:`MIN_CHUNKS` chunks nothing is learnt: what a few queries say is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.hashing import digest
from headwater.index.contract import SparseVector
from headwater.metadata import point_fields
from headwater.policies import EmbedPolicy
from headwater.retrieval.queries import Source, known_items
from headwater.retrieval.weights import SETTING, Weights

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.embedding import VectorCache
    from headwater.retrieval.learning import Encode, Golden, Sample

CODE_VERSION = "2"

MIN_CHUNKS = 50

SAMPLE_CHUNKS = 4096
"""Chunks that queries are tried on, beside those of the golden set's documents: searched whole in a fraction of a second,
and many enough for a query to have rivals."""


def learner(corpus: Corpus, embed: EmbedPolicy) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return what maps the live release's settings to what the next release of ``corpus`` learns, as
    :func:`headwater.stages.index_candidate.build_candidate` takes it. ``embed`` is the policy that its vectors were made
    by.
    """

    def learn(live: Mapping[str, Any]) -> Mapping[str, Any]:
        weights = _weights(corpus, embed, Weights.of(live))
        return {SETTING: weights.setting()} if weights is not None else {}

    return learn


def _weights(corpus: Corpus, embed: EmbedPolicy, live: Weights | None) -> Weights | None:
    policy, tables = corpus.policy.retrieval, corpus.tables
    if policy.fusion == "ranks" or policy.dense_weight is not None or not policy.learning_queries:
        return None
    rows = (
        tables.embeddings.scan()
        .filter(pl.col("state") == "ok")
        .select("id", "doc_id", "fingerprint")
        .sort("id")
        .collect()
    )
    if rows.height < MIN_CHUNKS:
        return None
    golden = _golden(corpus)
    asked_for = {key for question in golden for key in question.keys}
    owners = tables.source_objects.scan().filter(pl.col("key").is_in(asked_for)).select("doc_id").collect()["doc_id"]
    of_golden = rows.filter(pl.col("doc_id").is_in(owners.implode()))
    chosen = pl.concat([rows.head(SAMPLE_CHUNKS), of_golden]).unique("id").sort("id")
    parts = (part for row in chosen.select("id", "fingerprint").iter_rows() for part in row)
    questions = (part for question in golden for part in (question.question, *sorted(question.keys)))
    name = digest(CODE_VERSION, policy.learning_queries, *parts, *questions)
    if live is not None and live.sample == name:
        return live
    return _learn(corpus, embed, chosen["id"], golden, name)


def _learn(corpus: Corpus, embed: EmbedPolicy, ids: pl.Series, golden: Sequence[Golden], name: str) -> Weights:
    from headwater.embedding import Bm25Encoder, VectorCache
    from headwater.retrieval.learning import learn_weights
    from headwater.stages.embeddings import average_terms

    queries, tables, embedder = corpus.policy.retrieval.learning_queries, corpus.tables, corpus.embedder
    # A chunk gives two queries, or none when it has too few words: this leaves room for the latter.
    made_of = ids.head(queries)
    frame = tables.chunks.scan().filter(pl.col("id").is_in(made_of.implode())).sort("id")
    sources = [Source(*row) for row in frame.select("id", "doc_id", "text", "embedded").collect().iter_rows()]
    cache = VectorCache(corpus.project.cache_path() / "embeddings", embedder.fingerprint, embedder.dimensions)
    try:
        return learn_weights(
            _sample(corpus, ids, name),
            list(known_items(sources, queries)),
            golden,
            encode_queries=_cached(embedder.encode_queries, cache, "query"),
            encode_documents=_cached(embedder.encode_documents, cache, "rest"),
            bm25=Bm25Encoder(embed.bm25_k, embed.bm25_b, average_terms(tables.chunks), embed.bm25_language),
        )
    finally:
        cache.close()


def _sample(corpus: Corpus, ids: pl.Series, name: str) -> Sample:
    from headwater.retrieval.learning import Sample

    tables = corpus.tables
    frame = (
        tables.embeddings.scan()
        .filter(pl.col("id").is_in(ids.implode()))
        .select("id", "doc_id", "vector", "sparse_indices", "sparse_values")
        .join(tables.source_objects.scan().select("doc_id", "key"), on="doc_id")
        .join(tables.anonymized_documents.scan().select("doc_id", "metadata"), on="doc_id")
        .sort("id")
        .collect()
    )
    languages = {text: point_fields(text)["language"] for text in frame["metadata"].unique().to_list()}
    columns = (frame[name].to_list() for name in ("sparse_indices", "sparse_values"))
    return Sample(
        ids=frame["id"].to_list(),
        documents=frame["doc_id"].to_list(),
        keys=frame["key"].to_list(),
        languages=[languages[text] for text in frame["metadata"].to_list()],
        vectors=np.array(frame["vector"].to_list(), dtype=np.float32),
        terms=[
            SparseVector(np.array(indices, dtype=np.uint32), np.array(values, dtype=np.float32))
            for indices, values in zip(*columns, strict=True)
        ],
        digest=name,
    )


def _golden(corpus: Corpus) -> list[Golden]:
    from headwater.retrieval.learning import Golden
    from headwater.stages.evaluation import read_golden

    if not corpus.policy.gate.golden:
        return []
    questions = read_golden(Path(corpus.policy.gate.golden))
    return [Golden(q.question, frozenset(key for key, _ in q.answers)) for q in questions if q.answers]


def _cached(encode: Encode, cache: VectorCache, kind: str) -> Encode:
    """Encode what the cache doesn't know yet. Garbage collection forgets these vectors: no chunk has their texts."""

    def look_up(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        hashes = [digest(kind, text) for text in texts]
        found, vectors = cache.lookup(hashes)
        new = np.flatnonzero(~found)
        if len(new):
            vectors[new] = encode([texts[int(place)] for place in new])
            cache.store([hashes[int(place)] for place in new], vectors[new])
        return vectors

    return look_up
