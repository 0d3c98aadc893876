"""How a query becomes passages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater.policies.base import Policy


class RetrievalPolicy(Policy):
    """How a query becomes passages. What a query asks for itself goes before it. Figures: docs/retrieval.md."""

    fusion: Literal["learnt", "ranks"] = Field(
        default="learnt",
        description="How dense and BM25 results become one list: learnt blends their scores with the weight that the release learnt from its own chunks; ranks is reciprocal rank fusion.",
    )
    dense_weight: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Weight of the dense scores, in place of the learnt one; BM25 has the rest.",
    )
    learning_queries: int = Field(
        default=200,
        ge=0,
        description="Queries made from the chunks of a release to learn its weights; 0 learns none, and 0.6 is taken.",
    )
    merge: bool = Field(
        default=True,
        description="Search results that follow one another in one section and page of a document become one passage.",
    )
    merge_characters: int = Field(default=4000, ge=1, description="No merged passage is longer than this.")
    collapse: bool = Field(
        default=True,
        description="Of results with the same or nearly the same text the best one is shown, and names the documents of the others.",
    )
    diversity: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share that being unlike the results above has in the order (maximal marginal relevance, Carbonell and Goldstein 1998); 0 is off.",
    )
    rerank_model: str | None = Field(
        default=None, description="Folder of a sentence-transformers CrossEncoder that orders the best results anew."
    )
    rerank_top: int = Field(default=30, ge=1, le=1000, description="How many results are reranked.")
    rerank_batch: int = Field(default=16, ge=1, description="Pairs of query and passage per forward pass.")
