"""The gate: what a candidate must show before it goes live.

Each check has a figure and a threshold from the corpus' configuration; all of them block. A failed gate leaves the
live release as it was and keeps the candidate, so that it can be looked at (``headwater diff``), mended by another
reindex, or promoted by a person with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headwater.gate.contents import (
    accounting,
    content_matches,
    counts_reconcile,
    no_chunk_over_cap,
    no_personal_data,
    no_vector_missing,
    quarantine_within_bounds,
    size_change,
)
from headwater.gate.quality import (
    embedding_canary,
    golden_not_worse,
    golden_recall,
    known_items_found,
    refusal_accuracy,
)
from headwater.gate.subject import Finding, Subject
from headwater.reports import GateCheck

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.stages.evaluation import Evaluation

__all__ = ["CHECKS", "DESCRIPTIONS", "Finding", "Subject", "run_gate"]

_CHECKS: dict[str, tuple[str, Callable[[Subject], Finding]]] = {
    "accounting": (
        "Every listed object is in exactly one end state: indexed, duplicate, rejected or quarantined.",
        accounting,
    ),
    "counts_reconcile": (
        "The index holds exactly the points that the manifest wants, with the same fingerprints: nothing is missing, "
        "orphaned or stale.",
        counts_reconcile,
    ),
    "content_matches": (
        "Sampled points hold the text, span, readers and vector that the lake has for them.",
        content_matches,
    ),
    "no_vector_missing": (
        "Every sampled point has a dense vector of unit length and a payload that can be cited.",
        no_vector_missing,
    ),
    "no_chunk_over_cap": ("No chunk is longer than the token cap of its embedding model.", no_chunk_over_cap),
    "no_personal_data": ("No personal data is left in the chunks.", no_personal_data),
    "embedding_canary": ("Stored vectors are those that the model gives for the same text now.", embedding_canary),
    "known_items_found": (
        "Sentences of the corpus, asked as questions, find their own document.",
        known_items_found,
    ),
    "golden_recall": ("Golden questions find the passage that holds their answer.", golden_recall),
    "golden_not_worse": (
        "Golden questions rank their passages about as high as in the live release, question by question.",
        golden_not_worse,
    ),
    "refusal_accuracy": ("Golden questions without an answer in the corpus are refused.", refusal_accuracy),
    "size_change": ("The candidate did not lose more documents, or grow more, than the corpus allows.", size_change),
    "quarantine_within_bounds": (
        "No more objects are quarantined than the corpus allows.",
        quarantine_within_bounds,
    ),
}

DESCRIPTIONS: dict[str, str] = {name: description for name, (description, _) in _CHECKS.items()}
CHECKS: tuple[str, ...] = tuple(_CHECKS)


def run_gate(
    corpus: Corpus,
    release: int,
    evaluation: Evaluation,
    baseline: tuple[int, Evaluation] | None = None,
    *,
    removals_confirmed: bool = False,
) -> list[GateCheck]:
    """Return every check of ``release``.

    ``baseline`` is the live release and its evaluation, None when there is no other live release to compare with.
    ``removals_confirmed`` says that a person expects many documents to be gone.
    """
    subject = Subject.of(corpus, release, evaluation, baseline, removals_confirmed=removals_confirmed)
    checks = []
    for name, (description, check) in _CHECKS.items():
        found = check(subject)
        checks.append(
            GateCheck(name, bool(found.passed), float(found.figure), float(found.threshold), description, found.details)
        )
    return checks
