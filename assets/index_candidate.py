"""`index_candidate`: the next release, not yet live."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater.policies import CorpusPolicy
from headwater.stages import index_candidate as stage
from resources.headwater import HeadwaterResource


def index_candidate(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "index_candidate",
        after=["embeddings"],
        kinds={"qdrant"},
        decided_by=[stage.CODE_VERSION, policy.index],
    )
    def index_candidate(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """The candidate release in Qdrant: the live one plus the difference, sealed and never written again. A run that
        changed nothing makes no candidate.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.index_candidate())

    return index_candidate
