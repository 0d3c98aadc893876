"""The prices that costs are shown in."""

from __future__ import annotations

from pydantic import Field

from headwater.policies.base import Policy


class CostPolicy(Policy):
    """Prices, for the money that headwater costs and headwater plan show; without any they show none."""

    cpu_hour: float | None = Field(default=None, ge=0, description="Price of one CPU for an hour of use.")
    gpu_hour: float | None = Field(default=None, ge=0, description="Price of one GPU for an hour of use.")
    gb_month: float | None = Field(default=None, ge=0, description="Price of storing 10^9 bytes for a month.")
    thousand_tokens: float | None = Field(
        default=None, ge=0, description="Price of 1,000 tokens embedded by an endpoint (embed.url)."
    )
    currency: str = Field(default="USD", min_length=1, max_length=8, description="What the prices are in.")
