"""What becomes of documents that carry instructions to a language model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater.policies.base import Policy


class InjectionPolicy(Policy):
    """Documents that carry instructions to a language model. Figures: docs/injection.md."""

    action: Literal["flag", "quarantine", "ignore"] = Field(
        default="flag",
        description="flag indexes such a document, says so in its receipt and never quotes the instruction; quarantine keeps the whole document out; ignore doesn't scan.",
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Scores from here on count. 0.5 flags some 0.5 % of a company handbook; from 0.9 on are only instructions that say so outright, and hidden text.",
    )
