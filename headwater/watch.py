"""Watching a bucket: looking at it within a time budget, and deciding whether to reindex.

A look continues a listing pass from where the last one stopped; what it has to remember is a small JSON cursor, whatever
the bucket's size. The decision is level-triggered: it compares the bucket's listing with the one that the last finished
reindex worked on, so a lost look, event or run loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from headwater.hashing import digest
from headwater.policies import SourcePolicy, WatchPolicy
from headwater.source import KeyFilter, ListingDigest, list_objects

REST_FACTOR = 10
"""After a pass the bucket is left alone for this many times as long, so listing takes a tenth of the time at most."""

QUEUE_PAUSE = timedelta(minutes=10)
"""With an event queue listing only finds what the queue lost."""

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=1)
"""A listing whose reindex failed is tried again after one minute, two, four ... up to an hour."""

CLOCK_SKEW = timedelta(seconds=5)
"""How far a store's clock and ours may be apart."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pass(_Model):
    """A listing pass that is under way; ``applied`` is the applied listing when it began."""

    started: datetime
    applied: str | None
    after: str | None = None
    total: str = "0"
    objects: int = 0
    newest: datetime | None = None
    seconds: float = 0.0


class Seen(_Model):
    """The last complete pass: digest of the listing, its objects, the newest write, and how long listing took."""

    listing: str
    objects: int
    newest: datetime | None
    applied: str | None
    ended: datetime
    seconds: float


class Events(_Model):
    """Events that no reindex has followed yet: how many, when the first was received, and the newest write."""

    count: int
    since: datetime
    newest: datetime


class Cursor(_Model):
    """What is remembered between two looks. ``differs_since``: since when the bucket is not what was ``applied``."""

    source: str
    under_way: Pass | None = None
    seen: Seen | None = None
    applied: str | None = None
    differs_since: datetime | None = None
    events: Events | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of the bucket after a look; ``listed`` counts the objects of a pass that is under way."""

    seen: Seen | None
    listed: int | None
    differs_since: datetime | None
    events: Events | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished reindex of one listing: when it ended, and how."""

    run: str
    ended: datetime
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to reindex, and why (not), in words; ``listing`` is the digest that the request is about, if any.

    ``settles_in`` are the seconds until an upload counts as ended, when that is what is waited for.
    """

    request: bool
    reason: str
    listing: str | None = None
    settles_in: float | None = None


def load_cursor(text: str | None, policy: SourcePolicy) -> Cursor:
    """Return the cursor in ``text``; a new one when there is none, or it is about another source or other patterns."""
    source = digest(policy.uri, policy.include, policy.exclude)
    try:
        cursor = Cursor.model_validate_json(text) if text else None
    except ValidationError:
        cursor = None
    return cursor if cursor is not None and cursor.source == source else Cursor(source=source)


def look(
    policy: SourcePolicy,
    watch: WatchPolicy,
    cursor: str | None,
    now: datetime,
    *,
    applied: str | None = None,
    reindexed_at: datetime | None = None,
    spent: float = 0.0,
) -> tuple[str, Observation]:
    """Continue the listing pass, or begin one if it is time, for at most ``watch.budget_seconds``.

    ``applied`` is the digest of the listing that the last finished reindex worked on, and ``reindexed_at`` when the
    last successful one began; ``spent`` seconds of the budget are used up already. Returns the new cursor and what is
    known now. Raises SourceError when the listing fails; the old cursor stays good.
    """
    state = load_cursor(cursor, policy)
    if state.events is not None and reindexed_at is not None and state.events.newest + CLOCK_SKEW < reindexed_at:
        state.events = None  # it listed the bucket after all of them
    if state.under_way is None and (state.seen is None or now >= _due(state.seen, watch)):
        state.under_way = Pass(started=now, applied=applied)
    if state.under_way is not None:
        _go_on(state, policy, watch.budget_seconds - spent, now)
    if state.seen is None or state.seen.listing == applied:
        state.differs_since = None
    elif state.differs_since is None or state.applied != applied:
        state.differs_since = now
    state.applied = applied
    listed = state.under_way.objects if state.under_way is not None else None
    return state.model_dump_json(), Observation(state.seen, listed, state.differs_since, state.events)


def join_events(first: Events | None, second: Events | None) -> Events | None:
    """Return both as one."""
    if first is None or second is None:
        return first or second
    return Events(
        count=first.count + second.count,
        since=min(first.since, second.since),
        newest=max(first.newest, second.newest),
    )


def with_events(cursor: str | None, policy: SourcePolicy, events: Events | None) -> str:
    """Return the cursor with events that were received."""
    state = load_cursor(cursor, policy)
    return state.model_copy(update={"events": join_events(state.events, events)}).model_dump_json()


def without_events(cursor: str, policy: SourcePolicy) -> str:
    """Return the cursor after its events were acted upon."""
    return load_cursor(cursor, policy).model_copy(update={"events": None}).model_dump_json()


def _due(seen: Seen, watch: WatchPolicy) -> datetime:
    """Return when the next pass may begin. The pause between two looks is the sensor's own affair."""
    rest = timedelta(seconds=REST_FACTOR * seen.seconds)
    return seen.ended + (max(rest, QUEUE_PAUSE) if watch.queue else rest)


