"""How much the dense scores of a release weigh against BM25's, and where that is written down.

A release keeps its weights in its settings, under :data:`SETTING`: they belong to its vectors and its terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headwater.policies import RetrievalPolicy

SETTING = "retrieval"

DEFAULT_WEIGHT = 0.6
"""Where nothing was learnt. On each of four public collections it is better than RRF and than either retriever alone
(docs/retrieval.md)."""

WeightSource = Literal["learnt", "learnt for the language", "configured", "default"]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of the dense scores, 0..1, for all queries and for those of a language (ISO 639-1).

    ``queries`` is how many it was learnt from, ``sample`` is a digest of what they were learnt on. ``gains`` are mean nDCG@10
    of these queries: ``dense`` and ``sparse`` alone, ``default`` (:data:`DEFAULT_WEIGHT`) and ``learnt``.
    """

    dense: float
    queries: int
    sample: str
    languages: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)

    def setting(self) -> dict[str, Any]:
        """Return the weights as a release's settings hold them."""
        return {
            "dense_weight": self.dense,
            "languages": dict(self.languages),
            "queries": self.queries,
            "gains": dict(self.gains),
            "sample": self.sample,
        }

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Weights | None:
        """Return the weights in a release's settings, None when it learnt none."""
        held = settings.get(SETTING)
        if not held:
            return None
        return cls(
            dense=float(held["dense_weight"]),
            queries=int(held["queries"]),
            sample=str(held["sample"]),
            languages=held["languages"],
            gains=held["gains"],
        )


def weight_for(
    query: str, settings: Mapping[str, Any], policy: RetrievalPolicy
) -> tuple[float | None, WeightSource | None]:
    """Return the dense weight for ``query`` on a release with ``settings``, and where it comes from.

    None: ranks are to be fused.
    """
    if policy.dense_weight is not None:
        return policy.dense_weight, "configured"
    if policy.fusion == "ranks":
        return None, None
    weights = Weights.of(settings)
    if weights is None:
        return DEFAULT_WEIGHT, "default"
    language = _language(query) if weights.languages else None
    if language is not None and language in weights.languages:
        return weights.languages[language], "learnt for the language"
    return weights.dense, "learnt"


def _language(query: str) -> str | None:
    """Return the language of a query, None when it is too short to tell."""
    from headwater.quality.language import languages

    row = languages([query]).row(0, named=True)
    return str(row["language"]) if row["language_score"] >= _SURE else None


_SURE = 0.5
"""Below this the detector is guessing, as it does with two words."""
