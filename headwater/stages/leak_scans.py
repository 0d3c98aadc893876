"""Chunks to findings: what personal data is still in the text that the index is written from.

Runs through the incremental driver like any stage, so a chunk is scanned once, whatever becomes of its release.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headwater import privacy
from headwater.driver import Stage, row_schema
from headwater.policies import PrivacyPolicy
from headwater.stages.anonymized_documents import privacy_warm_up
from headwater.stages.columns import ok_row

LEAKS = pa.schema([("findings", pa.int32()), ("entities", pa.string())])
"""Number of findings in a chunk's text, title and headings, and their kinds as JSON; never the values."""


def leak_stage(policy: PrivacyPolicy) -> Stage:
    """Chunks to findings of structured personal data: names are the gate's to sample."""
    return Stage(
        name="leak_scans",
        code_version=privacy.CODE_VERSION,
        parameters={"policy": policy.model_dump(mode="json")},
        columns=("text", "title", "section"),
        data=LEAKS,
        function="headwater.stages.leak_scans:scan_rows",
        batch_rows=128,
        warm_up=privacy_warm_up(policy),
    )


def scan_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Look for personal data in the chunks of a batch."""
    policy = PrivacyPolicy.model_validate(parameters["policy"])
    rows = batch.to_pylist()
    labels = sorted({label for row in rows for label in (row["title"], *row["section"]) if label})
    texts = [*(row["text"] for row in rows), *labels]
    spans = privacy.leak_scan(texts, policy) if policy.enabled else [[] for _ in texts]
    of_label = dict(zip(labels, spans[len(rows) :], strict=True))
    result = []
    for row, found in zip(rows, spans, strict=False):
        named = [of_label[label] for label in (row["title"], *row["section"]) if label]
        kinds = Counter(span.entity for group in (found, *named) for span in group)
        entities = json.dumps(kinds, sort_keys=True)
        result.append(ok_row(row["id"], findings=kinds.total(), entities=entities))
    return pa.Table.from_pylist(result, schema=row_schema(LEAKS))
