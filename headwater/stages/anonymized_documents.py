"""Surviving documents to documents without personal data, before anything is chunked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headwater import metadata, privacy
from headwater.driver import Stage, row_schema
from headwater.edits import Edit, edit_document
from headwater.policies import PrivacyPolicy
from headwater.privacy.entities import chosen_entities
from headwater.stages.columns import DOCUMENT, ok_row, pack_elements, unpack_document
from headwater.stages.name_spans import labels_of, unpack
from headwater.types import AnonymizedText, PiiSpan

ANONYMIZED = pa.schema(
    [*DOCUMENT, ("metadata", pa.string()), ("replacements", pa.string()), ("personal_data", pa.string())]
)
"""``replacements`` and ``personal_data`` count by entity, as JSON: what was replaced, and what was done with all that
was found. Never the values."""


def privacy_stage(policy: PrivacyPolicy, corpus: str = "") -> Stage:
    """Surviving documents and the names in them to documents without personal data.

    ``corpus`` is the name of the corpus whose keys are used. Raises ConfigError when the policy needs a key and there
    is none.
    """
    key = privacy.key_fingerprint(policy, corpus)
    return Stage(
        name="anonymized_documents",
        code_version=privacy.CODE_VERSION,
        parameters={"policy": policy.model_dump(mode="json"), "corpus": corpus, "key": key},
        columns=("text", "elements", "title", "metadata", "names", "label_names"),
        data=ANONYMIZED,
        function="headwater.stages.anonymized_documents:anonymize_rows",
        batch_rows=16,
        warm_up=privacy_warm_up(policy, key),
    )


def privacy_warm_up(policy: PrivacyPolicy, key: str | None = None) -> tuple[str, Mapping[str, Any]] | None:
    """Return the warm-up of stages that look for personal data: they can share their workers.

    ``key`` tells keys apart: a worker has the one that was in the environment when it started.
    """
    if not policy.enabled:
        return None
    return "headwater.stages.anonymized_documents:warm_up", {"policy": policy.model_dump_json(), "key": key}


def warm_up(policy: str, key: str | None) -> None:
    """Load Presidio and spaCy's tokenizer, in a process that does nothing else.

    Both take torch and transformers along where they find them, which is four fifths of the time (5.0 of 6.0 s) and
    400 MiB; the model that finds names runs elsewhere.
    """
    for name in ("torch", "transformers"):
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]
    from headwater.privacy.engine import load_engine

    load_engine(PrivacyPolicy.model_validate_json(policy))


def anonymize_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Deal with personal data in text, headings, titles and metadata."""
    policy, corpus = PrivacyPolicy.model_validate(parameters["policy"]), parameters["corpus"]
    rows = batch.to_pylist()
    names = [unpack(row["names"] or ()) for row in rows]
    label_names: dict[str, list[PiiSpan]] = {}
    for row in rows:
        for index, label in enumerate(labels_of(row)):
            inside = [span for span in row["label_names"] or () if span["label"] == index]
            label_names.setdefault(label, unpack(inside))
    texts = [*(row["text"] for row in rows), *label_names]
    done = privacy.anonymize(texts, policy, corpus=corpus, names=[*names, *label_names.values()])
    of_label = dict(zip(label_names, done[len(rows) :], strict=True))
    person = _Persons(policy, corpus)
    result = [_row(row, document, of_label, person) for row, document in zip(rows, done, strict=False)]
    return pa.Table.from_pylist(result, schema=row_schema(ANONYMIZED))


def _row(
    row: Mapping[str, Any], done: AnonymizedText, of_label: Mapping[str, AnonymizedText], person: _Persons
) -> dict[str, Any]:
    labels = {label: of_label[label] for label in labels_of(row)}
    stated = json.loads(row["metadata"] or "{}")
    authors = metadata.persons(stated)
    # That a document has an author is no reason to refuse it: the author is left out.
    in_labels = {(label, entity) for label, text in labels.items() for entity in text.rejected}
    refused = sorted(
        {*done.rejected, *(entity for label, entity in in_labels if entity != "PERSON" or label not in authors)}
    )
    counts: dict[str, dict[str, int]] = {
        entity: {person.writer.action(entity): count} for entity, count in done.found.items()
    }
    audit = json.dumps(counts, sort_keys=True)
    if refused:
        # Where a heading alone has it, the text's own count is none.
        named = ", ".join(f"{entity} ({max(done.found.get(entity, 0), 1)})" for entity in refused)
        return {
            "input": row["id"],
            "id": row["id"],
            "state": "rejected",
            "reason": "personal_data",
            "error": f"The document holds {named}, which this corpus does not accept.",
            "personal_data": audit,
        }
    document = edit_document(unpack_document(row), [Edit(i.start, i.end, i.text) for i in done.replacements])
    elements = pack_elements(document.elements)
    for element in elements:
        element["section"] = [labels[heading].text for heading in element["section"]]
    replaced = {label: text.text for label, text in labels.items()}
    kinds = [item.entity for item in done.replacements]
    return ok_row(
        row["id"],
        text=document.text,
        elements=elements,
        title=replaced[row["title"]] if row["title"] else None,
        metadata=metadata.dump(metadata.replace(stated, replaced, person)),
        replacements=json.dumps({kind: kinds.count(kind) for kind in sorted(set(kinds))}),
        personal_data=audit,
    )


class _Persons:
    """What stands in place of a value that is known to be a person's name, such as an author."""

    def __init__(self, policy: PrivacyPolicy, corpus: str) -> None:
        self.writer = privacy.Writer(policy, corpus)
        entities = chosen_entities(policy.entities, policy.countries, policy.own_entities)
        self._wanted = policy.enabled and "PERSON" in entities
        self._allowed = privacy.Allowed(policy)

    def __call__(self, name: str) -> str | None:
        action = self.writer.action("PERSON")
        if not self._wanted or name in self._allowed or action == "keep":
            return name
        return None if action == "reject_document" else self.writer.write(name, "PERSON")
