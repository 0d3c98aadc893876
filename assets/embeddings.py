"""`embeddings`: chunks become vectors."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater.policies import CorpusPolicy
from headwater.stages import embeddings as stage
from resources.headwater import HeadwaterResource


def embeddings(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "embeddings",
        after=["chunks"],
        kinds={"pytorch", "huggingface", "deltalake"},
        decided_by=[stage.CODE_VERSION, policy.embed],
    )
    def embeddings(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per chunk: its dense vector (sentence-transformers, on a GPU when there is one) and its BM25 sparse
        vector. Vectors are cached by text and model, so a moved passage costs nothing.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.embeddings())

    return embeddings
