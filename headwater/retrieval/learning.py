"""Learning the weights of a release from queries made of its own chunks, and from the golden set where there is one.

A sample of the release's chunks is searched with each retriever alone, once per query; every weight is then tried on
the two result lists, and judged by mean nDCG@10 of the right document. Of the weights that are not surely worse than
the best one (paired difference within two standard errors, as in Breiman et al. 1984 for the size of trees), the one
nearest to :data:`~headwater.retrieval.weights.DEFAULT_WEIGHT` is taken: made queries are not people's, so they have to
be sure of themselves to say more than that, and a handful of them never is.

The sample is searched exhaustively and nothing else is looked at, so the weights are a function of the sample alone,
whatever index holds it and whatever was live before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headwater.embedding import Bm25Encoder
from headwater.index.contract import SparseVector
from headwater.retrieval.queries import KnownItem
from headwater.retrieval.weights import DEFAULT_WEIGHT, Weights

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GRID = tuple(round(step / 20, 2) for step in range(21))
"""Weights tried. Between neighbours nDCG@10 differs by 0.005 at most on the collections measured."""

CANDIDATES = 100
"""Results of each retriever, as a search takes."""

_DEPTH = 10
_ERRORS = 2.0
"""Standard errors within which a weight counts as good as the best."""

_HELD_OUT = 2.0
_GOLDEN = 3.0
"""What a held-out query and a person's question count, beside 1 of a recalled query: the order of how much they are like
what will be asked."""

_LANGUAGE_QUERIES = 40
"""Queries that a language needs to get a weight of its own."""

_DECIMALS = 6
"""Scores that agree to this many decimals are equal, and equals stand in order of id: float32 sums are not surer."""

Floats = npt.NDArray[np.float64]
Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts to their vectors (n, dimensions), of unit length."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A person's question, and the keys of the documents that answer it."""

    question: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Chunks of a release, one element or row each, in ascending order of ``ids``.

    ``vectors`` has shape (n, dimensions); ``digest`` tells the sample from every other and is kept with the weights.
    """

    ids: Sequence[str]
    documents: Sequence[str]
    keys: Sequence[str]
    languages: Sequence[str | None]
    vectors: npt.NDArray[np.float32]
    terms: Sequence[SparseVector]
    digest: str


def learn_weights(
    sample: Sample,
    items: Sequence[KnownItem],
    golden: Sequence[Golden],
    *,
    encode_queries: Encode,
    encode_documents: Encode,
    bm25: Bm25Encoder,
) -> Weights:
    """Return the weights that serve ``items`` and ``golden`` best on ``sample``, which holds the items' chunks.

    ``bm25`` must be the encoder of the sample's terms.
    """
    queries = [item.query for item in items] + [question.question for question in golden]
    if not queries or not len(sample.ids):
        return Weights(DEFAULT_WEIGHT, 0, sample.digest)
    place_of = {name: place for place, name in enumerate(sample.ids)}
    sources = [place_of[item.source.chunk_id] for item in items]
    vectors, asked = encode_queries(queries), [bm25.encode_query(query) for query in queries]
    dense = (vectors @ sample.vectors.T).astype(np.float64)
    vocabulary = np.unique(np.concatenate([query.indices for query in asked]))
    held, wanted = _counted(sample.terms, vocabulary), _counted(asked, vocabulary)
    having = np.bincount(held.indices, minlength=len(vocabulary))
    idf = np.log(1 + (len(sample.ids) - having + 0.5) / (having + 0.5))  # as Qdrant's modifier has it
    weighted = wanted.multiply(idf[None, :]).tocsr()
    sparse = np.asarray((weighted @ held.T).todense(), dtype=np.float64)
    held_out = [place for place, item in enumerate(items) if item.rest is not None]
    if held_out:
        rests = [items[place].rest or "" for place in held_out]
        columns = [sources[place] for place in held_out]
        dense[held_out, columns] = np.einsum("ij,ij->i", vectors[held_out], encode_documents(rests))
        left = _counted(bm25.encode_documents(rests), vocabulary)
        sparse[held_out, columns] = np.asarray(weighted[held_out].multiply(left).sum(axis=1)).ravel()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(sample.documents))}
    documents = np.array([numbers[name] for name in sample.documents])
    answers = [{numbers[item.source.doc_id]} for item in items]
    for question in golden:
        answers.append({int(documents[place]) for place, key in enumerate(sample.keys) if key in question.keys})
    dense, sparse = np.round(dense, _DECIMALS), np.round(sparse, _DECIMALS)
    right = [np.isin(documents, list(answer)) for answer in answers]
    curves = np.array([_curve(*row, documents) for row in zip(dense, sparse, right, strict=True)])
    made = [_HELD_OUT if item.rest is not None else 1.0 for item in items]
    importance = np.array(made + [_GOLDEN] * len(golden))
    languages = [sample.languages[place] for place in sources] + [None] * len(golden)
    return _best(curves, importance, languages, sample.digest)


def _counted(vectors: Sequence[SparseVector], vocabulary: npt.NDArray[np.uint32]) -> csr_array[Any]:
    """Return the weights of the vocabulary's terms (ascending ids) as a matrix (vectors, terms)."""
    from scipy.sparse import csr_array

    terms = np.concatenate([vector.indices for vector in vectors])
    values = np.concatenate([vector.values for vector in vectors]).astype(np.float64)
    rows = np.repeat(np.arange(len(vectors)), [len(vector.indices) for vector in vectors])
    columns = np.searchsorted(vocabulary, terms)
    known = columns < len(vocabulary)
    known[known] = vocabulary[columns[known]] == terms[known]
    shape = (len(vectors), len(vocabulary))
    return csr_array((values[known], (rows[known], columns[known])), shape=shape)


