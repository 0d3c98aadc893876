"""`source_objects`: what the bucket holds."""

import dagster as dg

from assets.bucket import store_kind
from assets.metadata import materialized
from assets.stage import stage_asset
from headwater import source
from headwater.policies import CorpusPolicy
from headwater.source.attachments import mark_of
from resources.headwater import HeadwaterResource


def source_objects(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "source_objects",
        after=["bucket"],
        kinds={store_kind(policy.source.uri), "deltalake"},
        decided_by=[
            source.CODE_VERSION,
            mark_of(policy.parse, policy.source.exclude, ()),
            policy.source,
            *policy.access,
        ],
    )
    def source_objects(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per object in the bucket. Lists the bucket and finds what was added, changed, moved, deleted or
        given other readers since the last run; what is attached to mails has rows of its own. A listing that suddenly lost many objects stops the run before
        anything is removed.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        return materialized(pipeline, pipeline.source_objects())

    return source_objects
