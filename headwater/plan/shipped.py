"""What rows take where a corpus has no runs that tell: figures of a named machine."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.plan.lines import Line

SHIPPED_MACHINE = "4 vCPUs of an AMD EPYC without a GPU, Markdown files of 7 KB, all-MiniLM-L6-v2"

SHIPPED: Mapping[str, Mapping[str, Line]] = {
    "source_objects": {
        "seconds": Line(0.1, 0.0, 0.0007),
        "cpu_seconds": Line(0.1, 0.0, 0.0007),
    },
    "parsed_documents": {
        "seconds": Line(0.05, 2.0, 0.0065, 0.2),
        "cpu_seconds": Line(0.05, 8.0, 0.025, 0.2),
    },
    "quality_documents": {
        "seconds": Line(0.1, 2.0, 0.006, 0.6),
        "cpu_seconds": Line(0.1, 2.0, 0.006, 0.6),
    },
    "deduplicated_documents": {
        "seconds": Line(0.1, 0.2, 0.001, 0.8),
        "cpu_seconds": Line(0.1, 0.2, 0.001, 0.8),
    },
    "anonymized_documents": {
        "seconds": Line(0.1, 2.0, 0.045, 0.2),
        "cpu_seconds": Line(0.1, 5.0, 0.16, 0.2),
    },
    "chunks": {
        "seconds": Line(0.1, 0.5, 0.0105, 0.2),
        "cpu_seconds": Line(0.1, 0.5, 0.0105, 0.2),
    },
    "embeddings": {
        "seconds": Line(0.1, 2.0, 0.00005, 0.3),
        "cpu_seconds": Line(0.1, 6.0, 0.00019, 0.3),
    },
    "index_candidate": {
        "seconds": Line(0.2, 2.0, 0.001, 1.5),
        "cpu_seconds": Line(0.2, 3.0, 0.0015, 1.5),
    },
    "retrieval_evaluation": {"seconds": Line(0.1, 1.5, 0.0012), "cpu_seconds": Line(0.1, 2.5, 0.0028)},
    "live_release": {"seconds": Line(0.1, 0.1, 0.0), "cpu_seconds": Line(0.1, 0.1, 0.0)},
}
"""By stage and measure. What is missing is nothing."""

COLD: Mapping[str, float] = {"seconds": 3.0, "cpu_seconds": 4.5}
"""What loading the embedding model takes, measured on the same."""

ROW_BYTES: Mapping[str, float] = {
    "source_objects": 200,
    "parsed_documents": 3_300,
    "quality_documents": 3_700,
    "deduplicated_documents": 12_200,
    "anonymized_documents": 3_800,
    "chunks": 930,
    "embeddings": 2_150,
    "index_candidate": 3_300,
}
"""Bytes on disk per row of a stage's tables, measured on the same."""
