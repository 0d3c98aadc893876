"""``log_answers_<corpus>``: answers, feedback and monitors, once a day."""

import dagster as dg

from headwater.config import load_corpus_file
from headwater.project import Project

EVERY_MORNING = "0 4 * * *"
"""An hour after the nightly reindex, so that what is said of the answers is said of yesterday's release."""


def log_answers_daily(project: Project, corpus: str) -> dg.ScheduleDefinition:
    """Return the daily schedule of a corpus (04:00 UTC); its ``monitor`` policy says whether it runs from the start.

    Raises ConfigError for a wrong ``defs.yaml``.
    """
    enabled = load_corpus_file(project.corpus_file(corpus)).monitor.enabled
    return dg.ScheduleDefinition(
        name=f"log_answers_{corpus}",
        job_name=f"log_answers_{corpus}",
        cron_schedule=EVERY_MORNING,
        execution_timezone="UTC",
        description=f"Bring answers, feedback and monitors of {corpus} up to date every day; drop answers that are too old.",
        default_status=dg.DefaultScheduleStatus.RUNNING if enabled else dg.DefaultScheduleStatus.STOPPED,
    )
