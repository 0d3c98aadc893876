"""How documents are cut into passages."""

from __future__ import annotations

from pydantic import Field, model_validator

from headwater.policies.base import Policy


class ChunkPolicy(Policy):
    """How a document is cut into passages."""

    max_tokens: int = Field(
        default=254,
        ge=16,
        description="Hard cap per chunk in tokens of the embedding model, special tokens, title, section and table header included.",
    )
    min_tokens: int = Field(
        default=32, ge=0, description="A section's last piece shorter than this joins its neighbour if the cap allows."
    )
    context: bool = Field(
        default=True,
        description="Embed each chunk together with its document's title and section path, and a chunk from further down in a table with the table's header row.",
    )
    max_context_tokens: int = Field(default=48, ge=0, description="At most this many tokens of title and section path.")
    overlap_tokens: int = Field(
        default=0,
        ge=0,
        description="A chunk repeats up to this many tokens of the one before in its section, in whole sentences where they fit; half of max_tokens at most. 0 by measurement: 32 and 64 found no more of the gold passages (docs/chunking.md).",
    )

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> ChunkPolicy:
        if self.overlap_tokens > self.max_tokens // 2:
            raise ValueError("overlap_tokens must be half of max_tokens at most")
        return self
