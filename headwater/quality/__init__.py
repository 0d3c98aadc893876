"""Which documents are worth indexing: cleaning, language, signals, and a verdict with a reason.

The method is that of Gopher (Rae et al. 2021, appendix A), loosened for company documents, which are short and full
of lists and tables. Signals are columns and the verdict is an expression over them: change a threshold and
:func:`decide` again; no text is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import polars as pl

from headwater.edits import apply_edits
from headwater.policies import QualityPolicy
from headwater.quality.cleaning import clean_edits, clean_steps
from headwater.quality.rules import profiled
from headwater.quality.signals import signals
from headwater.quality.verdict import OK, REASONS, decide

CODE_VERSION = "4"

MEASURED = frozenset({"block_keywords", "block_patterns", "urls", "max_symbol_run"})
"""Fields of the policy that change the text or a signal; all others are limits, which :func:`decide` compares."""

_DEFAULT = QualityPolicy()

__all__ = [
    "CODE_VERSION",
    "MEASURED",
    "OK",
    "REASONS",
    "assess",
    "clean_edits",
    "clean_steps",
    "decide",
    "judge",
    "profiled",
    "signals",
]


def assess(
    texts: Sequence[str], policy: QualityPolicy = _DEFAULT, *, content_types: Sequence[str | None] | None = None
) -> pl.DataFrame:
    """Return one row per text, in order: ``keep``, ``reason``, ``language``, ``language_score``, ``text``, ``profile``
    (prose, table or code: what it was judged as), signals.

    ``text`` is the cleaned text, which the signals are of. ``reason`` is ``ok`` or the first code of ``REASONS`` that
    applies. ``content_types`` are media types, where they are known. Nothing is raised for bad text; RowError for a
    block pattern that does not come to an end.
    """
    cleaned = [reduce(apply_edits, clean_steps(text, policy), text) for text in texts]
    return judge(cleaned, policy, content_types=content_types)


def judge(
    cleaned: Sequence[str], policy: QualityPolicy, *, content_types: Sequence[str | None] | None = None
) -> pl.DataFrame:
    """Return what :func:`assess` does, for texts that are clean already."""
    measured = signals(cleaned, policy)
    known = pl.Series("content_type", content_types or [None] * len(cleaned), pl.String)
    measured = profiled(measured.with_columns(known), policy).drop("content_type")
    first = ("language", "language_score", "profile")
    verdict = decide(measured.with_columns(known), policy)
    return pl.concat(
        [
            verdict,
            measured.select("language", "language_score"),
            pl.Series("text", cleaned, pl.String).to_frame(),
            measured.select("profile"),
            measured.drop(first),
        ],
        how="horizontal",
    )
