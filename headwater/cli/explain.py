"""How a search came to its passages, for people."""

from __future__ import annotations

import json

from headwater.cli.output import print_table, say
from headwater.retrieval.explain import Explanation


def print_explanation(found: Explanation) -> None:
    """Print what was done, a line per result, and the time of every step."""
    say(f"Release {found.release}, {found.candidates} candidates per retriever; {_fusion(found)}.")
    if found.filters:
        say(f"Filters: {json.dumps(found.filters, ensure_ascii=False)}")
    if found.rerank_model:
        say(f"Reranked by {found.rerank_model}.")
    if found.diversity:
        say(f"Diversity: {found.diversity:g}")
    print_table(
        ("fused", "score", "dense", "bm25", "reranked", "key", "page", "became"),
        [
            (
                rank,
                f"{hit.score:.4f}",
                _place(hit.dense),
                _place(hit.sparse),
                "" if hit.rerank_score is None else f"{hit.rerank_score:.4f}",
                hit.key,
                hit.page,
                hit.outcome + (f" of {_rank_of(found, hit.into)}" if hit.into else ""),
            )
            for rank, hit in enumerate(found.hits, start=1)
        ],
        right=("fused", "score", "dense", "bm25", "reranked", "page"),
    )
    say(", ".join(f"{step} {1000 * seconds:.1f} ms" for step, seconds in found.timings.items()) + "\n")


def _fusion(found: Explanation) -> str:
    if found.fusion == "scores":
        return f"dense scores weigh {found.dense_weight:g}, BM25 the rest ({found.weight_source})"
    return "fused by ranks (RRF)" if found.fusion == "ranks" else f"{found.mode} alone"


def _place(found: tuple[int, float] | None) -> str:
    return "" if found is None else f"{found[0]} ({found[1]:.3f})"


def _rank_of(found: Explanation, chunk_id: str) -> int | None:
    return next((rank for rank, hit in enumerate(found.hits, start=1) if hit.chunk_id == chunk_id), None)
