"""Which documents say the same, and which paragraphs say nothing because every document has them.

:func:`near_duplicates` answers for a list of texts, exactly. A corpus is deduplicated step by step, so that a
changed document costs only its own work:

1. :func:`exact_representatives` collapses equal texts among equal readers;
2. :func:`signatures` makes MinHash signatures and shingle sets of the texts that are new or changed;
3. :func:`candidate_pairs` proposes pairs with at least one changed member, by the bands of :func:`choose_bands`;
4. :func:`jaccard_pairs` computes their exact similarity, and pairs below the threshold are dropped;
5. :func:`cluster` names one survivor per document.

Boilerplate is counted over the survivors only: copies of one document must not turn its text into boilerplate.
"""

from __future__ import annotations

from headwater.dedup.boilerplate import boilerplate_edits, boilerplate_paragraphs, paragraphs
from headwater.dedup.clusters import Clusters, cluster, exact_representatives
from headwater.dedup.join import near_duplicates
from headwater.dedup.minhash import (
    PERMUTATIONS,
    SignatureBatch,
    candidate_pairs,
    choose_bands,
    jaccard_pairs,
    signatures,
)
from headwater.dedup.shingles import ShingleSets, shingle_sets

CODE_VERSION = "1"

REASONS: dict[str, tuple[str, str]] = {
    "exact_duplicate": (
        "This document has exactly the same text as another one, which is searchable instead.",
        "Nothing to do. Remove one of the two if it should not be there.",
    ),
    "near_duplicate": (
        "Nearly the same text as another document, which is searchable instead.",
        "Compare the two. If both must be searchable, raise dedup.threshold, or remove the outdated one.",
    ),
}

__all__ = [
    "CODE_VERSION",
    "PERMUTATIONS",
    "REASONS",
    "Clusters",
    "ShingleSets",
    "SignatureBatch",
    "boilerplate_edits",
    "boilerplate_paragraphs",
    "candidate_pairs",
    "choose_bands",
    "cluster",
    "exact_representatives",
    "jaccard_pairs",
    "near_duplicates",
    "paragraphs",
    "shingle_sets",
    "signatures",
]