def _best(curves: Floats, importance: Floats, languages: Sequence[str | None], sample: str) -> Weights:
    dense = _choose(curves, importance)
    counts = {name: languages.count(name) for name in set(languages) if name}
    spoken = sorted(name for name, number in counts.items() if number >= _LANGUAGE_QUERIES)
    own = {}
    if len(spoken) > 1:
        for name in spoken:
            rows = [place for place, language in enumerate(languages) if language == name]
            own[name] = _choose(curves[rows], importance[rows])
    mean = np.average(curves, axis=0, weights=importance)
    at = {"sparse": 0.0, "dense": 1.0, "default": DEFAULT_WEIGHT, "learnt": dense}
    gains = {name: round(float(mean[GRID.index(weight)]), 4) for name, weight in at.items()}
    return Weights(dense, len(curves), sample, own, gains)


def _choose(curves: Floats, importance: Floats) -> float:
    share = importance / importance.sum()
    mean = share @ curves
    behind = curves[:, [int(np.argmax(mean))]] - curves
    lost = share @ behind
    errors = np.sqrt((share**2) @ (behind - lost) ** 2)
    good = [weight for weight, far, error in zip(GRID, lost, errors, strict=True) if far <= _ERRORS * error + 1e-9]
    return min(good, key=lambda weight: (round(abs(weight - DEFAULT_WEIGHT), 9), weight))


def _curve(dense: Floats, sparse: Floats, right: npt.NDArray[np.bool_], documents: npt.NDArray[np.int_]) -> list[float]:
    """Return nDCG@10 of the first right document for every weight, fused as :func:`~headwater.index.fusion.blend` does.

    ``dense``, ``sparse``, ``right`` and ``documents`` have an element per chunk of the sample.
    """
    near, having = _first(dense), _first(sparse)
    having = having[sparse[having] > 0]
    chunks = np.union1d(near, having)
    shares = np.full(len(chunks), _shares(dense, near).min())
    shares[np.searchsorted(chunks, near)] = _shares(dense, near)
    terms = np.zeros(len(chunks))
    terms[np.searchsorted(chunks, having)] = _shares(sparse, having)
    weights = np.array(GRID)[:, None]
    fused = np.round(weights * shares + (1 - weights) * terms, _DECIMALS)
    orders = np.argsort(-fused, axis=1, kind="stable")
    gains = []
    for order in orders:
        found = right[chunks[order]]
        first = int(found.argmax())
        before = len(np.unique(documents[chunks[order[:first]]]))
        gains.append(1 / math.log2(before + 2) if found[first] and before < _DEPTH else 0.0)
    return gains


def _first(scores: Floats) -> npt.NDArray[np.int_]:
    """Return the places of the best scores, best first; equal ones in order."""
    return np.argsort(-scores, kind="stable")[:CANDIDATES]


def _shares(scores: Floats, places: npt.NDArray[np.int_]) -> Floats:
    values = np.maximum(scores[places], 0.0)
    best = values.max(initial=0.0)
    return np.asarray(values / best if best > 0 else values)
