"""Objects to documents: bytes become elements, in worker processes under limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headwater import parsing
from headwater.driver import Stage, row_schema
from headwater.errors import ParseError, SourceError
from headwater.hashing import digest, digest_bytes
from headwater.parsing.ocr import engine, languages
from headwater.parsing.unlock import noting_passwords, set_passwords
from headwater.policies import ParsePolicy
from headwater.stages.columns import DOCUMENT, ok_row, pack_elements

PARSED = pa.schema(
    [
        *DOCUMENT,
        ("content_type", pa.string()),
        ("pages", pa.int32()),
        ("parser", pa.string()),
        ("metadata", pa.string()),
    ]
)


UNREADABLE = "unreadable"
"""The reason of an object that could not be read, or was another one by then: it is read again at the next reindex."""


def parse_stage(policy: ParsePolicy, uri: str) -> Stage:
    """Objects to documents."""
    return Stage(
        name="parsed_documents",
        code_version=parsing.CODE_VERSION,
        parameters=policy.model_dump(mode="json")
        | {
            "pipeline": parsing.sentence_pipeline(policy),
            "ocr_engine": [engine(), *sorted(languages())] if policy.ocr else None,
            # What is encrypted is tried again when a password was set. Kept in no table: a hash over all parameters is.
            "password_set": digest(*found) if (found := set_passwords(policy)) else None,
        },
        columns=("key", "revision", "parent", "size"),
        fetched="size",
        data=PARSED,
        function="headwater.stages.parsed_documents:parse_rows",
        batch_rows=8,
        timeout=policy.timeout_seconds,
        memory_mb=policy.memory_mb,
        ephemeral={"_uri": uri},
        withheld=frozenset({"password_set"}),
        passing=frozenset({UNREADABLE}),
        conditional=frozenset({"passwords", "password_set"}),
        warm_up=(
            "headwater.stages.parsed_documents:warm_up",
            {"sentence_model": policy.sentence_model},
        ),
    )


def warm_up(sentence_model: str | None) -> None:
    """Import the parsers, before the worker's memory limit is set."""
    parsing.prepare_worker(ParsePolicy(sentence_model=sentence_model))


def _policy(parameters: Mapping[str, Any]) -> ParsePolicy:
    return ParsePolicy.model_validate({k: v for k, v in parameters.items() if k in ParsePolicy.model_fields})


def parse_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Read and parse the objects of a batch; an object that can't be parsed costs its own row only.

    What is not the revision that was listed is not parsed: who may read it was not asked either.
    """
    from headwater.source import ObjectReader, open_store

    policy = _policy(parameters)
    reader = ObjectReader(open_store(parameters["_uri"]), policy)
    rows = []
    for source in batch.select(["id", "key", "revision", "parent"]).to_pylist():
        name = source["id"]
        with noting_passwords() as asked:
            try:
                data = reader.read(source["key"], attached=source["parent"] is not None)
                if digest_bytes(data) != source["revision"]:
                    raise SourceError(f"{source['key']}: the object was replaced after it was listed.")
                document = parsing.parse_confined(data, source["key"], policy)
            except (ParseError, SourceError) as error:
                code = error.code if isinstance(error, ParseError) else UNREADABLE
                failed = {"state": "quarantined", "reason": code, "error": str(error)}
                rows.append({"input": name, "id": name, **failed, "conditional": asked.passwords})
                continue
        metadata = dict(document.metadata)
        rows.append(
            ok_row(
                name,
                conditional=asked.passwords,
                text=document.text,
                elements=pack_elements(document.elements),
                title=metadata.pop("title", None),
                content_type=metadata.pop("content_type", None),
                pages=metadata.pop("pages", None),
                parser=metadata.pop("parser", None),
                metadata=json.dumps(metadata, default=str, sort_keys=True),
            )
        )
    return pa.Table.from_pylist(rows, schema=row_schema(PARSED, conditional=True))
