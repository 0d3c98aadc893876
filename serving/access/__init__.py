"""Who may use the HTTP service, what for, and how much: API keys, tokens, scopes, limits, and the audit log.

A route says what it takes: ``who: Annotated[Caller, Depends(caller("search"))]``; the :class:`Caller` then gives the
principal to search as, refuses corpora that it may not use, and enters in the audit log what was done.
"""

from headwater.api_keys import SCOPES, KeyLimits, Scope
from serving.access.access import Access, Unauthenticated, Unavailable, open_access, project_at_hand
from serving.access.callers import Caller, Forbidden, Identity
from serving.access.dependency import caller, caller_of

__all__ = [
    "SCOPES",
    "Access",
    "Caller",
    "Forbidden",
    "Identity",
    "KeyLimits",
    "Scope",
    "Unauthenticated",
    "Unavailable",
    "caller",
    "caller_of",
    "open_access",
    "project_at_hand",
]
