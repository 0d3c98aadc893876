"""`quality_documents`: what is worth indexing."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater import quality
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource


def quality_documents(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "quality_documents",
        after=["parsed_documents"],
        kinds={"polars", "deltalake"},
        decided_by=[quality.CODE_VERSION, policy.quality],
    )
    def quality_documents(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per document: its language, quality signals, cleaned text and verdict. Rejected documents keep their
        row and the code of the rule that rejected them, so a threshold can change without parsing again.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.quality_documents())

    return quality_documents
