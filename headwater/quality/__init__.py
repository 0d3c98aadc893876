"""Which documents are worth indexing: cleaning, language, signals, and a verdict with a reason.

The method is that of Gopher (Rae et al. 2021, appendix A), loosened for company documents, which are short and full
of lists and tables. Signals are columns and the verdict is an expression over them: change a threshold and
:func:`decide` again; no text is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from headwater.edits import apply_edits
from headwater.policies import QualityPolicy
from headwater.quality.cleaning import clean_edits
from headwater.quality.signals import signals
from headwater.quality.verdict import OK, REASONS, decide

CODE_VERSION = "1"

_DEFAULT = QualityPolicy()

__all__ = ["CODE_VERSION", "OK", "REASONS", "assess", "clean_edits", "decide", "signals"]


def assess(texts: Sequence[str], policy: QualityPolicy = _DEFAULT) -> pl.DataFrame:
    """Return one row per text, in order: ``keep``, ``reason``, ``language``, ``language_score``, ``text``, signals.

    ``text`` is the cleaned text, which the signals are of: ``apply_edits(text, clean_edits(text))``. ``reason`` is
    ``ok`` or the first code of ``REASONS`` that applies. Nothing is raised for bad text.
    """
    cleaned = [apply_edits(text, clean_edits(text)) for text in texts]
    measured = signals(cleaned)
    verdict = decide(measured, policy).hstack(measured.select("language", "language_score"))
    return verdict.with_columns(pl.Series("text", cleaned, pl.String)).hstack(
        measured.drop("language", "language_score")
    )
