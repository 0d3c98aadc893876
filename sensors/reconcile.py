"""``reconcile_<corpus>``: a reindex every night, whatever was missed.

It takes nothing for granted, not even that the watching sensor runs: what the bucket holds at 03:00 is indexed. That is
why it runs from the start.
"""

import dagster as dg

EVERY_NIGHT = "0 3 * * *"


def reconcile(corpus: str) -> dg.ScheduleDefinition:
    """Return the nightly schedule of a corpus' reindex (03:00 UTC)."""
    return dg.ScheduleDefinition(
        name=f"reconcile_{corpus}",
        job_name=f"reindex_{corpus}",
        cron_schedule=EVERY_NIGHT,
        execution_timezone="UTC",
        description=f"Reindex {corpus} every night; costs a listing when nothing changed.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
