"""`live_release`: the switch."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource


def live_release(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "live_release",
        after=["index_candidate", "retrieval_evaluation"],
        kinds={"qdrant"},
        decided_by=[policy.gate],
    )
    def live_release(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """The release that queries see. Moves the pointer to the candidate when every blocking check passed, in one
        transaction; otherwise the release that was live stays live. The one before is retained for rollback.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.live_release())

    return live_release
