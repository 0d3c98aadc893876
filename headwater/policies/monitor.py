"""What is watched of answers once a day."""

from __future__ import annotations

from pydantic import Field

from headwater.policies.base import Policy


class MonitorPolicy(Policy):
    """What is watched of answers and of what people say of them, once a day."""

    enabled: bool = Field(
        default=True, description="Whether the daily schedule runs once Dagster has loaded the corpus."
    )
    window_days: int = Field(default=7, ge=1, description="The period that is looked at, up to now.")
    reference_days: int = Field(default=28, ge=1, description="The period before it that it is compared with.")
    weak_support: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="An answer whose best sentence has less support counts as one without a good passage, as a refusal does.",
    )
    same_question: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Cosine at which two questions are listed as one in the list of what is missing (own choice).",
    )
    max_drift: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index of the questions' topics above which they are said to have drifted (Siddiqi 2006: 0.25).",
    )
    min_questions: int = Field(default=50, ge=10, description="Fewer questions in either period say nothing of drift.")
