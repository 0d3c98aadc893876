"""The figures that say how answers are doing, from the tables ``answer_log`` and ``feedback``. Pure functions over frames.

Shares lie in 0..1, times are seconds, and what can't be said of a period (a share of nothing) is null, not zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

_ASKED = ~pl.col("cached")
"""Answers that were worked out: the time of one from the cache says nothing of how long people wait for the others."""

_WRITTEN = pl.col("sentences").sum() + pl.col("dropped").list.len().sum()

FIGURES: Mapping[str, pl.Expr] = {
    "answers": pl.len(),
    "refused_share": pl.col("refused").mean(),
    "dropped_share": pl.col("dropped").list.len().sum() / _WRITTEN,
    "fallback_share": pl.col("fallback").mean(),
    "cached_share": pl.col("cached").mean(),
    "answer_characters": pl.col("answer_characters").filter(~pl.col("refused")).mean(),
    "turns_per_conversation": pl.col("conversation").count() / pl.col("conversation").drop_nulls().n_unique(),
    "seconds_p50": pl.col("answer_seconds").filter(_ASKED).quantile(0.5, "linear"),
    "seconds_p95": pl.col("answer_seconds").filter(_ASKED).quantile(0.95, "linear"),
    "prompt_tokens": pl.col("prompt_tokens").sum(),
    "completion_tokens": pl.col("completion_tokens").sum(),
    "cost": pl.col("cost").sum(),
}
"""``dropped_share`` is of the sentences that were written; ``answer_characters`` is the mean over answers that are no
refusals; ``turns_per_conversation`` counts what was asked inside of conversations."""

VOTES = ("thumbs_up", "thumbs_down", "correction", "wrong_citation")


def figures(log: pl.DataFrame) -> dict[str, float | int | None]:
    """Return :data:`FIGURES` over all rows of an answer log."""
    (row,) = log.select(_clean(name, figure) for name, figure in FIGURES.items()).to_dicts()
    return row


def figures_by_day(log: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Return one row per day (UTC) from ``start`` up to ``end``: ``day`` and :data:`FIGURES`.

    A day without an answer has 0 answers and nulls.
    """
    daily = (
        log.group_by(pl.col("asked_at").dt.date().alias("day"))
        .agg(_clean(name, figure) for name, figure in FIGURES.items())
        .with_columns(pl.col("answers").cast(pl.Int64))
    )
    return _days(start, end).join(daily, on="day", how="left").with_columns(pl.col("answers").fill_null(0)).sort("day")


def feedback_by_day(feedback: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Return one row per day (UTC) from ``start`` up to ``end``: ``day``, a count per kind, and ``down_share``.

    ``down_share`` is the share of thumbs that are down.
    """
    counts = [(pl.col("kind") == kind).sum().cast(pl.Int64).alias(kind) for kind in VOTES]
    daily = feedback.group_by(pl.col("given_at").dt.date().alias("day")).agg(counts)
    found = _days(start, end).join(daily, on="day", how="left").with_columns(pl.col(VOTES).fill_null(0)).sort("day")
    return found.with_columns(
        down_share=_not_nan(pl.col("thumbs_down") / (pl.col("thumbs_up") + pl.col("thumbs_down")))
    )


def feedback_counts(feedback: pl.DataFrame) -> dict[str, int]:
    """Return how much feedback of each kind there is, all kinds named."""
    counted = Counter(feedback["kind"].to_list())
    return {kind: counted[kind] for kind in VOTES}


def drop_reasons(log: pl.DataFrame) -> dict[str, int]:
    """Return how many sentences were left out for which reason, the most frequent first."""
    counted = Counter(log["dropped"].explode().drop_nulls().to_list())
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def between(frame: pl.DataFrame, column: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the rows whose ``column`` lies in ``start <= time < end`` (timezone-aware)."""
    return frame.filter(pl.col(column) >= start.astimezone(UTC), pl.col(column) < end.astimezone(UTC))


_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | int | None]) -> str:
    """Return figures as one character each, from the lowest to the highest level of what they reach; a gap is a dot.

    The lowest level is 0: a share of a tenth looks the same in every line of a table whose most is the same.
    """
    known = [float(value) for value in values if value is not None]
    most = max(known, default=0.0) or 1.0
    last = len(_LEVELS) - 1
    return "".join("·" if value is None else _LEVELS[max(0, round(last * float(value) / most))] for value in values)


def trends(daily: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return one row per named figure: ``figure``, ``trend`` (a character per day), ``least``, ``most``, ``latest``."""
    rows: list[dict[str, Any]] = []
    for name in names:
        values = daily[name].to_list()
        known = [float(value) for value in values if value is not None]
        rows.append(
            {
                "figure": name,
                "trend": f"[{sparkline(values)}]",
                "least": _short(min(known, default=None)),
                "most": _short(max(known, default=None)),
                "latest": _short(known[-1] if known else None),
            }
        )
    return pl.DataFrame(rows, schema=dict.fromkeys(("figure", "trend", "least", "most", "latest"), pl.String))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _days(start: datetime, end: datetime) -> pl.DataFrame:
    last = (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    return pl.DataFrame({"day": pl.date_range(start.astimezone(UTC).date(), last, "1d", eager=True)})


def _clean(name: str, figure: pl.Expr) -> pl.Expr:
    return figure.alias(name) if name == "answers" else _not_nan(figure).alias(name)


def _not_nan(figure: pl.Expr) -> pl.Expr:
    """Return a figure with null in place of nought divided by nought."""
    return figure.cast(pl.Float64).fill_nan(None)
