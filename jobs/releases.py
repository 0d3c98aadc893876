"""What people do with releases in the Dagster UI: one job each, with a form for what it needs to know.

The jobs that write a corpus carry its tag and so wait for a running reindex; going back, promoting and comparing wait
for nobody.
"""

from dataclasses import asdict

import dagster as dg
from pydantic import Field

from resources.headwater import CORPUS_TAG, HeadwaterResource

SUBJECT_TAG = "headwater/releases-of"
"""The tag of jobs that may run beside a reindex of the corpus."""


class Rollback(dg.Config):
    """Which release to go back to, and why."""

    release: int | None = Field(default=None, description="A retained release; default: the newest before live.")
    reason: str = Field(description="Why; kept with the release.")


class Promote(dg.Config):
    """Which release to make live, and why."""

    release: int = Field(description="A candidate that passed the gate, or a retained release.")
    reason: str = Field(description="Why; kept with the release.")
    force: bool = Field(default=False, description="Promote a candidate that failed the gate all the same.")


class Diff(dg.Config):
    """Which two releases to compare."""

    before: int = Field(description="The older release.")
    after: int = Field(description="The newer release, or a candidate.")


class Erase(dg.Config):
    """Which document to erase, and why."""

    key: str = Field(description="Key of the object in the bucket.")
    reason: str = Field(description="Why; part of the receipt.")


class Requeue(dg.Config):
    """Which objects to process again, and why."""

    keys: list[str] = Field(default=[], description="Keys of objects; empty: by state.")
    state: str | None = Field(
        default=None,
        description="All objects in this end state (indexed, duplicate, rejected or quarantined); empty with no keys: all.",
    )
    reason: str = Field(description="Why; shown in the receipts.")


def release_jobs(corpus: str) -> list[dg.JobDefinition]:
    """Return the jobs of one corpus."""

    @dg.op(name=f"rollback_{corpus}_release")
    def roll_back(context: dg.OpExecutionContext, config: Rollback, headwater: HeadwaterResource) -> None:
        """Make an older release live again and pin the corpus to it."""
        from headwater import releases

        opened = headwater.corpus(corpus)
        before = opened.ledger.live(corpus)
        now = releases.rollback(opened, config.release, reason=config.reason)
        _went_live(context, corpus, now, before, config.reason)

    @dg.op(name=f"promote_{corpus}_release")
    def promote(context: dg.OpExecutionContext, config: Promote, headwater: HeadwaterResource) -> None:
        """Make a release live, and end a pin."""
        from headwater import releases

        opened = headwater.corpus(corpus)
        before = opened.ledger.live(corpus)
        releases.promote(opened, config.release, reason=config.reason, force=config.force)
        _went_live(context, corpus, config.release, before, config.reason)

    @dg.op(name=f"diff_{corpus}_releases")
    def diff(context: dg.OpExecutionContext, config: Diff, headwater: HeadwaterResource) -> None:
        """Compare two releases; the result is this step's output metadata."""
        from headwater import releases

        found = releases.diff(headwater.corpus(corpus), config.before, config.after)
        context.add_output_metadata({"difference": dg.MetadataValue.json(asdict(found))})

    @dg.op(name=f"gc_{corpus}_lake")
    def collect(context: dg.OpExecutionContext, headwater: HeadwaterResource) -> None:
        """Drop old releases and the files that only they needed."""
        from headwater import releases

        found = releases.collect_garbage(headwater.corpus(corpus))
        context.add_output_metadata(
            {"releases_dropped": str(found.releases), "files_removed": found.files, "answers_removed": found.answers}
        )

    @dg.op(name=f"erase_{corpus}_document")
    def erase_document(context: dg.OpExecutionContext, config: Erase, headwater: HeadwaterResource) -> None:
        """Erase a document everywhere; the receipt is this step's output metadata."""
        from headwater.erase import erase

        receipt = erase(headwater.corpus(corpus), config.key, reason=config.reason)
        context.add_output_metadata({"receipt": dg.MetadataValue.json(receipt.as_json())})
        if receipt.verified.found:
            raise dg.Failure(f"{receipt.verified.found} traces were found after erasing; see the receipt.")

    @dg.op(name=f"requeue_{corpus}_objects")
    def requeue_objects(context: dg.OpExecutionContext, config: Requeue, headwater: HeadwaterResource) -> None:
        """Have objects processed again from their bytes at the next reindex."""
        from headwater.requeue import requeue

        count = requeue(headwater.corpus(corpus), config.keys or None, config.state or None, reason=config.reason)
        context.add_output_metadata({"objects": count})

    alone, beside = {CORPUS_TAG: corpus}, {SUBJECT_TAG: corpus}
    steps = (
        ("rollback", roll_back, beside),
        ("promote", promote, beside),
        ("diff", diff, beside),
        ("gc", collect, alone),
        ("erase", erase_document, alone),
        ("requeue", requeue_objects, alone),
    )
    return [_job(f"{name}_{corpus}", step, tags) for name, step, tags in steps]


def _job(name: str, step: dg.OpDefinition, tags: dict[str, str]) -> dg.JobDefinition:
    @dg.job(name=name, description=step.description, tags=tags, executor_def=dg.in_process_executor)
    def job() -> None:
        step()

    return job


def _went_live(context: dg.OpExecutionContext, corpus: str, now: int, before: int | None, reason: str) -> None:
    """Show the switch where the engineer looks: at the asset."""
    metadata = {"release": now, "previous": before or 0, "reason": reason}
    context.log_event(dg.AssetMaterialization([corpus, "live_release"], metadata=metadata))
    context.add_output_metadata(metadata)
