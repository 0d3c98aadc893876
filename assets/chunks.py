"""`chunks`: what is retrieved."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater import chunking
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource


def chunks(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "chunks",
        after=["anonymized_documents"],
        kinds={"huggingface", "deltalake"},
        decided_by=[chunking.CODE_VERSION, policy.chunk, policy.embed],
    )
    def chunks(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per chunk: a passage that follows the document's structure and never exceeds the token cap as the
        embedding model's own tokenizer counts it. It knows its document, section path, page and character span.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.chunks())

    return chunks
