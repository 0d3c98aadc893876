"""Filters of a search: field by field, as an expression with and, or and not, or as a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from headwater.dates import period
from headwater.errors import FilterError
from headwater.index.filters import OPERATORS, check, encodes
from headwater.metadata import META, META_NAME
from headwater.retrieval.grammar import MAX_LENGTH, parse
from serving.models.fields import Number, Request, Some


def _is_date(value: str) -> str:
    period(value)
    return value


def _encodes(value: str) -> str:
    if not encodes(value):
        raise ValueError("has half of a surrogate pair, which UTF-8 can't encode")
    return value


Date = Annotated[str, Field(max_length=64, examples=["2024-05-31"]), AfterValidator(_is_date)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Word = Annotated[str, AfterValidator(_encodes)]
Texts = Word | Some[Word]


class _Range(Request):
    """Everything between the limits; at least one of them."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("needs gt, gte, lt or lte")
        return self


class NumberRange(_Range):
    """The numbers between the limits; at least one of them."""

    gt: Finite | None = None
    gte: Finite | None = None
    lt: Finite | None = None
    lte: Finite | None = None


class DateRange(_Range):
    """The time between the limits; at least one of them."""

    gt: Date | None = None
    gte: Date | None = None
    lt: Date | None = None
    lte: Date | None = None


class Prefix(Request):
    """What begins so."""

    prefix: Texts


class Filters(Request):
    """Only passages that match every given field; a list means any of its values.

    Dates are ISO 8601, from a year alone to a moment, and mean the whole stretch of time that they name (UTC).
    """

    doc_id: Texts | Prefix | None = None
    key: Texts | Prefix | None = None
    title: Texts | Prefix | None = Field(default=None, description="As the privacy policy left it; whole, or a prefix.")
    content_type: Texts | Prefix | None = None
    page: Number | Some[Number] | NumberRange | None = None
    language: Texts | Prefix | None = Field(default=None, description="ISO 639-1 code.", examples=["en"])
    date: Date | Some[Date] | DateRange | None = Field(default=None, description="Date that the document states.")
    modified: Date | Some[Date] | DateRange | None = Field(
        default=None, description="Last change that the document states of itself."
    )
    authors: Texts | Prefix | None = Field(default=None, description="As the privacy policy left them.")
    keywords: Texts | Prefix | None = None
    meta: dict[
        Annotated[str, Field(pattern=f"^(?:{META_NAME.pattern})$")],
        bool | Finite | Word | Some[bool | Finite | Word] | NumberRange | Prefix,
    ] = Field(default_factory=dict, max_length=32, description="Front matter, by name.")

    def flat(self) -> dict[str, Any]:
        """Return the filters as :meth:`headwater.Corpus.search` takes them."""
        fields = self.model_dump(exclude_none=True)
        meta = fields.pop("meta")
        return fields | {f"{META}{name}": value for name, value in meta.items()}


def _form(value: Any) -> str:
    """Return which of the three forms a filter has."""
    if isinstance(value, str):
        return "text"
    names = value if isinstance(value, Mapping) else ()
    flat = any(name in OPERATORS or str(name).startswith(META) for name in names)
    return "expression" if flat else "fields"


def _checked(expression: dict[str, Any]) -> dict[str, Any]:
    try:
        check(expression)
    except FilterError as error:
        raise ValueError(str(error)) from None
    return expression


def _understood(text: str) -> str:
    try:
        parse(text)
    except FilterError as error:
        raise ValueError(str(error)) from None
    return text


FilterText = Annotated[
    str,
    Field(max_length=MAX_LENGTH, examples=['date >= 2024 and (language = "en" or key ^= "policies/")']),
    AfterValidator(_understood),
]
Expression = Annotated[
    dict[str, Any],
    Field(
        description="Fields as above, front matter as `meta.<name>`, and the operators `and`, `or` (lists of expressions) "
        "and `not` (one).",
        examples=[{"and": [{"date": {"gte": "2024"}}, {"not": {"meta.draft": True}}]}],
    ),
    AfterValidator(_checked),
]
AnyFilters: TypeAlias = Annotated[
    Annotated[Filters, Tag("fields")] | Annotated[Expression, Tag("expression")] | Annotated[FilterText, Tag("text")],
    Discriminator(_form),
]


def plain(filters: Filters | dict[str, Any] | str) -> dict[str, Any] | str:
    """Return filters as :meth:`headwater.Corpus.search` takes them."""
    return filters.flat() if isinstance(filters, Filters) else filters
