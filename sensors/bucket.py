"""``watch_<corpus>``: asks for a reindex when the bucket is not what the last reindex saw.

A look reads the bucket's listing and one row of the ledger; lake, index and models stay closed. All that decides is in
:mod:`headwater.watch`; here its words become what Dagster shows of a tick.
"""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from headwater.config import load_corpus_file
from headwater.errors import HeadwaterError
from headwater.events import Received, drain
from headwater.ledger import Ledger
from headwater.policies import CorpusPolicy
from headwater.project import Project
from headwater.watch import decide, look, with_events, without_events
from sensors.runs import LISTING_TAG, runs_of

DAEMON_SECONDS = 5
"""Dagster looks at its sensors this often."""

PATIENCE = 3.0
"""Seconds that a tick waits for an upload to end before it leaves that to the next one."""

MOMENT = 0.05
"""Added to a wait, so that it is over when the clock is read again."""

QUEUE_SHARE = 0.25
"""Share of a look's time that may go into reading the event queue."""


def watch(project: Project, corpus: str) -> dg.SensorDefinition:
    """Return the sensor of a corpus. Its pace, and whether it runs from the start, are the corpus' ``watch`` policy.

    Raises ConfigError for a wrong ``defs.yaml``.
    """
    policy = load_corpus_file(project.corpus_file(corpus))
    status = dg.DefaultSensorStatus.RUNNING if policy.watch.enabled else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=f"watch_{corpus}",
        job_name=f"reindex_{corpus}",
        # A look that starts a moment late would push the next one beyond Dagster's next round.
        minimum_interval_seconds=max(1, policy.watch.interval_seconds - DAEMON_SECONDS // 2),
        default_status=status,
        description=f"Reindex {corpus} when its bucket has changed. Lists it in steps of a few seconds and asks for a "
        "run when nothing more is being uploaded, no reindex is under way, and this state of the bucket is new.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return tick(project, corpus, policy, context, datetime.now(UTC))

    return sensor


def tick(
    project: Project, corpus: str, policy: CorpusPolicy, context: dg.SensorEvaluationContext, now: datetime
) -> dg.SensorResult:
    """Look at the bucket once. A bucket or queue that can't be read is said in the skip reason."""
    begun = time.monotonic()
    ledger = Ledger(project.ledger_url)
    try:
        applied, writer = ledger.applied_listing(corpus), ledger.writer(corpus)
    finally:
        ledger.close()
    runs = runs_of(context.instance, corpus)
    running = runs.running or (f"another writer, {writer}" if writer else None)
    received, trouble = _receive(policy, now)
    cursor = with_events(context.cursor, policy.source, received.events if received else None)
    while True:
        spent = time.monotonic() - begun
        try:
            cursor, observed = look(
                policy.source,
                policy.watch,
                cursor,
                now,
                applied=applied,
                reindexed_at=runs.reindexed_at(f"reindex_{corpus}"),
                spent=spent,
            )
        except HeadwaterError as error:
            context.log.warning(str(error))
            return dg.SensorResult(skip_reason=dg.SkipReason(f"{error} The next look tries again."), cursor=cursor)
        attempts = runs.attempts(observed.seen.listing if observed.seen else None)
        decision = decide(observed, policy.watch, now, applied=applied, running=running, attempts=attempts)
        patience = min(PATIENCE, policy.watch.budget_seconds / 2 - spent)
        if decision.settles_in is None or decision.settles_in > patience:
            break
        # Sooner than the next tick: a dropped file should not wait for Dagster's next round.
        time.sleep(decision.settles_in + MOMENT)
        now += timedelta(seconds=decision.settles_in + MOMENT)
    reason = " ".join(part for part in (decision.reason, _queue_words(received), trouble) if part)
    if not decision.request:
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=cursor)
    context.log.info(reason)
    tags = {LISTING_TAG: decision.listing} if decision.listing else {}
    return dg.SensorResult(run_requests=[dg.RunRequest(tags=tags)], cursor=without_events(cursor, policy.source))


def _receive(policy: CorpusPolicy, now: datetime) -> tuple[Received | None, str]:
    """Return what the queue held and, where it can't be read, why: listing goes on without it."""
    if policy.watch.queue is None:
        return None, ""
    try:
        return drain(policy.watch.queue, policy.source, QUEUE_SHARE * policy.watch.budget_seconds, now), ""
    except HeadwaterError as error:
        return None, str(error)


def _queue_words(received: Received | None) -> str:
    if received is None or not (received.ignored or received.unknown):
        return ""
    return f"The queue also held {received.ignored} events about other objects and {received.unknown} unknown messages."
