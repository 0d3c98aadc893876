"""Dates as documents and filters state them: ISO 8601, from a year alone to a moment, as stretches of UTC seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2}))?")


def period(value: str) -> tuple[int, int]:
    """Return the stretch of time that ``value`` names, as its first second and the one after its last (Unix time, UTC).

    ``2024`` is a year, ``2024-05`` a month, ``2024-05-31`` a day, and ``2024-05-31T09:30`` (with or without seconds and
    offset) a second. Without an offset it is UTC. Raises ValueError for anything else.
    """
    text = value.strip()
    partial = _PARTIAL.fullmatch(text)
    try:
        if partial is not None:
            year, month = int(partial[1]), partial[2]
            first = datetime(year, int(month or 1), 1, tzinfo=UTC)
            months = year * 12 + (int(month) if month else 12)
            return _seconds(first), _seconds(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC))
        moment = datetime.fromisoformat(text)
        start = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        length = timedelta(days=1) if "T" not in text.upper() and " " not in text else timedelta(seconds=1)
        return _seconds(start), _seconds(start) + int(length.total_seconds())
    except (ValueError, OverflowError) as error:
        raise ValueError("a date is written as 2024, 2024-05, 2024-05-31 or 2024-05-31T09:30:00+02:00") from error


def in_utc(moment: datetime) -> datetime:
    """Return a moment with a time zone in UTC. Raises ValueError where UTC's year isn't one of 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time must lie in the years 1 to 9999 of UTC") from error


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp() // 1)
