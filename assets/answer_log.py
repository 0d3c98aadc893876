"""`answer_log`: the answers that were given, back in Dagster."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.metadata import markdown_table
from assets.stage import stage_asset
from headwater import answer_log as log
from headwater.policies import CorpusPolicy
from headwater.stages.catalogue import describe_columns
from resources.headwater import HeadwaterResource

if TYPE_CHECKING:
    from headwater.answer_log.tables import LogReport
    from headwater.corpus import Corpus
    from headwater.lake import Table

NOTHING = "Nothing yet."
"""Said of figures while there is nothing that they could be figures of."""

TRENDS = ("answers", "refused_share", "cached_share", "fallback_share")


def answer_log(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "answer_log",
        after=["live_release"],
        kinds={"deltalake", "polars"},
        decided_by=[log.CODE_VERSION, policy.answer],
    )
    def answer_log(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per answer that was given and is kept: how it was made and how it turned out, without any text (the
        ledger has the questions, free of personal data). Each run adds what was answered since the last one, after
        answers that are older than the policy keeps them have left the ledger, and this table with them.
        """
        from headwater.answer_log.monitors import between, figures, figures_by_day, trends
        from headwater.answer_log.tables import update_answer_log

        opened = headwater.corpus(corpus)
        report = update_answer_log(opened)
        start, end = window(opened)
        recent = between(opened.tables.answer_log.scan().collect(), "asked_at", start, end)
        days = trends(figures_by_day(recent, start, end), TRENDS)
        return dg.MaterializeResult(
            metadata={
                **of_table(opened, opened.tables.answer_log, report),
                "expired": report.expired,
                "window": said(start, end),
                "days": dg.MetadataValue.md(markdown_table(days) if recent.height else NOTHING),
                **numbers({name: figures(recent)[name] for name in TRENDS}),
            }
        )

    return answer_log


def window(corpus: "Corpus") -> tuple[datetime, datetime]:
    """Return the period that the monitors look at: whole days (UTC) and today so far."""
    end = datetime.now(UTC)
    start = end - timedelta(days=corpus.policy.monitor.window_days - 1)
    return start.replace(hour=0, minute=0, second=0, microsecond=0), end


def said(start: datetime, end: datetime) -> str:
    """Return a period in words."""
    return f"{start:%Y-%m-%d} to {end:%Y-%m-%d %H:%M} UTC"


def of_table(corpus: "Corpus", table: "Table", report: "LogReport") -> dict[str, Any]:
    """Return what Dagster shows of a table of the log: rows, what the run changed, and the columns."""
    columns = [dg.TableColumn(name, kind, text) for name, kind, text in describe_columns(table.schema)]
    metadata: dict[str, Any] = {
        "dagster/row_count": report.rows,
        "written": report.written,
        "removed": report.removed,
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": f"{corpus.name}.{table.name}",
        "dagster/uri": table.folder.url,
    }
    if report.version is not None:
        metadata["delta_version"] = report.version
    return metadata


def numbers(figures: dict[str, float | int | None]) -> dict[str, float | int]:
    """Return the figures that there are; Dagster plots each over the runs."""
    return {name: value for name, value in figures.items() if value is not None}
