"""The tables of one corpus' lake, by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headwater.answer_log.tables import ANSWER_LOG, FEEDBACK
from headwater.driver import CORE
from headwater.lake import Table, local_path
from headwater.lake_folder import LakeFolder, lake_folder
from headwater.receipts.files import RECEIPT_FILES
from headwater.receipts.record import RECEIPTS
from headwater.source import SCHEMA as SOURCE_OBJECTS
from headwater.stages import (
    anonymized_documents,
    chunks,
    deduplicated_documents,
    document_signatures,
    embeddings,
    evaluation,
    index_candidate,
    injection_scans,
    leak_scans,
    name_spans,
    parsed_documents,
    quality_documents,
)


class Tables:
    """Every stage table of one corpus; nothing is opened before it is read."""

    def __init__(self, place: Path | LakeFolder) -> None:
        def table(name: str, schema: pa.Schema) -> Table:
            return Table(self.folder.child(name), schema)

        def stage(name: str, data: pa.Schema) -> Table:
            return table(name, pa.schema([*CORE, *data]))

        self.folder = lake_folder(place)
        self.source_objects = table("source_objects", SOURCE_OBJECTS)
        self.parsed_documents = stage("parsed_documents", parsed_documents.PARSED)
        self.quality_documents = stage("quality_documents", quality_documents.QUALITY)
        self.injection_scans = stage("injection_scans", injection_scans.SCANS)
        self.document_signatures = stage("document_signatures", document_signatures.SIGNATURES)
        self.copy_name_spans = stage("copy_name_spans", name_spans.NAME_SPANS)
        self.anonymized_copies = stage("anonymized_copies", anonymized_documents.ANONYMIZED)
        self.deduplicated_documents = table("deduplicated_documents", deduplicated_documents.SCHEMA)
        self.name_spans = stage("name_spans", name_spans.NAME_SPANS)
        self.anonymized_documents = stage("anonymized_documents", anonymized_documents.ANONYMIZED)
        self.chunks = stage("chunks", chunks.CHUNKS)
        self.embeddings = stage("embeddings", embeddings.EMBEDDINGS)
        self.index_manifest = table("index_manifest", index_candidate.MANIFEST)
        self.leak_scans = stage("leak_scans", leak_scans.LEAKS)
        self.retrieval_evaluation = stage("retrieval_evaluation", evaluation.FIGURES)
        self.receipts = table("receipts", RECEIPTS)
        self.receipt_files = table("receipt_files", RECEIPT_FILES)
        self.answer_log = table("answer_log", ANSWER_LOG)
        self.feedback = table("feedback", FEEDBACK)

    @property
    def path(self) -> Path:
        """The folder of a lake on this machine; LakeError for one in a bucket."""
        return local_path(self.folder)

    def versions(self) -> dict[str, int]:
        """Return the newest version of every table that a release is made from and that exists, by name."""
        # Say something of releases, make none.
        about = (self.receipts, self.receipt_files, self.retrieval_evaluation, self.answer_log, self.feedback)
        made_from = (table for table in self.all() if table not in about)
        return {table.name: version for table in made_from if (version := table.version()) is not None}

    def all(self) -> list[Table]:
        """Return every table, whether it was written yet or not."""
        return [value for value in vars(self).values() if isinstance(value, Table)]
