"""How questions are answered, and how long answers are kept."""

from __future__ import annotations

from pydantic import Field

from headwater.policies.base import Policy
from headwater.policies.llm import LlmPolicy


class AnswerPolicy(Policy):
    """How questions are answered: by a language model where one is named, else by quoting."""

    llm: LlmPolicy | None = Field(
        default=None, description="The model that writes answers; without one they are quoted."
    )
    passages: int = Field(default=10, ge=1, description="Passages read for one answer.")
    max_sentences: int = Field(default=3, ge=1, description="At most this many sentences are quoted.")
    min_support: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Without a model: a sentence below this support is no answer, and the question is refused. A lower value answers more (benchmarks/answers.py --sweep).",
    )
    further_support: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="Without a model: sentences after the best one need this support.",
    )
    draft_support: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="A sentence that a language model wrote needs this support by the spans that it cites, or is dropped.",
    )
    entailment_model: str | None = Field(
        default=None,
        description="Folder of a sentence-transformers CrossEncoder with the labels of natural language inference: "
        "a second opinion on sentences that a language model wrote.",
    )
    retention_days: int | None = Field(
        default=90,
        ge=1,
        description="How long answers and what people said of them are kept in the ledger; null keeps them. What is older goes with the daily answer_log asset and with headwater gc.",
    )
    cache_mb: int = Field(
        default=16,
        ge=0,
        description="Answers remembered by a process, in MiB: the same question of people with the same groups is not worked out again until the release changes; 0 remembers none.",
    )
    cache_seconds: float = Field(default=3600.0, gt=0, description="... and for no longer than this.")
