"""`retrieval_evaluation`: how well the candidate finds, and the gate."""

from collections.abc import Mapping

import dagster as dg

from assets.metadata import check_result, markdown_table, materialized
from assets.stage import asset_key, stage_asset
from headwater.gate import CHECKS, DESCRIPTIONS
from headwater.policies import CorpusPolicy
from headwater.stages import evaluation
from resources.headwater import HeadwaterResource


def retrieval_evaluation(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset and the gate's checks for one corpus."""
    key = asset_key(corpus, "retrieval_evaluation")
    golden = [] if policy.gate.golden is None else ["evaluation_questions"]
    checks = [dg.AssetCheckSpec(name, asset=key, description=DESCRIPTIONS[name], blocking=True) for name in CHECKS]

    @stage_asset(
        corpus,
        policy,
        "retrieval_evaluation",
        after=["index_candidate", *golden],
        kinds={"qdrant", "polars"},
        decided_by=[evaluation.CODE_VERSION, policy.gate],
        checks=checks,
    )
    def retrieval_evaluation(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """Recall@k, nDCG@10 and refusal accuracy of the candidate and the live release, side by side.

        Its checks are the gate: when one of them fails, `live_release` is not materialised and queries go on
        seeing the release that they saw.
        """
        pipeline = headwater.pipeline(corpus, context.log)
        report = pipeline.retrieval_evaluation()
        checks = [check_result(check) for check in pipeline.gate()]
        return materialized(pipeline, report, checks=checks, figures=side_by_side(report.details))

    return retrieval_evaluation


def side_by_side(details: Mapping[str, object]) -> str:
    """Return the report's ``candidate_*`` and ``live_*`` figures as a Markdown table, one row per figure."""
    import polars as pl

    releases = ("candidate", "live")
    names = [name.removeprefix("candidate_") for name in details if name.startswith("candidate_")]
    columns = {label: [_figure(details.get(f"{label}_{name}")) for name in names] for label in releases}
    return markdown_table(pl.DataFrame({"figure": names, **columns}))


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else ""
