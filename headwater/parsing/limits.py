"""Errors of documents that break a limit of the policy, where several parsers raise them."""

from __future__ import annotations

from headwater.errors import ParseLimitExceeded
from headwater.policies import ParsePolicy


def too_many_pages(pages: int, policy: ParsePolicy) -> ParseLimitExceeded:
    """Return the error of a document with more pages, slides, sheets or chapters than the policy allows."""
    return ParseLimitExceeded(
        f"{pages} pages are more than parse.max_pages allows ({policy.max_pages})", "too_many_pages"
    )
