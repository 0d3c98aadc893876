"""How good retrieval is: the metrics, and a BEIR collection run through the product's own path.

Metrics follow trec_eval: nDCG with linear gain and a log2 discount (Järvelin and Kekäläinen 2002), recall over all
documents judged relevant (score above 0). Queries without a relevant document are left out.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.chunking import chunk as chunk_document
from headwater.chunking import embedded_text
from headwater.embedding import (
    Bm25Encoder,
    EmbeddingModel,
    VectorCache,
    grid_average_length,
    load_tokenizer,
    open_embedder,
    prompts_of,
    token_counts,
    tokenizer_source,
)
from headwater.embedding.languages import analyzer_of
from headwater.errors import ConfigError
from headwater.hashing import chunk_id, digest_bytes, document_id
from headwater.index.contract import POINT_SCHEMA, IndexSpec, Searcher, SearchRequest
from headwater.index.edge import EdgeEngine
from headwater.policies import ChunkPolicy, EmbedPolicy, IndexPolicy, RetrievalPolicy
from headwater.reports import NoProgress, Progress
from headwater.retrieval.learning import Sample, learn_weights
from headwater.retrieval.queries import Source, known_items
from headwater.retrieval.release import MIN_CHUNKS, SAMPLE_CHUNKS
from headwater.retrieval.weights import SETTING, Weights, weight_for
from headwater.stages.chunks import leads
from headwater.types import Chunk, Element, ParsedDocument

RECALL_DEPTHS = (5, 10, 20)
NDCG_DEPTH = 10
_ROWS = 2000  # chunks embedded and written at a time


def ndcg_at(ranking: Sequence[str], relevance: Mapping[str, int], k: int) -> float:
    """Return nDCG@k of a ranking of document ids against graded ``relevance``, 0..1; 0 without a relevant document."""
    gains = [max(0, relevance.get(document, 0)) for document in ranking[:k]]
    ideal = sorted((gain for gain in relevance.values() if gain > 0), reverse=True)[:k]
    best = _discounted(ideal)
    return _discounted(gains) / best if best else 0.0


def recall_at(ranking: Sequence[str], relevance: Mapping[str, int], k: int) -> float:
    """Return the share of the relevant documents that are among the first ``k``; 0 without a relevant document."""
    relevant = {document for document, gain in relevance.items() if gain > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def summarise(rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Return the means over the judged queries: ``ndcg@10`` and ``recall@5``, ``@10``, ``@20``."""
    judged = [query for query in qrels if any(gain > 0 for gain in qrels[query].values())]
    if not judged:
        raise ConfigError("no query has a document judged relevant; check the qrels file")
    ranked = [(rankings.get(query, ()), qrels[query]) for query in judged]
    result = {f"ndcg@{NDCG_DEPTH}": float(np.mean([ndcg_at(*pair, NDCG_DEPTH) for pair in ranked]))}
    result |= {f"recall@{k}": float(np.mean([recall_at(*pair, k) for pair in ranked])) for k in RECALL_DEPTHS}
    return result


