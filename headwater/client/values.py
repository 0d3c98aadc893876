"""JSON to the values of the library."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from headwater.client.errors import ClientError
from headwater.types import Answer

T = TypeVar("T")


_adapter: Callable[[Any], TypeAdapter[Any]] = lru_cache(maxsize=64)(TypeAdapter)


def decode(kind: type[T], value: Any) -> T:
    """Return a JSON value as ``kind``, a dataclass; fields that it doesn't know are left out.

    Raises ClientError for a value of another shape: the service is of another version.
    """
    try:
        found: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()})[:5])
        raise ClientError(
            f"The service sent a {kind.__name__} that this client can't read ({fields}); use the versions together."
        ) from None
    return found


def answer_of(body: dict[str, Any], question: str) -> Answer:
    """Return an answer as the service sends it, which leaves out the question."""
    return decode(Answer, {"question": question, **body})
