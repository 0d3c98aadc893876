"""Text to vectors: dense vectors of a sentence-transformers model, BM25 sparse vectors, and the cache between runs."""

from headwater.embedding.bm25 import Bm25Encoder, grid_average_length, token_counts
from headwater.embedding.cache import VectorCache
from headwater.embedding.embedder import Embedder
from headwater.embedding.model import load_tokenizer, locate_model, model_fingerprint

__all__ = [
    "Bm25Encoder",
    "Embedder",
    "VectorCache",
    "grid_average_length",
    "load_tokenizer",
    "locate_model",
    "model_fingerprint",
    "token_counts",
]
