"""What a run says of the quality of a corpus: counts by reason, and how its signals are spread. Numbers only."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from headwater.policies import QualityPolicy
from headwater.quality.rules import Rule, chosen, threshold

BINS = 12
_BARS = "·▁▂▃▄▅▆▇█"
_WIDE = 40  # from this many times the limit on, bins grow by a factor instead of a step


def summary(judged: pl.DataFrame, policy: QualityPolicy) -> dict[str, Any]:
    """Return ``kept``, ``rejected``, ``reasons``, ``profiles``, ``languages`` (counts) and ``histograms``.

    ``judged`` are signals with ``keep``, ``reason`` and ``profile``. A histogram belongs to the signal of a rule that
    the policy applies: ``edges`` (one more than bins; what lies beyond the last is in the last bin), ``kept`` and
    ``rejected`` (counts), ``limits`` (one per rule), ``side``.
    """
    kept = int(judged["keep"].sum())
    return {
        "kept": kept,
        "rejected": judged.height - kept,
        "reasons": _counts(judged["reason"]),
        "profiles": _counts(judged["profile"]),
        "languages": _counts(judged["language"]),
        "histograms": histograms(judged, policy),
    }


def histograms(judged: pl.DataFrame, policy: QualityPolicy) -> dict[str, dict[str, Any]]:
    """Return the histogram of every signal that a rule with a limit in the policy asks for, by its name."""
    found: dict[str, dict[str, Any]] = {}
    if judged.is_empty():
        return found
    for rule in chosen(policy):
        if not isinstance(rule.limit, str):
            continue  # no limit to choose, or one that hangs on the document (the language's)
        limit = threshold(policy, rule.limit)
        if rule.name in found:  # a least and a most
            found[rule.name]["limits"].append(limit)
            continue
        values = judged.select(rule.value(policy)).to_series().to_numpy().astype(float)
        edges = _edges(values, limit, rule)
        keep = judged["keep"].to_numpy()
        inside = np.clip(values, edges[0], edges[-1])
        found[rule.name] = {
            "edges": [round(float(edge), 4) for edge in edges],
            "kept": np.histogram(inside[keep], edges)[0].tolist(),
            "rejected": np.histogram(inside[~keep], edges)[0].tolist(),
            "limits": [limit],
            "side": rule.side,
        }
    return found


def _edges(values: Any, limit: float, rule: Rule) -> Any:
    """Return bins from 0 to what all but a twentieth of the documents are below, and to beyond the limit."""
    most = float(np.quantile(values, 0.95))
    high = max(most, 1.5 * limit, 1e-3) if rule.side == "min" else max(min(most, 4 * limit), 1.5 * limit, 1e-3)
    if limit <= 1 and values.max() <= 1:
        high = min(high, 1.0)  # a share
    if limit >= 1 and high > _WIDE * limit:
        return np.concatenate([[0.0], np.geomspace(limit, high, BINS)])
    return np.linspace(0.0, high, BINS + 1)


def _counts(values: pl.Series) -> dict[str, int]:
    counted = values.value_counts(sort=True)
    return {str(name): int(count) for name, count in sorted(counted.iter_rows(), key=lambda row: (-row[1], row[0]))}


def drawn(found: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Return histograms as rows for people: signal, limit, least, a bar per bin, most; rejected documents below kept."""
    rows = []
    for signal, histogram in found.items():
        edges, kept, rejected = histogram["edges"], histogram["kept"], histogram["rejected"]
        most = max(*kept, *rejected, 1)
        limit = f"{'at least' if histogram['side'] == 'min' else 'at most'} {histogram['limits'][0]:g}"
        rows.append((signal, limit, f"{edges[0]:g}", _bar(kept, most), f"{edges[-1]:g}"))
        if any(rejected):
            rows.append(("", "", "rejected", _bar(rejected, most), ""))
    return rows


def _bar(counts: list[int], most: int) -> str:
    """Return counts as one character each; whatever was counted shows."""
    last = len(_BARS) - 1
    return "[" + "".join(_BARS[max(1, round(last * count / most)) if count else 0] for count in counts) + "]"
