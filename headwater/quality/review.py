"""Which documents a rule nearly judged the other way, and what other limits would change. No text is read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import ValidationError

from headwater.errors import ConfigError
from headwater.policies import QualityPolicy
from headwater.quality.rules import chosen, profiled
from headwater.quality.verdict import decide


def borderline(frame: pl.DataFrame, policy: QualityPolicy, count: int) -> pl.DataFrame:
    """Return the ``count`` rows nearest to a limit: ``row`` (index), ``reason``, ``signal``, ``value``, ``limit``,
    ``distance``.

    A kept document is as far from rejection as its nearest limit; a rejected one as far from being kept as the limit
    that it breaks most. ``distance`` is in units of the limit, negative beyond it; by its size rows are ordered.
    """
    judged = profiled(frame, policy)
    rules = [rule for rule in chosen(policy) if not isinstance(rule.limit, float)]
    if not rules or frame.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "reason": pl.String, "signal": pl.String, "value": pl.Float64,
                                    "limit": pl.Float64, "distance": pl.Float64})  # fmt: skip
    slacks = judged.select(rule.slack(policy).cast(pl.Float64).alias(str(index)) for index, rule in enumerate(rules))
    # Where a document is said to be in doubt, the doubt has to be about a limit, not about there being text at all.
    nearest = slacks.select(
        distance=pl.min_horizontal(pl.all()), rule=pl.concat_list(pl.all().fill_null(float("inf"))).list.arg_min()
    )
    table = pl.concat([decide(judged, policy).select("reason"), nearest], how="horizontal").with_row_index("row")
    table = table.filter(pl.col("distance").is_finite(), ~pl.col("reason").is_in(["no_text", "blocked"]))
    table = table.sort(pl.col("distance").abs(), "row").head(count)
    rows = []
    for row in table.iter_rows(named=True):
        rule = rules[row["rule"]]
        pair = judged[row["row"]].select(value=rule.value(policy), limit=rule.bound(policy)).row(0)
        rows.append({**row, "signal": rule.name, "value": float(pair[0]), "limit": float(pair[1])})
    columns = ["row", "reason", "signal", "value", "limit", "distance"]
    return (
        pl.DataFrame(rows, schema_overrides={"row": pl.UInt32}).select(columns)
        if rows
        else table.clear().select(
            "row", "reason", signal=pl.lit(""), value=pl.lit(0.0), limit=pl.lit(0.0), distance="distance"
        )
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What another policy would do: counts by reason ``before`` and ``after``, and the rows whose reason differs
    (``row``, ``before``, ``after``)."""

    before: dict[str, int]
    after: dict[str, int]
    rows: pl.DataFrame


def what_if(frame: pl.DataFrame, policy: QualityPolicy, other: QualityPolicy) -> Change:
    """Decide rows of signals by two policies and return the difference."""
    before = decide(frame, policy)["reason"].alias("before")
    after = decide(frame, other)["reason"].alias("after")
    rows = pl.DataFrame([before, after]).with_row_index("row").filter(pl.col("before") != pl.col("after"))
    return Change(_counts(before), _counts(after), rows)


def _counts(reasons: pl.Series) -> dict[str, int]:
    counted = reasons.value_counts()
    return dict(sorted(counted.iter_rows(), key=lambda row: (-row[1], row[0])))


def with_settings(policy: QualityPolicy, settings: Iterable[str], measured: Collection[str]) -> QualityPolicy:
    """Return the policy with settings such as ``min_words=20``, ``gopher.min_words=10`` or ``rules=gopher,c4``.

    Raises ConfigError for a field that does not exist or is in ``measured`` (it takes a reindex to see what it
    changes), and for a value that the field does not take.
    """
    values: dict[str, Any] = policy.model_dump(mode="json")
    for setting in settings:
        path, equals, text = setting.partition("=")
        *parents, name = path.strip().split(".")
        place: Any = values
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or name not in place or isinstance(place[name], dict):
            raise ConfigError(f"{setting!r}: expected FIELD=VALUE with a field of quality, such as min_words=20.")
        if path in measured:
            raise ConfigError(f"{path} changes what is measured, so only a reindex with it can show what it does.")
        place[name] = (
            [part.strip() for part in text.split(",") if part.strip()]
            if isinstance(place[name], list)
            else _parsed(text)
        )
    try:
        return QualityPolicy.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
