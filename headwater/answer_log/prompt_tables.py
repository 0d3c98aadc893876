"""How the versions of a prompt do in use, in words: rows of text for the command and for Dagster."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.answer_log.prompt_results import SHARES, PromptComparison, PromptResult
from headwater.answer_log.shares import Share

_TITLES = dict(zip(SHARES, ("refused", "sentences left out", "thumbs down"), strict=True))


def result_rows(results: Sequence[PromptResult]) -> list[dict[str, object]]:
    """Return a row of text per version and model, for people."""
    return [
        {
            "prompt": one.prompt,
            "model": one.model,
            "answers": one.answers,
            "refused": _interval(one.shares["refused_share"]),
            "sentences left out": _interval(one.shares["dropped_share"]),
            "thumbs up": one.votes["thumbs_up"],
            "thumbs down": one.votes["thumbs_down"],
            "share down": _interval(one.shares["down_share"]),
            "seconds": "" if one.seconds_p50 is None else f"{one.seconds_p50:.2f}",
            "tokens": "" if one.tokens is None else f"{one.tokens:,.0f}",
        }
        for one in results
    ]


def comparison_rows(comparisons: Sequence[PromptComparison]) -> list[dict[str, object]]:
    """Return a row of text per figure of each comparison, for people."""
    return [
        {
            "comparison": f"{one.b} against {one.a}",
            "model": one.model,
            "figure": _TITLES[name],
            "of": f"{found.b.of:,} against {found.a.of:,}",
            "difference": "" if found.difference is None else f"{100 * found.difference:+.1f} points",
            "95 % interval": "" if found.low is None else f"{100 * found.low:+.1f} to {100 * (found.high or 0):+.1f}",
            "shown": found.verdict,
        }
        for one in comparisons
        for name, found in one.differences.items()
    ]


def _interval(share: Share) -> str:
    if share.share is None or share.low is None or share.high is None:
        return ""
    return f"{share.share:.1%} ({100 * share.low:.1f}–{100 * share.high:.1f})"