def evaluate_beir(
    folder: Path,
    *,
    embed: EmbedPolicy | None = None,
    chunk: ChunkPolicy | None = None,
    index: IndexPolicy | None = None,
    retrieval: RetrievalPolicy | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Chunk, embed, index and search a BEIR collection; return figures per mode.

    ``folder`` holds ``corpus.jsonl`` (_id, title, text), ``queries.jsonl`` (_id, text) and ``qrels.tsv`` or
    ``qrels/test.tsv`` (query, document, score, with a header line). A document ranks by its best chunk. The hybrid's
    weights are learnt from the documents, never from the collection's queries. ``cache`` keeps vectors between calls.
    Returns ``{"dense": {"ndcg@10": ..., "recall@5": ..., "recall@10": ..., "recall@20": ...}, "sparse": {...},
    "hybrid": {...}, "documents": n, "queries": n, "chunks": n, "dense_weight": w, "bm25_language": name}``;
    ``dense_weight`` is None when ranks are fused. Raises ConfigError, with file and line, for a folder that is not such a
    collection.
    """
    policy = retrieval or RetrievalPolicy()
    with open_collection(
        folder, embed=embed, chunk=chunk, index=index, retrieval=policy, progress=progress, cache=cache
    ) as collection:
        weight = collection.weight(policy)
        rankings = {
            "dense": collection.rank("dense"),
            "sparse": collection.rank("sparse"),
            "hybrid": collection.rank("hybrid", weight),
        }
        figures: dict[str, Any] = {mode: summarise(ranking, collection.qrels) for mode, ranking in rankings.items()}
        return figures | {
            "documents": collection.documents,
            "queries": len(collection.queries),
            "chunks": collection.searcher.count(),
            "dense_weight": weight,
            "bm25_language": collection.language,
        }


@dataclass(frozen=True, slots=True)
class Collection:
    """A BEIR collection, indexed; ``queries`` are those that are judged, with their vectors by id."""

    documents: int
    queries: Mapping[str, str]
    vectors: Mapping[str, npt.NDArray[np.float32]]
    qrels: Mapping[str, Mapping[str, int]]
    searcher: Searcher
    bm25: Bm25Encoder
    language: str
    weights: Weights | None
    index: IndexPolicy

    def weight(self, policy: RetrievalPolicy) -> float | None:
        """Return the dense weight that a search with ``policy`` would take, None where it fuses ranks."""
        settings = {SETTING: self.weights.setting()} if self.weights is not None else {}
        return weight_for("", settings, policy)[0]

    def request(self, query: str, mode: str, weight: float | None = None) -> SearchRequest:
        """Return the search of a query, by id."""
        return SearchRequest(
            limit=self.index.candidates,
            candidates=self.index.candidates,
            rrf_k=self.index.rrf_k,
            dense=None if mode == "sparse" else self.vectors[query],
            sparse=None if mode == "dense" else self.bm25.encode_query(self.queries[query]),
            dense_weight=weight,
        )

    def rank(self, mode: str, weight: float | None = None) -> dict[str, list[str]]:
        """Return the ids of the documents found for every query, best first."""
        return {query: _documents(self.searcher, self.request(query, mode, weight)) for query in self.queries}


@contextmanager
def open_collection(
    folder: Path,
    *,
    embed: EmbedPolicy | None = None,
    chunk: ChunkPolicy | None = None,
    index: IndexPolicy | None = None,
    retrieval: RetrievalPolicy | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Iterator[Collection]:
    """Chunk, embed and index a BEIR collection, let its release learn, and give it until the block ends."""
    from headwater.quality.language import languages

    embed, chunk, index = embed or EmbedPolicy(), chunk or ChunkPolicy(), index or IndexPolicy()
    progress = progress or NoProgress()
    documents, queries, qrels = _read_corpus(folder), _read_queries(folder), _read_qrels(folder)
    detected = languages([text for _, text in documents.values()])["language"].value_counts()
    language = analyzer_of(embed.bm25_language, dict(detected.iter_rows()))
    embed = embed.model_copy(update={"bm25_language": language})
    embedder = open_embedder(embed)
    rows = _chunks(documents, chunk, embed)
    average = grid_average_length(float(np.mean(token_counts([row.embedded for row in rows], language))))
    bm25 = Bm25Encoder(embed.bm25_k, embed.bm25_b, average, language)
    with tempfile.TemporaryDirectory(prefix="headwater-evaluate-") as temporary:
        vectors = VectorCache(cache or Path(temporary) / "vectors", embedder.fingerprint, embedder.dimensions)
        engine = EdgeEngine(Path(temporary) / "index")
        engine.stage(1, None, IndexSpec(embedder.dimensions, embedder.fingerprint))
        engine.apply(1, _batches(rows, embedder, bm25, vectors, progress), [])
        engine.seal(1)
        weights = _learn(rows, retrieval or RetrievalPolicy(), embedder, bm25, vectors)
        vectors.close()
        searcher = engine.open(1)
        try:
            judged = {query: queries[query] for query in queries if query in qrels}
            dense = embedder.encode_queries(list(judged.values()))
            yield Collection(
                documents=len(documents),
                queries=judged,
                vectors=dict(zip(judged, dense, strict=True)),
                qrels=qrels,
                searcher=searcher,
                bm25=bm25,
                language=language,
                weights=weights,
                index=index,
            )
        finally:
            searcher.close()


def _learn(
    rows: Sequence[_Row], policy: RetrievalPolicy, embedder: EmbeddingModel, bm25: Bm25Encoder, cache: VectorCache
) -> Weights | None:
    """Return what a release of these chunks would learn; their vectors are in the cache."""
    if len(rows) < MIN_CHUNKS or not policy.learning_queries:
        return None
    chosen = sorted(((_chunk_id(row), row) for row in rows), key=itemgetter(0))[:SAMPLE_CHUNKS]
    texts = [row.embedded for _, row in chosen]
    sample = Sample(
        ids=[name for name, _ in chosen],
        documents=[_doc_id(row) for _, row in chosen],
        keys=[row.document for _, row in chosen],
        languages=[None] * len(chosen),
        vectors=cache.lookup([_text_hash(text) for text in texts])[1],
        terms=bm25.encode_documents(texts),
        digest="",
    )
    sources = [Source(name, _doc_id(row), row.chunk.text, row.embedded) for name, row in chosen]
    return learn_weights(
        sample,
        list(known_items(sources[: policy.learning_queries], policy.learning_queries)),
        [],
        encode_queries=embedder.encode_queries,
        encode_documents=embedder.encode_documents,
        bm25=bm25,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    document: str
    ordinal: int
    title: str
    chunk: Chunk
    embedded: str
    lead: str | None


def _doc_id(row: _Row) -> str:
    return document_id("beir", row.document)


def _chunk_id(row: _Row) -> str:
    return chunk_id(_doc_id(row), row.ordinal)


def _text_hash(text: str) -> str:
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def _chunks(documents: Mapping[str, tuple[str, str]], policy: ChunkPolicy, embed: EmbedPolicy) -> list[_Row]:
    tokenizer, prompt = load_tokenizer(tokenizer_source(embed)), prompts_of(embed).document
    rows = []
    for document, (title, text) in documents.items():
        parsed = ParsedDocument(text, tuple(_paragraphs(text)), {"title": title or None})
        pieces = chunk_document(parsed, policy, tokenizer=tokenizer, prompt=prompt)
        for ordinal, (piece, lead) in enumerate(zip(pieces, leads(text, pieces), strict=True)):
            embedded = embedded_text(
                title, piece.section, piece.text, policy, tokenizer, table_header=piece.table_header
            )
            rows.append(_Row(document, ordinal, title, piece, embedded, lead))
    return rows


def _paragraphs(text: str) -> Iterator[Element]:
    start = 0
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            yield Element("NarrativeText", paragraph, None, (), start, start + len(paragraph))
        start += len(paragraph) + 2


def _batches(
    rows: Sequence[_Row], embedder: EmbeddingModel, bm25: Bm25Encoder, cache: VectorCache, progress: Progress
) -> Iterator[pa.RecordBatch]:
    progress.start("embeddings", len(rows))
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        texts = [row.embedded for row in part]
        hashes = [_text_hash(text) for text in texts]
        found, vectors = cache.lookup(hashes)
        new = np.flatnonzero(~found)
        if len(new):
            vectors[new] = embedder.encode_documents(
                [texts[place] for place in new], [part[int(place)].chunk.ids for place in new]
            )
            cache.store([hashes[place] for place in new], vectors[new])
        records = [
            {
                "chunk_id": _chunk_id(row),
                "fingerprint": text_hash,
                "vector": vector,
                "sparse_indices": sparse.indices,
                "sparse_values": sparse.values,
                "doc_id": _doc_id(row),
                "key": row.document,
                "title": row.title,
                "section": list(row.chunk.section),
                "start": row.chunk.start,
                "end": row.chunk.end,
                "text": row.chunk.text,
                "lead": row.lead,
                "readers": ["*"],
            }
            for row, text_hash, vector, sparse in zip(part, hashes, vectors, bm25.encode_documents(texts), strict=True)
        ]
        yield pa.RecordBatch.from_pylist(records, schema=POINT_SCHEMA)
        progress.advance("embeddings", len(part))


def _documents(searcher: Searcher, request: SearchRequest) -> list[str]:
    """Return at least as many different documents as the metrics look at, if that many are found at all."""
    while True:
        hits = searcher.search(request)
        documents = list(dict.fromkeys(str(hit.payload["key"]) for hit in hits))
        if len(documents) >= max(RECALL_DEPTHS) or len(hits) < request.limit:
            return documents
        request = replace(request, limit=2 * request.limit, candidates=2 * request.candidates)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _read_corpus(folder: Path) -> dict[str, tuple[str, str]]:
    lines = _json_lines(folder / "corpus.jsonl", ("_id", "text"))
    return {str(line["_id"]): (str(line.get("title") or ""), str(line["text"])) for line in lines}


def _read_queries(folder: Path) -> dict[str, str]:
    return {str(line["_id"]): str(line["text"]) for line in _json_lines(folder / "queries.jsonl", ("_id", "text"))}


def _read_qrels(folder: Path) -> dict[str, dict[str, int]]:
    file = folder / "qrels.tsv"
    if not file.is_file():
        file = folder / "qrels" / "test.tsv"
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_lines(file), 1):
        if number == 1 or not line.strip():
            continue
        try:
            query, document, score = line.rstrip("\n").split("\t")
            qrels.setdefault(query, {})[document] = int(score)
        except ValueError as error:
            raise ConfigError(
                f"{file}:{number}: expected query, document and whole-number score, tab-separated"
            ) from error
    return qrels


def _json_lines(file: Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{file}:{number}: not a JSON object") from error
        if not isinstance(record, dict) or any(field not in record for field in fields):
            raise ConfigError(f"{file}:{number}: expected an object with {', '.join(fields)}")
        yield record


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            yield from lines
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file} does not exist; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv)"
        ) from error
