"""Surviving documents to documents without personal data, before anything is chunked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from headwater import privacy
from headwater.driver import Stage, row_schema
from headwater.edits import Edit, edit_document
from headwater.policies import PrivacyPolicy
from headwater.stages.columns import DOCUMENT, ok_row, pack_elements, unpack_document

ANONYMIZED = pa.schema([*DOCUMENT, ("replacements", pa.string())])


def privacy_stage(policy: PrivacyPolicy) -> Stage:
    """Surviving documents to documents without personal data."""
    return Stage(
        name="anonymized_documents",
        code_version=privacy.CODE_VERSION,
        parameters=policy.model_dump(mode="json") | {"pipeline": privacy.nlp_pipeline(policy)},
        columns=("text", "elements", "title"),
        data=ANONYMIZED,
        function="headwater.stages.anonymized_documents:anonymize_rows",
        batch_rows=16,
        warm_up=privacy_warm_up(policy),
    )


def privacy_warm_up(policy: PrivacyPolicy) -> tuple[str, Mapping[str, Any]] | None:
    """Return the warm-up of stages that look for personal data: they can share their workers."""
    if not policy.enabled:
        return None
    arguments = {"language": policy.language, "spacy_model": policy.spacy_model}
    return "headwater.stages.anonymized_documents:warm_up", arguments


def warm_up(language: str, spacy_model: str | None) -> None:
    """Load Presidio and spaCy, in a process that does nothing else.

    Both take torch and transformers along where they find them, which is four fifths of the time (5.0 of 6.0 s) and
    400 MiB; only spaCy's transformer pipelines need them.
    """
    from headwater.privacy.pipeline import find_pipeline

    pipeline = find_pipeline(language, spacy_model)
    if pipeline is None or not pipeline.label.split()[0].endswith("_trf"):
        for name in ("torch", "transformers"):
            if name not in sys.modules:
                sys.modules[name] = None  # type: ignore[assignment]
    from headwater.privacy.engine import load_engine

    load_engine(language, spacy_model)


def anonymize_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Replace personal data in text, headings and titles."""
    policy = PrivacyPolicy.model_validate({k: v for k, v in parameters.items() if k != "pipeline"})
    rows = batch.to_pylist()
    texts = [row["text"] for row in rows]
    labels = sorted(_labels(rows))
    if policy.enabled:
        cleaned = privacy.anonymize([*texts, *labels], policy)
        replaced = {label: done.text for label, done in zip(labels, cleaned[len(texts) :], strict=True)}
        findings = [done.replacements for done in cleaned[: len(texts)]]
    else:
        replaced = {label: label for label in labels}
        findings = [() for _ in texts]
    result = []
    for row, found in zip(rows, findings, strict=True):
        edits = [Edit(item.start, item.end, item.text) for item in found]
        document = edit_document(unpack_document(row), edits)
        elements = pack_elements(document.elements)
        for element in elements:
            element["section"] = [replaced[heading] for heading in element["section"]]
        counts: dict[str, int] = {}
        for item in found:
            counts[item.entity] = counts.get(item.entity, 0) + 1
        result.append(
            ok_row(
                row["id"],
                text=document.text,
                elements=elements,
                title=replaced[row["title"]] if row["title"] else None,
                replacements=json.dumps(counts, sort_keys=True),
            )
        )
    return pa.Table.from_pylist(result, schema=row_schema(ANONYMIZED))


def _labels(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    labels = {row["title"] for row in rows if row["title"]}
    for row in rows:
        for element in row["elements"]:
            labels.update(element["section"])
    return labels
