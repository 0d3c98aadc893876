"""`deduplicated_documents`: one survivor per cluster."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater import dedup, privacy
from headwater.policies import CorpusPolicy, Policy
from headwater.stages.anonymized_copies import can_screen
from resources.headwater import HeadwaterResource


def deduplicated_documents(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    # A policy that refuses documents decides here, too: which of several copies survives.
    screened: list[str | Policy] = [privacy.CODE_VERSION, policy.privacy] if can_screen(policy) else []

    @stage_asset(
        corpus,
        policy,
        "deduplicated_documents",
        after=["quality_documents"],
        kinds={"numpy", "deltalake"},
        decided_by=[dedup.CODE_VERSION, policy.dedup, *screened],
    )
    def deduplicated_documents(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per document: whether it says the same as another one. Exact copies and near-duplicates (MinHash, then
        exact Jaccard) form clusters among documents with the same readers; each cluster keeps one named survivor, one that
        the privacy policy accepts if there is any.
        Paragraphs repeated across the corpus are removed as boilerplate. Documents that another corpus holds, or that
        contain an evaluation question, are left out where the policy says so.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.deduplicated_documents())

    return deduplicated_documents
