"""Rate limits and quotas: a minute's requests at once, refilled evenly; days end at midnight UTC; nobody else pays."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.api_keys import KeyLimits
from serving.access.limits import Limiter, LimitReached, headers_of

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds - 1000.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(clock=clock, now=clock.now)


def taken(limiter: Limiter, limits: KeyLimits, times: int, who: str = "key:a", scope: str = "search") -> int:
    """Return how many of so many requests were let through."""
    through = 0
    for _ in range(times):
        try:
            limiter.take(who, scope, limits)
        except LimitReached:
            continue
        through += 1
    return through


def test_a_minutes_requests_may_come_at_once_and_no_more(limiter: Limiter, clock: Clock) -> None:
    limits = KeyLimits(per_minute={"search": 6})
    assert taken(limiter, limits, 10) == 6
    clock.seconds += 9.9
    assert taken(limiter, limits, 1) == 0
    clock.seconds += 0.2
    assert taken(limiter, limits, 3) == 1
    clock.seconds += 3600
    assert taken(limiter, limits, 20) == 6


def test_callers_and_scopes_have_limits_of_their_own(limiter: Limiter) -> None:
    limits = KeyLimits(per_minute={"search": 2, "answer": 1})
    assert taken(limiter, limits, 5) == 2
    assert taken(limiter, limits, 5, who="key:b") == 2
    assert taken(limiter, limits, 5, scope="answer") == 1
    assert taken(limiter, limits, 5, scope="documents") == 5  # nothing is set for it


def test_a_refusal_says_when_to_come_back(limiter: Limiter, clock: Clock) -> None:
    limits = KeyLimits(per_minute={"search": 4})
    taken(limiter, limits, 4)
    with pytest.raises(LimitReached) as refused:
        limiter.take("key:a", "search", limits)
    clock.seconds += refused.value.retry_after
    assert taken(limiter, limits, 2) == 1


def test_a_quota_ends_at_midnight(limiter: Limiter, clock: Clock) -> None:
    limits = KeyLimits(requests_per_day=3)
    assert taken(limiter, limits, 5) == 3
    with pytest.raises(LimitReached, match="today") as refused:
        limiter.take("key:a", "receipts", limits)
    assert refused.value.retry_after == 12 * 3600
    clock.seconds += 12 * 3600 - 1
    assert taken(limiter, limits, 1) == 0
    clock.seconds += 1
    assert taken(limiter, limits, 5) == 3


def test_answer_tokens_stop_answers_alone(limiter: Limiter, clock: Clock) -> None:
    limits = KeyLimits(answer_tokens_per_day=1000)
    assert taken(limiter, limits, 1, scope="answer") == 1
    limiter.spend("key:a", 999)
    assert taken(limiter, limits, 1, scope="answer") == 1
    limiter.spend("key:a", 500)  # what one answer goes over is allowed
    assert taken(limiter, limits, 1, scope="answer") == 0
    assert taken(limiter, limits, 1, scope="search") == 1
    assert taken(limiter, limits, 1, scope="answer", who="key:b") == 1
    clock.seconds += 12 * 3600
    assert taken(limiter, limits, 1, scope="answer") == 1


def test_a_limit_of_zero_allows_nothing(limiter: Limiter) -> None:
    assert taken(limiter, KeyLimits(per_minute={"search": 0}), 3) == 0
    assert taken(limiter, KeyLimits(requests_per_day=0), 3) == 0
    with pytest.raises(LimitReached) as refused:
        limiter.take("key:a", "search", KeyLimits(per_minute={"search": 0}))
    assert "q=0" in headers_of(refused.value.allowances)["RateLimit-Policy"]


def test_a_refused_request_costs_no_quota(limiter: Limiter, clock: Clock) -> None:
    limits = KeyLimits(per_minute={"search": 1}, requests_per_day=3)
    assert taken(limiter, limits, 50) == 1
    clock.seconds += 60
    assert taken(limiter, limits, 50) == 1


def test_the_headers_tell_of_every_limit_and_of_the_tightest(limiter: Limiter) -> None:
    limits = KeyLimits(per_minute={"answer": 60}, requests_per_day=5, answer_tokens_per_day=1000)
    limiter.take("key:a", "answer", limits)
    found = headers_of(limiter.take("key:a", "answer", limits))
    assert found["RateLimit-Policy"] == (
        '"answer";q=60;w=60, "requests-per-day";q=5;w=86400, "answer-tokens-per-day";q=1000;w=86400'
    )
    assert found["RateLimit"] == (
        '"answer";r=58;t=2, "requests-per-day";r=3;t=43200, "answer-tokens-per-day";r=1000;t=43200'
    )
    tightest = {name: found[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")}
    assert tightest == {"Limit": "5", "Remaining": "3", "Reset": "43200"}
    assert headers_of(limiter.take("key:a", "search", KeyLimits())) == {}


def test_threads_share_one_count() -> None:
    limiter, limits = Limiter(clock=lambda: 0.0), KeyLimits(per_minute={"search": 100}, requests_per_day=90)
    through: list[int] = []
    threads = [threading.Thread(target=lambda: through.append(taken(limiter, limits, 40))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(through) == 90


@given(
    rate=st.integers(1, 120),
    waits=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=60),
)
def test_no_minute_sees_more_than_twice_the_rate(rate: int, waits: list[float]) -> None:
    clock = Clock()
    limiter, limits = Limiter(clock=clock, now=clock.now), KeyLimits(per_minute={"search": rate})
    times: list[float] = []
    for wait in waits:
        clock.seconds += wait
        times += [clock.seconds] * taken(limiter, limits, rate + 1)
    for start in times:
        assert sum(start <= moment < start + 60 for moment in times) <= 2 * rate


def test_callers_whose_limits_are_full_again_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.access.limits._MOST_BUCKETS", 10)
    limiter, limits = Limiter(clock=clock, now=clock.now), KeyLimits(per_minute={"search": 1})
    for number in range(10):
        taken(limiter, limits, 1, who=f"oidc:{number}")
    clock.seconds += 61
    assert taken(limiter, limits, 1, who="oidc:new") == 1
    assert len(limiter._buckets) == 1
    assert taken(limiter, limits, 2, who="oidc:new") == 0  # those in use are not
