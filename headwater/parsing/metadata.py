"""What files state about themselves, in one shape: names as a list, dates as ISO 8601, keywords as a list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from email.utils import parsedate_to_datetime

_SEPARATORS = re.compile(r"\s*[;\n]\s*")
_PDF_DATE = re.compile(
    r"(?:D:)?(\d{4})(\d{2})?(\d{2})?(?:(\d{2})(\d{2})(\d{2})?)?(Z(?:00'?(?:00)?)?|[+-]\d{2}'?(?:\d{2})?)?'?\Z"
)
_MONTH = re.compile(r"\d{4}-\d{2}")
_MAX_ENTRIES = 32
_NEVER = 1601  # the year in which FILETIME begins: Office wrote no date
_MAX_LENGTH = 200
"""Characters of one name or keyword; more is a text in the wrong field."""


def people_of(stated: object) -> list[str]:
    """Return names from a list or a string; semicolons and line breaks separate names, commas may be part of one."""
    return _entries(stated, _SEPARATORS)


def words_of(stated: object) -> list[str]:
    """Return keywords from a list or a string; commas, semicolons and line breaks separate them."""
    return _entries(stated, re.compile(r"\s*[,;\n]\s*"))


def _entries(stated: object, separators: re.Pattern[str]) -> list[str]:
    pieces: Iterable[object] = stated if isinstance(stated, (list, tuple, set)) else [stated]
    found: dict[str, None] = {}
    for piece in pieces:
        if isinstance(piece, (str, int, float)) and not isinstance(piece, bool):
            for name in separators.split(str(piece)):
                clean = " ".join(name.split())
                if clean and len(clean) <= _MAX_LENGTH:
                    found.setdefault(clean)
    return list(found)[:_MAX_ENTRIES]


def date_of(stated: object) -> str | None:
    """Return a date or date and time as ISO 8601, from ISO 8601, RFC 5322 or PDF's notation; None from anything else.

    A year or a month alone stays one (``2024``, ``2024-05``): the day is not known.
    """
    if isinstance(stated, (datetime, date)):
        return stated.isoformat() if stated.year > _NEVER else None
    text = str(stated or "").strip()
    if not text or len(text) > _MAX_LENGTH:
        return None
    if re.match(r"\d{4}-", text):
        try:
            if _MONTH.fullmatch(text):
                return date.fromisoformat(f"{text}-01").isoformat()[:7]
            return datetime.fromisoformat(text).isoformat() if len(text) > 10 else date.fromisoformat(text).isoformat()
        except ValueError:
            return None
    if match := _PDF_DATE.match(text):
        return _pdf_date(match)
    try:
        return parsedate_to_datetime(text).isoformat()
    except (ValueError, TypeError, IndexError):
        return None


def _pdf_date(match: re.Match[str]) -> str | None:
    """ISO 32000-1, 7.9.4: ``D:YYYYMMDDHHmmSSOHH'mm'``, cut anywhere after the year. macOS writes ``Z00'00'`` for UTC."""
    year, month, day, hour, minute, second, zone = match.groups()
    try:
        if hour is None:
            first = date(int(year), int(month or 1), int(day or 1)).isoformat()
            return first if day else first[:7] if month else first[:4]
        digits = (zone or "").replace("'", "")
        offset = "+00:00" if digits.startswith("Z") else f"{digits[:3]}:{digits[3:] or '00'}" if digits else ""
        moment = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset}"
        return datetime.fromisoformat(moment).isoformat()
    except ValueError:
        return None
