"""What is watched of answers day by day: their quality, their speed and their cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from assets.answer_log import NOTHING, numbers, said, window
from assets.metadata import bars, markdown_table
from assets.stage import stage_asset
from headwater import answer_log as log
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource

if TYPE_CHECKING:
    from headwater.corpus import Corpus

QUALITY = (
    "refused_share",
    "dropped_share",
    "fallback_share",
    "answer_characters",
    "turns_per_conversation",
)
COSTS = ("seconds_p50", "seconds_p95", "prompt_tokens", "completion_tokens", "cost", "cached_share")


def answer_quality(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "answer_quality",
        after=["answer_log", "feedback"],
        kinds={"polars"},
        decided_by=[log.CODE_VERSION, policy.monitor],
    )
    def answer_quality(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """Day by day: the share of questions that were refused and of sentences that the verifier left out, how long
        answers and conversations are, and the share of thumbs that are down; and the same by version of the prompt and model, the versions of a test
        compared.
        """
        from headwater.answer_log.monitors import between, drop_reasons, feedback_by_day, feedback_counts

        opened = headwater.corpus(corpus)
        start, end = window(opened)
        votes = between(opened.tables.feedback.scan().collect(), "given_at", start, end)
        counts = feedback_counts(votes)
        thumbs = counts["thumbs_up"] + counts["thumbs_down"]
        return _figures(
            headwater,
            corpus,
            QUALITY,
            also=feedback_by_day(votes, start, end).select("day", "down_share"),
            more=lambda recent: {
                "left_out": dg.MetadataValue.md(bars(drop_reasons(recent))),
                **by_prompt(opened, recent, votes),
                **numbers({"down_share": counts["thumbs_down"] / thumbs if thumbs else None}),
            },
        )

    return answer_quality


def answer_costs(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "answer_costs",
        after=["answer_log"],
        kinds={"polars"},
        decided_by=[log.CODE_VERSION, policy.monitor],
    )
    def answer_costs(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """Day by day: how long people wait for an answer (the middle one, and nineteen of twenty; those from the cache
        aside), and the tokens and money that the language model took.
        """
        return _figures(headwater, corpus, COSTS)

    return answer_costs


def by_prompt(corpus: "Corpus", log: pl.DataFrame, feedback: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """Return tables of what became of the answers of each version of a prompt, and of how the versions compare."""
    from headwater.answer_log.prompt_results import compare_prompts, results_by_prompt
    from headwater.answer_log.prompt_tables import comparison_rows, result_rows
    from headwater.prompts.labels import live_versions

    names = {prompt.partition("@")[0] for prompt in log["prompt"].drop_nulls().unique()}
    compared = compare_prompts(log, feedback, live_versions(corpus.ledger, sorted(names)))
    tables = {"prompts": result_rows(results_by_prompt(log, feedback)), "prompts_compared": comparison_rows(compared)}
    return {
        name: dg.MetadataValue.md(markdown_table(pl.DataFrame(rows, infer_schema_length=None)))
        for name, rows in tables.items()
        if rows
    }


def _figures(
    headwater: HeadwaterResource,
    corpus: str,
    names: tuple[str, ...],
    *,
    also: pl.DataFrame | None = None,
    more: Any = None,
) -> dg.MaterializeResult:
    """Return figures of the window, in all (plotted over the runs by Dagster) and as a table of trends."""
    from headwater.answer_log.monitors import between, figures, figures_by_day, trends

    opened = headwater.corpus(corpus)
    start, end = window(opened)
    recent = between(opened.tables.answer_log.scan().collect(), "asked_at", start, end)
    daily = figures_by_day(recent, start, end)
    if also is not None:
        daily = daily.join(also, on="day", how="left")
    shown = [*names, *(name for name in (also.columns if also is not None else ()) if name != "day")]
    whole: Mapping[str, float | int | None] = figures(recent)
    return dg.MaterializeResult(
        metadata={
            "window": said(start, end),
            "answers": int(whole["answers"] or 0),
            "days": dg.MetadataValue.md(markdown_table(trends(daily, shown)) if recent.height else NOTHING),
            **numbers({name: whole[name] for name in names} if recent.height else {}),
            **(more(recent) if more is not None else {}),
        }
    )
