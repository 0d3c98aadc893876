"""``notify_run_failures``: tells people about every failed run of this code location."""

import dagster as dg
from dagster import DagsterEvent
from dagster._utils.error import SerializableErrorInfo

from headwater import errors
from headwater.notify import Notice, Notifier
from resources.headwater import CORPUS_TAG

ADVICE = {
    errors.GateError: "The live release is unchanged. Look at the candidate with `headwater releases {corpus}`.",
    errors.SourceError: "Nothing was removed. Check the bucket, or confirm the removal as the message says.",
    errors.ConfigError: "Correct the configuration, then run the job again.",
    errors.LeaseError: "Nothing was changed. The next reindex does the work.",
}
OTHERWISE = "The live release is unchanged. The run's log in Dagster says more; a reindex does only what is missing."


@dg.run_failure_sensor(
    name="notify_run_failures",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=5,
    description="Send a notice about every failed run to the log, and to the webhook and the Slack channel that the "
    "environment names (HEADWATER_NOTIFY_WEBHOOK, HEADWATER_NOTIFY_SLACK).",
)
def notify_run_failures(context: dg.RunFailureSensorContext) -> None:
    """Send one notice for the failed run."""
    failed = Notifier.from_environment().notify(notice_of(context))
    if failed:
        context.log.warning(f"Could not be reached: {', '.join(failed)}.")


def notice_of(context: dg.RunFailureSensorContext) -> Notice:
    """Return what to say of a failed run.

    Of an exception that is not Headwater's own only the type is passed on, because its message may quote a document.
    """
    run = context.dagster_run
    corpus = run.tags.get(CORPUS_TAG)
    steps = context.get_step_failure_events()
    step = steps[0].step_key if steps else None
    message, kind = _cause(steps[0] if steps else context.failure_event)
    advice = next((words for error, words in ADVICE.items() if kind and issubclass(kind, error)), OTHERWISE)
    return Notice(
        corpus=corpus,
        job=run.job_name,
        run=run.run_id,
        step=step,
        message=message,
        advice=advice.format(corpus=corpus or "NAME"),
    )


def _cause(event: DagsterEvent) -> tuple[str, type[errors.HeadwaterError] | None]:
    """Return what happened in words, and which of Headwater's errors it was."""
    data = event.event_specific_data
    error: SerializableErrorInfo | None = getattr(data, "error", None)
    name = "an unknown error"
    while error is not None:
        name = error.cls_name or name
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, errors.HeadwaterError):
            # Dagster writes "module.Class: message".
            return error.message.partition(": ")[2].strip(), kind
        error = error.cause
    return (f"It ended with {name}." if name != "an unknown error" else "The run's process ended unexpectedly."), None
