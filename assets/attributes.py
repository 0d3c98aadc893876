"""The schema of a component's YAML attributes, derived from the library's policies.

A policy takes values. YAML may give an environment template (``{{ env.BUCKET }}``) in place of any value, which
the library resolves when it reads the file. So the schema is the policy's own, field for field, with a template
allowed wherever a plain value is.
"""

import re
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

TEMPLATE = r"\{\{.*\}\}"


class OrTemplate:
    """Annotation: the annotated type, or a string that holds a template.

    In JSON Schema this is if/else and not anyOf, because a validator then reports what is wrong with the value
    ("'x' is not of type 'integer'") instead of "not valid under any of the given schemas".
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the type's validator behind one that lets templates pass."""

        def validate(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            return value if isinstance(value, str) and re.search(TEMPLATE, value) else inner(value)

        return core_schema.no_info_wrap_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the type's JSON schema behind a condition that lets templates pass."""
        return {"if": {"type": "string", "pattern": TEMPLATE}, "else": handler(schema)}


@cache
def attributes_model(policy: type[BaseModel]) -> type[BaseModel]:
    """Return a model with the fields, defaults, limits and descriptions of ``policy``, templates allowed."""
    fields: dict[str, Any] = {}
    for name, field in policy.model_fields.items():
        default = ... if field.is_required() else field.get_default(call_default_factory=True)
        fields[name] = (
            _with_templates(field.rebuild_annotation()),
            Field(default=default, description=field.description),
        )
    return create_model(policy.__name__, __config__=ConfigDict(extra="forbid"), __doc__=policy.__doc__, **fields)


def _with_templates(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return attributes_model(annotation)
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        return list[_with_templates(item)]  # type: ignore[misc]
    if get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
        return Annotated[annotation, OrTemplate()]
    return annotation if annotation is str else Annotated[annotation, OrTemplate()]
