"""Groups of the end user in a header, for protocols whose requests have no place for them."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from serving.models.fields import MAX_GROUPS

HEADER = "X-Headwater-Groups"
MAX_LENGTH = 200


def named_groups(request: HTTPConnection | None) -> list[str] | None:
    """Return the groups that the header names, separated by commas and percent-encoded; None without the header.

    Whether the caller may name them is for :meth:`serving.access.Caller.principal` to say. Raises 422 for what can't
    be a group.
    """
    value = request.headers.get(HEADER) if request is not None else None
    if value is None:
        return None
    groups = [unquote(part.strip()) for part in value.split(",") if part.strip()]
    if len(groups) > MAX_GROUPS or any(len(group) > MAX_LENGTH or "\x00" in group for group in groups):
        raise HTTPException(422, f"{HEADER} names at most {MAX_GROUPS} groups of at most {MAX_LENGTH} characters.")
    return groups
