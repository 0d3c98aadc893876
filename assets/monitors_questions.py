"""What is watched of questions: what people ask and the documents don't say, and whether they ask about something else.

Dagster keeps what it is shown for ever, and neither retention nor an erasure reaches it; so no question is shown here.
What a group of questions is about is told by single words, and the ids of answers lead to the questions in the ledger.
"""

from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from assets.answer_log import NOTHING, numbers
from assets.metadata import markdown_table
from assets.stage import asset_key, stage_asset
from headwater import answer_log as log
from headwater.policies import CorpusPolicy
from resources.headwater import HeadwaterResource

if TYPE_CHECKING:
    from headwater.answer_log.gaps import Gap
    from headwater.answer_log.questions import Drift

DRIFT_CHECK = "questions_have_not_drifted"


def unanswered_questions(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset for one corpus."""

    @stage_asset(
        corpus,
        policy,
        "unanswered_questions",
        after=["answer_log"],
        kinds={"huggingface", "qdrant"},
        decided_by=[log.CODE_VERSION, policy.monitor],
    )
    def unanswered_questions(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """What people ask and the documents don't say: questions that were refused or answered with little support, those
        about the same together, with the document that comes nearest now. For the owners of documents; the questions
        themselves are shown by `headwater answers NAME --missing` and on the page of receipts.
        """
        from headwater.answer_log.gaps import find_gaps

        opened = headwater.corpus(corpus)
        gaps = find_gaps(opened)
        table = dg.MetadataValue.md(gap_table(gaps) if gaps else NOTHING)
        return dg.MaterializeResult(
            metadata={
                "groups": len(gaps),
                "questions": sum(gap.asked for gap in gaps),
                "refused": sum(gap.refused for gap in gaps),
                "missing": table,
            }
        )

    return unanswered_questions


def question_drift(corpus: str, policy: CorpusPolicy) -> dg.AssetsDefinition:
    """Declare the asset and its check for one corpus."""
    check = dg.AssetCheckSpec(
        DRIFT_CHECK,
        asset=asset_key(corpus, "question_drift"),
        description="The topics that people ask about are spread as in the period before.",
    )

    @stage_asset(
        corpus,
        policy,
        "question_drift",
        after=["answer_log"],
        kinds={"huggingface", "scikitlearn"},
        decided_by=[log.CODE_VERSION, policy.monitor],
        checks=[check],
    )
    def question_drift(context: dg.AssetExecutionContext, headwater: HeadwaterResource) -> dg.MaterializeResult:
        """Whether people ask about something else than before: the population stability index of the questions' topics,
        and how far their centre has moved. Where it drifts, the golden set may no longer be what people ask.
        """
        from headwater.answer_log.gaps import question_drift

        found = question_drift(headwater.corpus(corpus))
        metadata = {
            "questions": found.questions,
            "reference_questions": found.reference,
            **numbers({"psi": found.psi, "limit": found.limit, "centroid_distance": found.distance}),
            "topics": dg.MetadataValue.md(drift_table(found)),
        }
        result = dg.AssetCheckResult(
            check_name=DRIFT_CHECK,
            passed=not found.drifted,
            severity=dg.AssetCheckSeverity.WARN,
            description=_drift_words(found),
            metadata=numbers({"psi": found.psi, "limit": found.limit}),
        )
        return dg.MaterializeResult(metadata=metadata, check_results=[result])

    return question_drift


def gap_table(gaps: "list[Gap]") -> str:
    """Return groups of questions as a Markdown table, without a question."""
    rows = [
        {
            "about": ", ".join(gap.terms),
            "asked": gap.asked,
            "refused": gap.refused,
            "best support": _two(gap.best_support),
            "nearest document": gap.nearest,
            "similarity": _two(gap.similarity),
            "last asked": f"{gap.last_asked:%Y-%m-%d}",
            "answer": gap.answer_id,
        }
        for gap in gaps
    ]
    return markdown_table(pl.DataFrame(rows, infer_schema_length=None))


def drift_table(found: "Drift") -> str:
    """Return the topics of a comparison as a Markdown table, or why there is none."""
    if found.psi is None:
        return _drift_words(found)
    rows = [(", ".join(topic.terms), f"{topic.before:.1%}", f"{topic.now:.1%}") for topic in found.topics]
    return markdown_table(pl.DataFrame(rows, schema=["topic", "share before", "share now"], orient="row"))


def _drift_words(found: "Drift") -> str:
    if found.psi is None or found.limit is None:
        return f"{NOTHING} Too few questions to compare: {found.questions} now, {found.reference} before."
    return f"The index of the topics is {found.psi:.3f}; above {found.limit:.3f} the questions have drifted."


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
