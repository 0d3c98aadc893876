"""Filters as people write them: a string to a filter expression.

::

    date >= 2024 and (language = "en" or key ^= "policies/") and not meta.draft = true

======================  ==========================================================================
``=``, ``!=``           equal, not equal
``<  <=  >  >=``        ranges of dates and numbers
``^=``                  begins with
``in (a, b)``           one of; also ``not in (a, b)``
``and or not ( )``      ``not`` binds closest, then ``and``, then ``or``; upper or lower case
======================  ==========================================================================

A value is in double or single quotes (``\\`` escapes the next character), or one word without quotes. A word is what its
field is: a date, a number, a text; of a field of the front matter ``true`` and ``false`` are booleans and what reads
like a number is one. The fields, and what each may be, are those of :mod:`headwater.index.filters`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.errors import FilterError
from headwater.index.contract import FILTERABLE
from headwater.index.filters import MAX_DEPTH, check
from headwater.metadata import DATES, META, META_NAME

MAX_LENGTH = 4000
"""Characters of a filter; a person's have a few dozen."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>\^=|!=|<=|>=|=|<|>|\(|\)|\[|\]|,)
         |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
         |(?P<word>[^\s()\[\],=!<>^"']+))""",
    re.VERBOSE | re.DOTALL,
)
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_CLOSING = {"(": ")", "[": "]"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["sign", "text", "word", "end"]
    value: str
    position: int


def parse(text: str) -> dict[str, Any]:
    """Return the filter expression that ``text`` means; an empty one for nothing but white space.

    Raises FilterError, with the position (characters from 1), for what is no filter.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text)} characters, more than {MAX_LENGTH}")
    tokens = _tokens(text)
    if len(tokens) == 1:
        return {}
    parser = _Parser(tokens)
    expression = parser.whole()
    check(expression)
    return expression


def expression_of(filters: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    """Return filters in either form as an expression, checked."""
    if isinstance(filters, str):
        return parse(filters)
    if filters:
        check(filters)
    return filters or {}


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            start = place + len(text[place:]) - len(text[place:].lstrip())
            what = "a quotation mark that is never closed" if text[start] in "\"'" else f"{text[start]!r}"
            raise _error(start, f"can't read {what}")
        if match["text"] is not None:
            value = re.sub(r"\\(.)", r"\1", match["text"][1:-1], flags=re.DOTALL)
            tokens.append(_Token("text", value, match.start("text")))
        elif match["sign"] is not None:
            tokens.append(_Token("sign", match["sign"], match.start("sign")))
        else:
            tokens.append(_Token("word", match["word"], match.start("word")))
        place = match.end()
    return [*tokens, _Token("end", "", end)]


class _Parser:
    """Recursive descent: one method per rule, each leaves the next token to read at ``_next``."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> dict[str, Any]:
        found = self._either()
        if self._token.kind != "end":
            raise self._expected("and, or, or the end of the filter")
        return found

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _either(self) -> dict[str, Any]:
        parts = [self._both()]
        while self._take_word("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else {"or": parts}

    def _both(self) -> dict[str, Any]:
        parts = [self._negated()]
        while self._take_word("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else {"and": parts}

    def _negated(self) -> dict[str, Any]:
        # Here, too: a filter of thousands of brackets must end in an error, not at Python's own limit.
        self._depth += 1
        if self._depth > 2 * MAX_DEPTH:
            raise _error(self._token.position, f"nested more than {MAX_DEPTH} deep")
        try:
            if self._take_word("not"):
                return {"not": self._negated()}
            if self._take_sign("("):
                found = self._either()
                if not self._take_sign(")"):
                    raise self._expected("a closing bracket")
                return found
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> dict[str, Any]:
        name = self._token
        known = name.value in FILTERABLE or (
            name.value.startswith(META) and META_NAME.fullmatch(name.value.removeprefix(META)) is not None
        )
        if name.kind != "word" or not known:
            raise self._expected(f"a field ({', '.join(FILTERABLE)} or {META}<name>)")
        self._next += 1
        field = name.value
        if self._take_word("not"):
            if not self._take_word("in"):
                raise self._expected("in")
            return {"not": {field: self._list(field)}}
        if self._take_word("in"):
            return {field: self._list(field)}
        sign = self._token
        if sign.kind != "sign" or sign.value not in ("=", "!=", "^=", *_RANGES):
            raise self._expected("one of = != < <= > >= ^= in")
        self._next += 1
        written = self._token
        value = self._value(field)
        if sign.value == "=":
            return {field: value}
        if sign.value == "!=":
            return {"not": {field: value}}
        if sign.value == "^=":
            return {field: {"prefix": written.value}}
        return {field: {_RANGES[sign.value]: value}}

    def _list(self, field: str) -> list[Any]:
        opening = self._token.value
        if not (self._take_sign("(") or self._take_sign("[")):
            raise self._expected("a list in brackets")
        values = [self._value(field)]
        while self._take_sign(","):
            values.append(self._value(field))
        if not self._take_sign(_CLOSING[opening]):
            raise self._expected(f"a comma or {_CLOSING[opening]}")
        return values

    def _value(self, field: str) -> Any:
        token = self._token
        if token.kind not in ("text", "word"):
            raise self._expected("a value")
        self._next += 1
        if token.kind == "text" or field in DATES:
            return token.value
        if field == "page":
            return int(token.value) if token.value.isdecimal() else token.value
        return _plain(token.value) if field.startswith(META) else token.value

    def _take_word(self, word: str) -> bool:
        found = self._token.kind == "word" and self._token.value.lower() == word
        self._next += found
        return found

    def _take_sign(self, sign: str) -> bool:
        found = self._token.kind == "sign" and self._token.value == sign
        self._next += found
        return found

    def _expected(self, what: str) -> FilterError:
        return _error(self._token.position, f"expected {what}")


def _plain(word: str) -> bool | float | int | str:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        number = float(word)
    except ValueError:
        return word
    if not math.isfinite(number):
        return word
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _error(position: int, what: str) -> FilterError:
    return FilterError(f"the filter, character {position + 1}: {what}")
