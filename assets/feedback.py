"""`feedback`: what people said of answers, back in Dagster."""

import dagster as dg

from assets.answer_log import NOTHING, of_table, said, window
from assets.metadata import bars, markdown_table
from assets.stage import stage_asset
from headwater import answer_log as log
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource


def feedback(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "feedback",
        after=["answer_log"],
        kinds={"deltalake", "polars"},
        decided_by=[log.CODE_VERSION],
    )
    def feedback(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """One row per vote, correction and wrong citation, and what became of it in review, without what people wrote
        (`headwater feedback NAME list` shows that). Promoted corrections become golden questions, which the gate asks.
        """
        from headwater.answer_log.monitors import VOTES, between, feedback_by_day, feedback_counts, trends
        from headwater.answer_log.tables import update_feedback

        opened = headwater.corpus(corpus)
        report = update_feedback(opened)
        rows = opened.tables.feedback.scan().collect()
        start, end = window(opened)
        recent = between(rows, "given_at", start, end)
        days = trends(feedback_by_day(recent, start, end), [*VOTES, "down_share"])
        reviews = dict(rows["review"].value_counts().iter_rows())
        return dg.MaterializeResult(
            metadata={
                **of_table(opened, opened.tables.feedback, report),
                "window": said(start, end),
                "days": dg.MetadataValue.md(markdown_table(days) if recent.height else NOTHING),
                "reviews": dg.MetadataValue.md(bars(reviews) if rows.height else NOTHING),
                "open": int(reviews.get("open", 0)),
                **feedback_counts(recent),
            }
        )

    return feedback
