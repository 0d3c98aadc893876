"""The page of the HTTP interface, from the OpenAPI document of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documentation.markdown import code, table, text

INTRODUCTION = """\
# HTTP interface

Made from the service's OpenAPI document, which is at `/openapi.json`. [The HTTP service](../http-api.md) explains how to
use it, and [who may](../access.md). Errors are problem details (RFC 9457); every response has an `X-Request-ID`. MCP at
`/mcp` and the metrics at `/metrics` are not part of the document.

"""

_METHODS = ("get", "post", "put", "patch", "delete")


def http_page() -> str:
    """Return the page of all operations and of the objects that they take and return."""
    document = openapi()
    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    ]
    summary = table(
        ("operation", "does"),
        [
            (f"[`{method.upper()} {path}`](#{_anchor(method, path)})", text(operation.get("summary", "")))
            for path, method, operation in operations
        ],
    )
    schemas = document["components"]["schemas"]
    parts = [INTRODUCTION, summary]
    parts += [_operation(path, method, operation) for path, method, operation in operations]
    parts.append("\n## Objects\n")
    parts += [_schema(name, schema) for name, schema in sorted(schemas.items())]
    return "".join(parts)


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    from serving.access import Access
    from serving.app import create_app

    return create_app(corpora={}, access=Access()).openapi()


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f"\n## {method.upper()} {path} {{ #{_anchor(method, path)} }}\n", _prose(operation.get("summary"))]
    parts.append(_prose(operation.get("description")))
    taken = operation.get("parameters", [])
    if taken:
        rows = [
            (
                code(each["name"]),
                each["in"],
                _type(each["schema"]),
                "yes" if each.get("required") else "no",
                text(each.get("description") or each["schema"].get("description") or ""),
            )
            for each in taken
        ]
        parts.append(table(("parameter", "in", "type", "required", "meaning"), rows))
    if body := operation.get("requestBody"):
        parts.append(f"Body: {_content(body['content'])}.\n")
    responses = [
        (status, text(response.get("description", "")), _content(response.get("content", {})))
        for status, response in operation["responses"].items()
    ]
    parts.append(table(("status", "meaning", "content"), responses))
    return "\n".join(part for part in parts if part)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    head = f"\n### {name} {{ #{name.lower()} }}\n\n{_prose(schema.get('description'))}\n"
    fields = schema.get("properties")
    if not fields:
        return f"{head}{_type(schema)}\n"
    required = schema.get("required", [])
    rows = [
        (code(field), _type(each), "yes" if field in required else "no", text(each.get("description", "")))
        for field, each in fields.items()
    ]
    return head + table(("field", "type", "always", "meaning"), rows)


def _content(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{_type(each.get('schema', {}))} as `{media}`" for media, each in content.items())


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for kind in ("anyOf", "oneOf", "allOf"):
        if kind in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[kind]))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(str(each)) for each in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type(schema['additionalProperties'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _prose(words: str | None) -> str:
    return "\n\n".join(text(part) for part in words.split("\n\n")) + "\n" if words else ""


def _anchor(method: str, path: str) -> str:
    return f"{method}{path}".replace("/", "-").replace("{", "").replace("}", "").replace("_", "-").lower()
