"""`bucket` and `evaluation_questions`: what the assets are made from and Dagster does not make."""

from urllib.parse import urlsplit

import dagster as dg

from assets.stage import asset_key
from headwater.policies import CorpusPolicy
from resources.headwater import CORPUS_TAG

STORE_KINDS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure", "adl": "azure"}


def store_kind(uri: str) -> str:
    """Return Dagster's kind for the store a URI points at; anything that is no known cloud is files."""
    return STORE_KINDS.get(urlsplit(uri).scheme, "file")


def bucket(corpus: str, policy: CorpusPolicy) -> dg.AssetSpec:
    """Declare the folder or bucket that people drop documents into."""
    return dg.AssetSpec(
        asset_key(corpus, "bucket"),
        description=policy.description or f"The documents of corpus {corpus}, as people drop them.",
        group_name=corpus,
        owners=policy.owners,
        kinds={store_kind(policy.source.uri)},
        tags={CORPUS_TAG: corpus},
        metadata={"dagster/uri": policy.source.uri},
    )


def evaluation_questions(corpus: str, policy: CorpusPolicy) -> dg.AssetSpec:
    """Declare the golden set: questions people wrote, with the passages that answer them."""
    return dg.AssetSpec(
        asset_key(corpus, "evaluation_questions"),
        description="Golden questions: each with the quote that answers it, or marked as one to refuse.",
        group_name=corpus,
        owners=policy.owners,
        kinds={"json"},
        tags={CORPUS_TAG: corpus},
        metadata={"dagster/uri": policy.gate.golden},
    )
