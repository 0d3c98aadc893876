"""What all assets of a corpus share: how they are declared."""

from collections.abc import Callable, Sequence

import dagster as dg

from headwater.hashing import digest
from headwater.policies import CorpusPolicy, Policy
from resources.executor import failing_for_good, pool, retries
from resources.headwater import CORPUS_TAG
from resources.pods import pod_tags

Declare = Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]


def asset_key(corpus: str, name: str) -> dg.AssetKey:
    """Return the key of one asset of a corpus."""
    return dg.AssetKey([corpus, name])


def stage_asset(
    corpus: str,
    policy: CorpusPolicy,
    name: str,
    *,
    after: Sequence[str],
    kinds: set[str],
    decided_by: Sequence[str | Policy],
    checks: Sequence[dg.AssetCheckSpec] = (),
) -> Declare:
    """Return the decorator that declares the asset ``name`` of a corpus, downstream of the assets ``after``.

    The decorated function's docstring is the asset's description. ``decided_by`` are the code version and the
    policies that decide the rows; Dagster marks the asset as stale when they change (which rows are recomputed is
    the stage's own affair). All assets of a corpus are in one pool, which dagster.yaml limits to one run at a time; on
    Kubernetes steps that take a GPU are in a pool of their own. Op tags carry the shape of the step's pod.
    """
    again = retries(policy)
    declare = dg.asset(
        key=asset_key(corpus, name),
        deps=[asset_key(corpus, upstream) for upstream in after],
        group_name=corpus,
        owners=policy.owners,
        kinds=kinds,
        tags={CORPUS_TAG: corpus},
        code_version=digest(*(part if isinstance(part, str) else part.model_dump_json() for part in decided_by)),
        pool=pool(corpus, policy, name),
        op_tags=pod_tags(corpus, policy, name),
        retry_policy=again,
        check_specs=checks,
    )
    return declare if again is None else lambda function: declare(failing_for_good(function))
