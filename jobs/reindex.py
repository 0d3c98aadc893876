"""``reindex_<corpus>``: one run brings every asset of a corpus up to date and publishes one release."""

from typing import TYPE_CHECKING

import dagster as dg

from resources.headwater import CORPUS_TAG

if TYPE_CHECKING:  # Dagster gives the type no public name.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def reindex(corpus: str) -> "UnresolvedAssetJobDefinition":
    """Return the job that materialises all assets of ``corpus``, bucket to live release."""
    return dg.define_asset_job(
        f"reindex_{corpus}",
        selection=dg.AssetSelection.assets(dg.AssetKey([corpus, "live_release"])).upstream(),
        description=f"Bring corpus {corpus} up to date with its bucket and, if the gate allows, publish the release.",
        tags={CORPUS_TAG: corpus},
    )
