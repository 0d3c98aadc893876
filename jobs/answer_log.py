"""``log_answers_<corpus>``: brings answers and feedback back into Dagster, and brings the monitors up to date."""

from typing import TYPE_CHECKING

import dagster as dg

from resources.headwater import CORPUS_TAG

if TYPE_CHECKING:  # Dagster gives the type no public name.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def log_answers(corpus: str) -> "UnresolvedAssetJobDefinition":
    """Return the job that materialises ``answer_log`` of ``corpus`` and what is downstream of it."""
    return dg.define_asset_job(
        f"log_answers_{corpus}",
        selection=dg.AssetSelection.assets(dg.AssetKey([corpus, "answer_log"])).downstream(),
        description=f"Bring the answers of corpus {corpus} and the feedback on them up to date; drop what is too old.",
        tags={CORPUS_TAG: corpus},
    )
