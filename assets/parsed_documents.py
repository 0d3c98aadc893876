"""`parsed_documents`: bytes become elements."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater import parsing
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource


def parsed_documents(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "parsed_documents",
        after=["source_objects"],
        kinds={"unstructured", "deltalake"},
        decided_by=[parsing.CODE_VERSION, policy.parse],
    )
    def parsed_documents(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per document: its text and elements (titles, paragraphs, list items, tables) with page and section,
        read by unstructured in worker processes under memory and time limits. A document that can't be parsed is
        quarantined with the reason and costs nothing but itself.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.parsed_documents())

    return parsed_documents
