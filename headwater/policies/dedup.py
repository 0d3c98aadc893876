"""What counts as a duplicate or as boilerplate, and what becomes of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headwater.policies.base import Policy


class DedupPolicy(Policy):
    """Which documents say the same as another one, and which passages say nothing because many documents have them."""

    enabled: bool = Field(default=True, description="False keeps every copy.")
    threshold: float = Field(
        default=0.8,
        ge=0.06,
        le=1,
        description="Exact Jaccard of word 5-shingles at which two documents are near-duplicates; below 0.06 the "
        "signatures would miss pairs.",
    )
    survivor: Literal["longest", "first_key", "first_seen", "best_quality"] = Field(
        default="longest",
        description="Which copy is kept: the longest, the first key in order, the one whose object was last written "
        "first, or the one with the best quality signals; ties go to the first key.",
    )
    preferred_prefixes: list[str] = Field(
        default=[],
        description="Key prefixes whose documents are kept before all others, most preferred first, such as policies/.",
    )
    boilerplate: Literal["remove", "count", "keep"] = Field(
        default="remove",
        description="Paragraphs that many documents share: removed from the text, counted only, or not looked for.",
    )
    boilerplate_min_documents: int = Field(
        default=10,
        ge=0,
        description="A paragraph found in at least this many documents is boilerplate; 0 turns removal off.",
    )
    boilerplate_min_share: float = Field(
        default=0.3, ge=0, le=1, description="... and in at least this share of the documents."
    )
    sentences: Literal["keep", "count", "remove"] = Field(
        default="keep",
        description="Runs of sentences that a better-ranked document with the same readers has, too: not looked for, "
        "counted only, or removed (C4: Raffel et al. 2020).",
    )
    sentence_window: int = Field(
        default=3, ge=1, description="Sentences in such a run; those of fewer than five words don't count (C4: 3)."
    )
    exclude_corpora: list[str] = Field(
        default=[],
        description="Other corpora of the project: a document that one of them holds for the same readers is left out.",
    )
    exclude_questions: str | None = Field(
        default=None,
        description="JSON Lines file of evaluation questions, relative to the corpus file: documents that contain one "
        "are left out.",
    )
    exclude_ngram: int = Field(
        default=13,
        ge=5,
        description="Words in a row that a document may share with a longer question (GPT-3: 13, Brown et al. 2020); "
        "a shorter question must be there whole.",
    )

    @model_validator(mode="after")
    def _other_corpora_are_compared_with(self) -> DedupPolicy:
        if self.exclude_corpora and not self.enabled:
            raise ValueError("exclude_corpora needs enabled: true; without it no documents are compared")
        return self
