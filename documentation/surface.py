"""The page of the Python library: every public name of ``headwater``, from its signature and docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from pydantic import BaseModel

from documentation.markdown import code, docstring, table

INTRODUCTION = """\
# Python

`import headwater` gives the stages as functions, an open corpus, and what they take and return. Importing is cheap:
each name loads what it needs on first use. Offsets count Unicode code points.

The client of the HTTP service is [`headwater.client.Client`](../http-api.md#the-python-client).

"""


def surface_page() -> str:
    """Return the page of all public names."""
    groups = grouped()
    parts = [INTRODUCTION]
    for title, names in groups.items():
        parts.append(f"\n## {title}\n")
        parts += [_entry(name, thing) for name, thing in sorted(names.items())]
    return "".join(parts)


def public() -> dict[str, Any]:
    """Return the public names of the library with what they stand for."""
    import headwater

    return {name: getattr(headwater, name) for name in headwater.__all__}


def grouped() -> dict[str, dict[str, Any]]:
    """Return the public names by kind."""
    groups: dict[str, dict[str, Any]] = {"Functions": {}, "Classes": {}, "Values": {}, "Policies": {}, "Errors": {}}
    for name, thing in public().items():
        if not isinstance(thing, type):
            groups["Functions"][name] = thing
        elif issubclass(thing, Exception):
            groups["Errors"][name] = thing
        elif issubclass(thing, BaseModel):
            groups["Policies"][name] = thing
        elif dataclasses.is_dataclass(thing):
            groups["Values"][name] = thing
        else:
            groups["Classes"][name] = thing
    return groups


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class defines itself, in the order of its source."""
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        if isinstance(member, (FunctionType, property)):
            yield name, member
        elif isinstance(member, (classmethod, staticmethod)):
            yield name, member.__func__


def _entry(name: str, thing: Any) -> str:
    head = f"\n### {name} {{ #{name} }}\n\n"
    if not isinstance(thing, type):
        return f"{head}{_signature(name, thing)}{docstring(thing)}\n"
    if issubclass(thing, Exception):
        base = next(each for each in thing.__mro__[1:])
        return f"{head}Is a `{base.__name__}`. {docstring(thing)}\n"
    if issubclass(thing, BaseModel):
        return f"{head}{docstring(thing)} [Its fields](corpus.md#{name.lower()}).\n"
    if dataclasses.is_dataclass(thing):
        rows = [(code(field.name), code(str(field.type)), _default(field)) for field in dataclasses.fields(thing)]
        return f"{head}{docstring(thing)}\n\n{table(('field', 'type', 'default'), rows)}{_members(thing)}"
    return f"{head}{_signature(name, thing.__init__)}{docstring(thing)}\n{_members(thing)}"


def _members(thing: type) -> str:
    parts = []
    for name, member in members(thing):
        if isinstance(member, property):
            parts.append(f"\n**`{name}`** (attribute): {docstring(member)}\n")
        else:
            parts.append(f"\n**`{name}`**\n\n{_signature(name, member)}{docstring(member)}\n")
    return "".join(parts)


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    taken = [_parameter(each) for each in parameters]
    named = [each.kind is inspect.Parameter.KEYWORD_ONLY for each in parameters]
    if any(named) and not any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        taken.insert(named.index(True), "*")
    returned = "" if signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(taken)}){returned}"
    if len(line) > 100:
        line = f"{name}(\n    " + ",\n    ".join(taken) + f",\n){returned}"
    return f"```python\n{re.sub(r'headwater[.]([a-z_]+[.])*', '', line)}\n```\n\n"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else ""
    stars = "**" if parameter.kind is inspect.Parameter.VAR_KEYWORD else stars
    annotation = "" if parameter.annotation is inspect.Parameter.empty else f": {parameter.annotation}"
    default = "" if parameter.default is inspect.Parameter.empty else f" = {_shown(parameter.default)}"
    return f"{stars}{parameter.name}{annotation}{default}"


def _shown(value: object) -> str:
    """Return a default as its caller would write it: a policy that says nothing by its name alone."""
    if isinstance(value, BaseModel) and not value.model_fields_set:
        return f"{type(value).__name__}()"
    return repr(value)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default))
    if field.default_factory is not dataclasses.MISSING:
        return code(repr(field.default_factory()))
    return "**required**"
