"""Text to vectors: dense vectors of a model here or behind an endpoint, BM25 sparse vectors, and the cache between runs."""

from headwater.embedding.bm25 import Bm25Encoder, grid_average_length, token_counts
from headwater.embedding.cache import VectorCache
from headwater.embedding.contract import REASONS, EmbeddingModel, Vectors, Work
from headwater.embedding.embedder import Embedder
from headwater.embedding.endpoint import EndpointEmbedder
from headwater.embedding.engines import (
    embedder_of_release,
    fingerprint_of,
    is_same_model,
    open_embedder,
    prompts_of,
    settings_of,
    tokenizer_source,
)
from headwater.embedding.model import load_tokenizer, locate_model, model_fingerprint, model_prompts

__all__ = [
    "REASONS",
    "Bm25Encoder",
    "Embedder",
    "EmbeddingModel",
    "EndpointEmbedder",
    "VectorCache",
    "Vectors",
    "Work",
    "embedder_of_release",
    "fingerprint_of",
    "grid_average_length",
    "is_same_model",
    "load_tokenizer",
    "locate_model",
    "model_fingerprint",
    "model_prompts",
    "open_embedder",
    "prompts_of",
    "settings_of",
    "token_counts",
    "tokenizer_source",
]