def _go_on(state: Cursor, policy: SourcePolicy, budget: float, now: datetime) -> None:
    """List until the pass is complete or the budget is spent; at least one object."""
    part = state.under_way
    assert part is not None
    keep = KeyFilter(policy.include, policy.exclude)
    running = ListingDigest(int(part.total, 16), part.objects, part.newest)
    started = last = time.monotonic()
    longest, stopped = 0.0, False
    for entry in list_objects(policy.uri, keep, after=part.after, everything=True, patient=False):
        if keep.lists(entry.key):
            running.add(entry)
        moment = time.monotonic()
        longest, last = max(longest, moment - last), moment
        # The next entry may take as long as the slowest one, which brought a page with it. An empty object is no place
        # to go on from: it may be the marker of a folder, which is not in order by the key it is listed under.
        if entry.size and moment - started + longest >= budget:
            part.after, stopped = entry.key, True
            break
    spent = time.monotonic() - started
    part.total, part.objects, part.newest = running.hexdigest(), running.count, running.newest
    part.seconds += spent
    if not stopped:
        state.under_way = None
        state.seen = Seen(
            listing=part.total,
            objects=part.objects,
            newest=part.newest,
            applied=part.applied,
            ended=now + timedelta(seconds=spent),
            seconds=part.seconds,
        )


def decide(
    observed: Observation,
    watch: WatchPolicy,
    now: datetime,
    *,
    applied: str | None,
    running: str | None = None,
    attempts: Sequence[Attempt] = (),
) -> Decision:
    """Return whether to ask for a reindex now.

    ``running`` describes a reindex that is under way; ``attempts`` are the finished reindexes of the observed listing
    since another one was worked on, newest first.
    """
    events = observed.events
    newest: datetime | None
    if events is not None:
        since, newest, listing = events.since, events.newest, None
        reason = f"{_count(events.count, 'event')} received"
    else:
        unchanged = _unchanged(observed, applied)
        if unchanged is not None:
            return Decision(False, unchanged)
        seen, since = observed.seen, observed.differs_since or now
        assert seen is not None
        newest, listing = seen.newest, seen.listing
        reason = f"The bucket changed: {_count(seen.objects, 'object')}"
    if running is not None:
        return Decision(False, f"{reason}. Waiting for the reindex that is under way: {running}.")
    quiet = (now - newest).total_seconds() if newest is not None else watch.quiet_seconds
    waited = (now - since).total_seconds()
    if -watch.quiet_seconds < quiet < watch.quiet_seconds and waited < watch.max_wait_seconds:
        words = f"{reason}. Waiting for an upload to end (last write {max(0.0, quiet):.0f} s ago)."
        return Decision(False, words, settles_in=watch.quiet_seconds - quiet)
    if listing is not None and attempts:
        wait = attempts[0].ended + _backoff(len(attempts)) - now
        if wait > timedelta(0):
            how = "did not settle it" if attempts[0].succeeded else "failed"
            return Decision(
                False,
                f"{reason}. The last reindex of this very listing {how} (run {attempts[0].run}; its log says why). "
                f"Next try in {wait.total_seconds():.0f} s, or when the bucket changes, or start one by hand.",
            )
    return Decision(True, f"{reason}.", listing)


def _unchanged(observed: Observation, applied: str | None) -> str | None:
    """Return why the listing gives no cause for a reindex, None when it does."""
    seen = observed.seen
    if seen is not None and seen.listing == applied:
        return f"Nothing changed: {_count(seen.objects, 'object')}, as the last reindex saw them."
    if seen is not None and not seen.objects and applied is None:
        return "The bucket is empty."
    if seen is not None and seen.applied == applied:
        return None
    if observed.listed is not None:
        return f"Listing continues: {_count(observed.listed, 'object')} so far."
    return "A reindex finished since the bucket was listed; it will be listed again soon."


def _backoff(attempts: int) -> timedelta:
    return min(LAST_RETRY, FIRST_RETRY * (1 << min(attempts - 1, 10)))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
