"""`anonymized_documents`: no personal data past here."""

import dagster as dg

from assets.metadata import materialized
from assets.stage import stage_asset
from headwater import privacy
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource


def anonymized_documents(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "anonymized_documents",
        after=["deduplicated_documents"],
        kinds={"presidio", "deltalake"},
        decided_by=[privacy.CODE_VERSION, policy.privacy],
    )
    def anonymized_documents(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per surviving document, personal data found by Presidio and replaced by policy. Nothing downstream
        holds what was replaced: not chunks, vectors, payloads, logs or receipts.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.anonymized_documents())

    return anonymized_documents
