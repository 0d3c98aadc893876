"""`quality_documents`: what is worth indexing."""

import dagster as dg
import polars as pl

from assets.metadata import bars, markdown_table, materialized
from assets.stage import stage_asset
from headwater import injection, quality
from headwater.policies import CorpusPolicy
from headwater.quality.report import drawn
from resources.headwater import HeadwaterResource


def quality_documents(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "quality_documents",
        after=["parsed_documents"],
        kinds={"polars", "deltalake"},
        decided_by=[quality.CODE_VERSION, policy.quality, injection.CODE_VERSION, policy.injection],
    )
    def quality_documents(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per document: its language, quality signals, cleaned text and verdict. Rejected documents keep their
        row and the code of the rule that rejected them; a changed limit is decided anew over the stored signals.
        Documents that carry instructions to a language model are flagged or quarantined, as the policy says.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        report = pipeline.quality_documents()
        drawing = drawn(report.details["histograms"])
        table = pl.DataFrame(drawing, schema=["signal", "limit", "from", "documents", "to"], orient="row")
        return materialized(
            pipeline, report, signals=markdown_table(table), instructions=bars(report.details["instructions"])
        )

    return quality_documents
