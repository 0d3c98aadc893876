"""Rate limits and daily quotas, by caller. They are counted in this process: each of several replicas allows its own.

A rate limit is a token bucket: it holds a minute's requests and fills evenly, so a quiet caller may send a minute's
worth at once, and never more than twice that in any minute.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from headwater.api_keys import KeyLimits, Scope

MINUTE = 60.0
DAY = 86_400

_MOST_BUCKETS = 20_000
"""Callers times scopes that are remembered; then those whose buckets are full again are forgotten."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit as it stands after a request: ``quota`` per ``window`` seconds, ``left``, full in ``reset`` seconds."""

    name: str
    quota: int
    window: int
    left: int
    reset: int


class LimitReached(Exception):
    """The request is over a limit. ``retry_after`` is in whole seconds; ``allowances`` are all limits of the caller."""

    def __init__(self, detail: str, retry_after: int, allowances: tuple[Allowance, ...]) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.allowances = allowances


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


@dataclass(slots=True)
class _Day:
    requests: int = 0
    tokens: int = 0


@dataclass(slots=True)
class _Days:
    """What callers used of their quotas on one day."""

    date: datetime
    used: dict[str, _Day] = field(default_factory=dict)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Limiter:
    """Counts what callers do. Thread-safe. ``clock`` gives seconds, ``now`` the time by which days change."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, Scope], _Bucket] = {}
        self._days = _Days(_midnight(now()))

    def take(self, who: str, scope: Scope, limits: KeyLimits) -> tuple[Allowance, ...]:
        """Count one request and return how the caller's limits stand; LimitReached when one of them is used up.

        A refused request counts against nothing.
        """
        with self._lock:
            now = self._now()
            day = self._day(who, now)
            reset = _seconds_left(now)
            rate = limits.per_minute.get(scope)
            bucket = None if rate is None else self._bucket(who, scope, rate)
            allowances = _stand(scope, rate, bucket, limits, day, reset)
            if rate is not None and bucket is not None and bucket.level < 1:
                wait = math.ceil((1 - bucket.level) * MINUTE / rate) if rate else DAY
                raise LimitReached(f"More than {rate} requests a minute for {scope}.", wait, allowances)
            if limits.requests_per_day is not None and day.requests >= limits.requests_per_day:
                raise LimitReached(f"The {limits.requests_per_day} requests of today are used up.", reset, allowances)
            most = limits.answer_tokens_per_day
            if scope == "answer" and most is not None and day.tokens >= most:
                raise LimitReached(f"The {most} tokens of today's answers are used up.", reset, allowances)
            if bucket is not None:
                bucket.level -= 1
            day.requests += 1
            return _stand(scope, rate, bucket, limits, day, reset)

    def spend(self, who: str, tokens: int) -> None:
        """Count tokens of an answer. What one answer goes over the quota is allowed; the next one is refused."""
        with self._lock:
            self._day(who, self._now()).tokens += max(0, tokens)

    def _day(self, who: str, now: datetime) -> _Day:
        today = _midnight(now)
        if today != self._days.date:
            self._days = _Days(today)
        return self._days.used.setdefault(who, _Day())

    def _bucket(self, who: str, scope: Scope, rate: int) -> _Bucket:
        moment = self._clock()
        bucket = self._buckets.get((who, scope))
        if bucket is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                self._forget(moment)
            bucket = self._buckets[who, scope] = _Bucket(float(rate), moment)
        bucket.level = min(float(rate), bucket.level + (moment - bucket.at) * rate / MINUTE)
        bucket.at = moment
        return bucket

    def _forget(self, moment: float) -> None:
        """Drop the buckets that nobody took from for a minute: they are full."""
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if moment - bucket.at < MINUTE}


def _stand(
    scope: Scope, rate: int | None, bucket: _Bucket | None, limits: KeyLimits, day: _Day, reset: int
) -> tuple[Allowance, ...]:
    found = []
    if rate is not None and bucket is not None:
        fills = math.ceil((rate - bucket.level) * MINUTE / rate) if rate else DAY
        found.append(Allowance(scope, rate, int(MINUTE), int(bucket.level), fills))
    if limits.requests_per_day is not None:
        left = max(0, limits.requests_per_day - day.requests)
        found.append(Allowance("requests-per-day", limits.requests_per_day, DAY, left, reset))
    if scope == "answer" and limits.answer_tokens_per_day is not None:
        left = max(0, limits.answer_tokens_per_day - day.tokens)
        found.append(Allowance("answer-tokens-per-day", limits.answer_tokens_per_day, DAY, left, reset))
    return tuple(found)


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _seconds_left(now: datetime) -> int:
    return math.ceil((_midnight(now) + timedelta(days=1) - now).total_seconds())


def headers_of(allowances: tuple[Allowance, ...]) -> dict[str, str]:
    """Return the response headers that tell a caller of its limits.

    ``RateLimit-Policy`` and ``RateLimit`` name every limit (draft-ietf-httpapi-ratelimit-headers-10);
    ``RateLimit-Limit``, ``-Remaining`` and ``-Reset``, of the draft's earlier versions, tell of the tightest one.
    """
    if not allowances:
        return {}
    tightest = min(allowances, key=lambda one: one.left / one.quota if one.quota else 0.0)
    return {
        "RateLimit-Policy": ", ".join(f'"{one.name}";q={one.quota};w={one.window}' for one in allowances),
        "RateLimit": ", ".join(f'"{one.name}";r={one.left};t={one.reset}' for one in allowances),
        "RateLimit-Limit": str(tightest.quota),
        "RateLimit-Remaining": str(tightest.left),
        "RateLimit-Reset": str(tightest.reset),
    }
