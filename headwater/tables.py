"""The tables of one corpus' lake, by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headwater.driver import CORE
from headwater.lake import Table
from headwater.source import SCHEMA as SOURCE_OBJECTS
from headwater.stages import (
    anonymized_documents,
    chunks,
    deduplicated_documents,
    document_signatures,
    embeddings,
    evaluation,
    index_candidate,
    parsed_documents,
    quality_documents,
)


class Tables:
    """Every stage table of one corpus; nothing is opened before it is read."""

    def __init__(self, path: Path) -> None:
        def stage(name: str, data: pa.Schema) -> Table:
            return Table(path / name, pa.schema([*CORE, *data]))

        self.path = path
        self.source_objects = Table(path / "source_objects", SOURCE_OBJECTS)
        self.parsed_documents = stage("parsed_documents", parsed_documents.PARSED)
        self.quality_documents = stage("quality_documents", quality_documents.QUALITY)
        self.document_signatures = stage("document_signatures", document_signatures.SIGNATURES)
        self.deduplicated_documents = Table(path / "deduplicated_documents", deduplicated_documents.SCHEMA)
        self.anonymized_documents = stage("anonymized_documents", anonymized_documents.ANONYMIZED)
        self.chunks = stage("chunks", chunks.CHUNKS)
        self.embeddings = stage("embeddings", embeddings.EMBEDDINGS)
        self.index_manifest = Table(path / "index_manifest", index_candidate.MANIFEST)
        self.retrieval_evaluation = stage("retrieval_evaluation", evaluation.FIGURES)

    def versions(self) -> dict[str, int]:
        """Return the newest version of every table that exists, by name."""
        tables = [value for value in vars(self).values() if isinstance(value, Table)]
        return {table.name: version for table in tables if (version := table.version()) is not None}
