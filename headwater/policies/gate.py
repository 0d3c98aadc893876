"""What a candidate must show before it goes live."""

from __future__ import annotations

from pydantic import Field

from headwater.policies.base import Policy


class GatePolicy(Policy):
    """What a candidate must show before it goes live."""

    known_item_queries: int = Field(
        default=50, ge=0, description="Chunks sampled as queries that must find their own document."
    )
    min_known_item_recall: float = Field(
        default=0.9, ge=0, le=1, description="Share of known-item queries that find their document in the first 10."
    )
    golden: str | None = Field(
        default=None, description="JSON Lines file of golden questions, relative to the corpus file."
    )
    min_golden_recall: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of answerable golden questions whose quote is in the first 10 passages.",
    )
    max_golden_drop: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="How far nDCG@10, averaged over the golden questions, may fall below the live release's.",
    )
    min_refusal_accuracy: float = Field(
        default=0.0, ge=0, le=1, description="Share of golden questions without an answer that must be refused."
    )
    max_refusal_drop: float = Field(
        default=0.25, ge=0, le=1, description="How far the refusal accuracy may fall below the live release's."
    )
    max_leaks: int = Field(default=0, ge=0, description="Findings of personal data in chunks that are let through.")
    canary_chunks: int = Field(
        default=16, ge=0, description="Chunks embedded anew to see whether the stored vectors are the model's."
    )
    min_canary_cosine: float = Field(
        default=0.99,
        ge=-1,
        le=1,
        description="Lowest cosine between a stored and a fresh vector (bfloat16 against float32: above 0.999).",
    )
    max_shrink: float = Field(
        default=0.4, ge=0, le=1, description="Share of live's documents that a candidate may have lost."
    )
    max_growth: float | None = Field(
        default=None, gt=0, description="How many times live's chunks a candidate may have; default: any number."
    )
    max_quarantined_share: float = Field(
        default=0.5, ge=0, le=1, description="More quarantined objects than this share stop the release."
    )
