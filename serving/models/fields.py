"""The types of fields that several requests share, and their limits."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from headwater.injection import clean_question

MAX_QUERY = 2000
MAX_GROUPS = 200

MAX_NUMBER = 2**31 - 1
"""Release numbers and offsets above this can't exist, and databases refuse them."""

Value = TypeVar("Value")


def has_no_nul(value: str) -> str:
    """Return ``value``; ValueError for what neither database nor file system takes."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    return value


def has_words(value: str) -> str:
    """Return ``value``; ValueError when it is blank or has NUL characters."""
    has_no_nul(value)
    if not value.strip():
        raise ValueError("must not be blank")
    return value


Text = Annotated[
    str, Field(min_length=1, max_length=MAX_QUERY), AfterValidator(has_words), AfterValidator(clean_question)
]
"""What people write, without what nobody sees."""

CorpusName = Annotated[str, Field(min_length=1, max_length=64, description="Name of a corpus.", examples=["handbook"])]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
Release = Annotated[Number | None, Field(description="A retained release; default: the live one.")]
Group = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(has_words)]
_GROUPS = (
    "Groups of the end user. Others than the caller's own take the scope `vouch`. Default: the caller's own; with an "
    "empty list{}, only documents that everyone may read are found."
)
Groups = Annotated[list[Group], Field(max_length=MAX_GROUPS, description=_GROUPS.format(""), examples=[["staff"]])]


def _listed(value: Any) -> Any:
    """Return the values of a parameter of a query string; one empty value is how it says that there are none."""
    return [] if value == [""] else value


QueryGroups = Annotated[
    list[Group],
    BeforeValidator(_listed),
    Field(max_length=MAX_GROUPS, description=_GROUPS.format(" (`groups=`)"), examples=[["staff"]]),
]
"""Groups in a query string."""

AnswerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="The `id` of an answer.")]
Key = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(has_no_nul)]
"""A key, or the start of one; S3 allows 1,024 bytes, file systems somewhat more."""

Cursor = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(has_no_nul)]
Offset = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Some = Annotated[list[Value], Field(min_length=1, max_length=100)]


class Request(BaseModel):
    """Base of what is sent to an endpoint: a field that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Response(BaseModel):
    """Base of what is made from an object of the library."""

    model_config = ConfigDict(from_attributes=True)
