"""BM25 sparse vectors, by the encoder that ships with the Qdrant engine.

A document's weights are the term-frequency half of BM25 (Robertson and Zaragoza 2009); the inverse document
frequency is applied by the index at query time, over the points of the release that the asker may read. So a weight depends on
its own text and on one number of the corpus, the average length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.embedding.languages import AUTO, DEFAULT, PLAIN, UNSPACED
from headwater.errors import ConfigError
from headwater.index.contract import SparseVector

if TYPE_CHECKING:
    from qdrant_edge import Bm25

_COUNTING_K = 1e9  # with b = 0 and k without bound, BM25's weight of a term is its frequency


class Bm25Encoder:
    """Texts to BM25 vectors: lower-cased words, the language's stop words removed, stemmed (Snowball).

    ``language`` is a name such as ``german``, or ``none`` for words as they are; ``auto``, which only a corpus can
    answer (:func:`headwater.embedding.languages.analyzer_of`), counts as English.

    ``average_length`` is the mean number of such terms per text in the corpus (see :func:`token_counts`); it sets
    what counts as a long text. The same text and parameters always give the same vector, indices ascending.
    Raises ConfigError for an unknown language or parameters out of range.
    """

    def __init__(
        self, k: float = 0.9, b: float = 0.4, average_length: float = 256.0, language: str = "english"
    ) -> None:
        self._bm25 = _bm25(k, b, average_length, language)

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return one vector per text, in order; a text without terms gives an empty vector."""
        return [_vector(self._bm25.embed_document(text)) for text in texts]

    def encode_query(self, text: str) -> SparseVector:
        """Return the query's vector: weight 1 for each different term."""
        return _vector(self._bm25.embed_query(text))


def token_counts(texts: Sequence[str], language: str = "english") -> list[int]:
    """Return the length of each text as BM25 counts it: terms left after stop words, repeats included."""
    counter = _bm25(_COUNTING_K, 0.0, 256.0, language)
    return [round(sum(counter.embed_document(text).values)) for text in texts]


def grid_average_length(mean: float) -> float:
    """Return the power of the square root of 2 nearest to ``mean`` (in ratio), at least 1.

    Every weight depends on the average length, so an average that moved with each added document would change
    every sparse vector. On this grid it moves only when the mean crosses a border (19 % from either neighbour);
    the difference in weight in between is small beside the choice of k and b.
    """
    if not mean > 1.0:
        return 1.0
    return float(2.0 ** (round(2.0 * math.log2(mean)) / 2.0))


def _bm25(k: float, b: float, average_length: float, language: str) -> Bm25:
    from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, StopwordsSet, TokenizerType

    chosen = DEFAULT if language == AUTO else language
    analyzer: dict[str, Any] = {"language": chosen}
    if chosen == PLAIN:
        # An empty set would mean the stop words of the default language.
        analyzer = {"stemmer": DisabledStemmer(), "stopwords": StopwordsSet(set(), {"\0"})}
    if chosen in UNSPACED:
        analyzer["tokenizer"] = TokenizerType.Multilingual
    try:
        return Bm25(Bm25Config(k=k, b=b, avg_len=average_length, **analyzer))
    except ValueError as error:
        raise ConfigError(f"BM25 can't be set up: {error}; correct embed.bm25_language, bm25_k or bm25_b") from error


def _vector(sparse: object) -> SparseVector:
    indices = np.asarray(sparse.indices, dtype=np.uint32)  # type: ignore[attr-defined]
    values = np.asarray(sparse.values, dtype=np.float32)  # type: ignore[attr-defined]
    order = np.argsort(indices)
    return SparseVector(indices[order], values[order])
