"""Tables of the fields of pydantic models: name, type with its limits, default, description."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from documentation.markdown import code, table, text

_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "multiple_of": "a multiple of"}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping", type(None): "null"}


def fields_table(model: type[BaseModel], link: Callable[[type[BaseModel]], str]) -> str:
    """Return the table of the fields of ``model``; ``link`` gives the address of another model's table."""
    return table(
        ("field", "type", "default", "meaning"),
        [
            (code(name), _type(field, link), _default(field), text(field.description or ""))
            for name, field in model.model_fields.items()
        ],
    )


def inner_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the models that fields of ``model`` hold, each before those within it, none twice."""
    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            found += [each for each in (inner, *inner_models(inner)) if each not in found]
    return found


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field with this annotation holds itself."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def _type(field: FieldInfo, link: Callable[[type[BaseModel]], str]) -> str:
    limits = [
        f"{words} {value}"
        for constraint in field.metadata
        for name, words in _LIMITS.items()
        if (value := getattr(constraint, name, None)) is not None
    ]
    named = _plain(field.annotation, link)
    return f"{named}, {' and '.join(limits)}" if limits else named


def _plain(annotation: Any, link: Callable[[type[BaseModel]], str]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}]({link(annotation)})"
    if origin is Literal:
        return ", ".join(code(str(value)) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_plain(part, link) for part in arguments)
    if origin in (list, tuple, set, frozenset):
        return f"list of {_plain(arguments[0], link)}"
    if origin is dict:
        return f"mapping of {_plain(arguments[0], link)} to {_plain(arguments[1], link)}"
    if origin is not None and arguments:  # Annotated
        return _plain(arguments[0], link)
    return _NAMES.get(annotation, code(getattr(annotation, "__name__", str(annotation))))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return "its fields' defaults"
    if isinstance(value, (tuple, set, frozenset)):
        value = list(value)
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return code(dumped.removesuffix("\n").removesuffix("\n..."))
