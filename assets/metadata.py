"""A stage's report as Dagster metadata: what an engineer sees of one materialisation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from headwater.reports import GateCheck, StageReport

if TYPE_CHECKING:
    import polars as pl

    from headwater.costs import StageCost
    from headwater.pipeline import Pipeline

BAR_WIDTH = 30
"""Characters of the longest bar."""

CELL_WIDTH = 120
"""Characters of a sample's cell, so that a sample of five rows stays a glance."""


def materialized(
    pipeline: "Pipeline", report: StageReport, *, checks: Sequence[dg.AssetCheckResult] = (), **markdown: str
) -> dg.MaterializeResult:
    """Return the materialisation that a stage's report describes, with the table's columns and a few rows.

    ``markdown`` are further entries, by name.
    """
    table = pipeline.table(report.stage)
    metadata: dict[str, Any] = {
        "dagster/row_count": report.rows,
        "recomputed": report.recomputed,
        "removed": report.removed,
        "quarantined": report.quarantined,
        "seconds": round(report.seconds, 3),
        "rows_per_second": round(report.rows_per_second, 1),
        "reasons": dg.MetadataValue.md(bars(report.reasons)),
        "details": dg.MetadataValue.json(dict(report.details)),
    }
    metadata |= costs(report.cost) if report.cost is not None else {}
    metadata |= {name: dg.MetadataValue.md(text) for name, text in markdown.items()}
    if table is not None:
        columns = [dg.TableColumn(name, kind, text) for name, kind, text in pipeline.schema(report.stage)]
        metadata |= {
            "sample": dg.MetadataValue.md(markdown_table(pipeline.sample(report.stage))),
            "dagster/column_schema": dg.TableSchema(columns),
            "dagster/table_name": f"{pipeline.corpus.name}.{table.name}",
            "dagster/uri": table.folder.url,
        }
    if report.version is not None:
        metadata["delta_version"] = report.version
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=list(checks),
        data_version=dg.DataVersion(report.data_version) if report.data_version else None,
    )


def costs(cost: "StageCost") -> dict[str, Any]:
    """Return what a stage cost, by name; what it didn't use is left out, so that its plot has no line along zero."""
    found = {
        "cpu_seconds": round(cost.cpu_seconds, 2),
        "gpu_seconds": round(cost.gpu_seconds, 2),
        "tokens_embedded": cost.tokens,
        "bytes_read": cost.read_bytes,
        "bytes_written": cost.written_bytes,
    }
    used: dict[str, Any] = {name: value for name, value in found.items() if value}
    if cost.money is not None:
        used[f"cost_{cost.currency}"] = round(cost.money, 6)
    return used


def check_result(check: GateCheck) -> dg.AssetCheckResult:
    """Return the result of one gate check; a failed one stops what is downstream."""
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=check.description,
        metadata={
            "figure": float(check.figure),
            "threshold": float(check.threshold),
            "details": dg.MetadataValue.json(dict(check.details)),
        },
    )


def bars(counts: Mapping[str, int]) -> str:
    """Return counts as a Markdown table with a bar per row, the longest first."""
    if not counts:
        return "No rows."
    longest = max(max(counts.values()), 1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [f"| {_cell(name)} | {count:,} | {'█' * _length(count, longest)} |" for name, count in ordered]
    return "\n".join(["| reason | rows | |", "|---|--:|---|", *rows])


def _length(count: int, longest: int) -> int:
    """Return a bar's length; whatever was counted shows."""
    return max(round(BAR_WIDTH * count / longest), 1) if count else 0


def markdown_table(frame: "pl.DataFrame") -> str:
    """Return a data frame as a Markdown table, long cells cut."""
    if not frame.height:
        return "No rows."
    rows = [f"| {' | '.join(_cell(value) for value in row)} |" for row in frame.iter_rows()]
    return "\n".join([f"| {' | '.join(map(_cell, frame.columns))} |", "|---" * frame.width + "|", *rows])


def _cell(value: object) -> str:
    """Return a value as one Markdown cell: one line, nothing in it read as a cell border or a tag."""
    text = " ".join(str("" if value is None else value).split())
    if len(text) > CELL_WIDTH:
        text = text[: CELL_WIDTH - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
