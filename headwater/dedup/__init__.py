"""Which documents say the same, and which paragraphs say nothing because every document has them.

:func:`near_duplicates` answers for a list of texts, exactly. A corpus is deduplicated step by step, so that a
changed document costs only its own work:

1. :func:`exact_representatives` collapses equal texts among equal readers;
2. :func:`signatures` makes MinHash signatures and shingle sets of the texts that are new or changed;
3. :func:`find_survivors` names one survivor per document: bands of signatures propose, exact Jaccard decides.

Whoever wants the pairs themselves has :func:`candidate_pairs` and :func:`jaccard_pairs`, and :func:`cluster` for the
survivors among given pairs. :func:`to_datasketch` hands a signature to datasketch's indexes.

Boilerplate and repeated sentences are counted over the survivors only: copies of one document must not turn its text
into boilerplate. :class:`QuestionFinder` finds documents that contain evaluation questions.
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
    to_datasketch,
)
from headwater.dedup.questions import QuestionFinder, read_questions
from headwater.dedup.repeats import repeated_sentences, sentence_edits, sentence_hashes, sentences_left
from headwater.dedup.shingles import ShingleSets, shingle_sets
from headwater.dedup.survivors import BandBuckets, band_buckets, find_survivors, warm_up

CODE_VERSION = "2"

REASONS: dict[str, tuple[str, str]] = {
    "exact_duplicate": (
        "This document has exactly the same text as another one, which is searchable instead.",
        "Nothing to do. Remove one of the two if it should not be there.",
    ),
    "near_duplicate": (
        "Nearly the same text as another document, which is searchable instead.",
        "Compare the two. If both must be searchable, raise dedup.threshold, or remove the outdated one.",
    ),
    "held_by_other_corpus": (
        "Another corpus holds the same text, or nearly the same, and this one leaves out what that one has.",
        "Nothing to do. If it must be searchable here, too, change dedup.exclude_corpora.",
    ),
    "contains_evaluation_question": (
        "It contains a question that search is measured with, which would spoil the measurement.",
        "Take the question out of the document, or out of the file that dedup.exclude_questions names.",
    ),
}

__all__ = [
    "CODE_VERSION",
    "PERMUTATIONS",
    "REASONS",
    "BandBuckets",
    "Clusters",
    "QuestionFinder",
    "ShingleSets",
    "SignatureBatch",
    "band_buckets",
    "boilerplate_edits",
    "boilerplate_paragraphs",
    "candidate_pairs",
    "choose_bands",
    "cluster",
    "exact_representatives",
    "find_survivors",
    "jaccard_pairs",
    "near_duplicates",
    "paragraphs",
    "read_questions",
    "repeated_sentences",
    "sentence_edits",
    "sentence_hashes",
    "sentences_left",
    "shingle_sets",
    "signatures",
    "to_datasketch",
    "warm_up",
]
