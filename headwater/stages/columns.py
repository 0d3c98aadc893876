"""How a document is written as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from headwater.types import Element, ParsedDocument

ELEMENTS = pa.list_(
    pa.struct(
        [
            ("kind", pa.string()),
            ("page", pa.int32()),
            ("section", pa.list_(pa.string())),
            ("start", pa.int64()),
            ("end", pa.int64()),
        ]
    )
)
"""Elements as a column; their text is the document's text from start to end."""

DOCUMENT = pa.schema([("text", pa.string()), ("elements", ELEMENTS), ("title", pa.string())])


def pack_elements(elements: Iterable[Element]) -> list[dict[str, Any]]:
    """Return elements as values of the :data:`ELEMENTS` column."""
    return [
        {"kind": e.kind, "page": e.page, "section": list(e.section), "start": e.start, "end": e.end} for e in elements
    ]


def unpack_document(row: Mapping[str, Any]) -> ParsedDocument:
    """Return the document of a row with text, elements and title."""
    text = row["text"]
    elements = tuple(
        Element(e["kind"], text[e["start"] : e["end"]], e["page"], tuple(e["section"]), e["start"], e["end"])
        for e in row["elements"]
    )
    return ParsedDocument(text=text, elements=elements, metadata={"title": row["title"]})


def ok_row(name: str, **values: Any) -> dict[str, Any]:
    """Return a row of a document stage that went well, for the upstream row ``name``."""
    return {"input": name, "id": name, "state": "ok", "reason": "ok", "error": None, **values}
