"""Documents to cleaned documents with a verdict: language, quality signals, keep or reject.

A row's fingerprint says what its text and signals were made from; the limits are no part of it. When a limit changes,
the verdicts are decided anew over the stored signals, no text is read but that of rows whose verdict changed (they are
written again), and nothing downstream of an unchanged verdict is recomputed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from headwater import metadata, quality
from headwater.characters import label
from headwater.compute import LOCAL, Compute
from headwater.driver import Stage, change_batches, row_schema, run_stage, table_report
from headwater.edits import edit_document
from headwater.hashing import digest_bytes
from headwater.lake import Table
from headwater.policies import InjectionPolicy, QualityPolicy
from headwater.quality.report import summary
from headwater.quality.rules import RULES
from headwater.reports import NoProgress, Progress, StageReport
from headwater.stages.columns import DOCUMENT, ok_row, pack_elements, unpack_document
from headwater.stages.injection_scans import instructions
from headwater.types import Element

STAGE = "quality_documents"

SIGNALS = (
    "characters",
    "words",
    "letters",
    "ascii_letters",
    "spaced_words",
    "mean_word_length",
    "symbol_word_ratio",
    "alpha_word_share",
    "mixed_word_share",
    "unknown_character_share",
    "vowel_share",
    "consonant_run_share",
    "top_word_share",
    "repeated_phrase_share",
    "duplicate_line_share",
    "log_line_share",
    "table_line_share",
    "code_line_share",
    "placeholder_share",
    "blocked_matches",
    *dict.fromkeys(rule.name for rule in RULES if rule.family not in (None, "business")),
    "c4_any_lorem_lines",
    "c4_any_bracket_lines",
    "c4_any_sentences",
)
"""The numeric columns of :func:`headwater.quality.signals`, stored so that a threshold can be decided anew."""

QUALITY = pa.schema(
    [
        *DOCUMENT,
        ("content_type", pa.string()),
        ("metadata", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        ("profile", pa.string()),
        ("instructions", pa.string()),
        *((name, pa.float64()) for name in SIGNALS),
    ]
)

INSTRUCTIONS = "instructions"
"""The reason of a document that is quarantined for what it tells a model to do."""

_STATES = {quality.OK: "ok", INSTRUCTIONS: "quarantined"}
_INJECTION = InjectionPolicy()

MEASURES = ("content_type", "language", "language_score", *SIGNALS)
"""The columns that a verdict is decided from."""

_REWRITTEN_ROWS = 256


def assess_documents(
    policy: QualityPolicy,
    upstream: Table,
    target: Table,
    progress: Progress,
    *,
    scans: Table | None = None,
    injection: InjectionPolicy = _INJECTION,
    compute: Compute = LOCAL,
) -> StageReport:
    """Bring ``target`` up to date with ``upstream``, with ``scans`` for instructions, and with the limits of both policies.

    Rows that were measured or whose verdict changed count as recomputed. The report's details are
    :func:`headwater.quality.report.summary` of all that is not quarantined, the number of ``redecided`` rows, and how
    many documents have ``instructions``, by what gave these away.
    """
    started = time.perf_counter()
    measured = run_stage(quality_stage(policy), upstream, target, _Unfinished(progress), compute=compute)
    frame, changed = decide_verdicts(policy, target, scans, injection)
    if changed.height:
        progress.start(STAGE, changed.height)
        target.change(change_batches(target.schema, _rewritten(target, changed, progress), []))
    flagged = (
        frame.drop_nulls("instructions").group_by("instructions").len().sort("len", "instructions", descending=True)
    )
    report = table_report(
        STAGE,
        target,
        recomputed=measured.recomputed + changed.height,
        removed=measured.removed,
        seconds=time.perf_counter() - started,
        details=summary(frame.filter(pl.col("reason") != INSTRUCTIONS), policy)
        | {"redecided": changed.height, "instructions": dict(flagged.iter_rows())},
    )
    # A verdict is no part of a row's fingerprint, but it is of the table's state.
    states = target.read(["id", "fingerprint", "reason"]).sort("id").select(pl.concat_str(pl.all())).to_series()
    report = replace(report, data_version=digest_bytes("".join(states.to_list()).encode()))
    progress.finish(report)
    return report


class _Unfinished(NoProgress):
    """Passes a stage's progress on, but for its end: what follows belongs to the same stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, stage: str, total: int) -> None:
        """Pass on."""
        self._progress.start(stage, total)

    def advance(self, stage: str, rows: int) -> None:
        """Pass on."""
        self._progress.advance(stage, rows)


_VERDICT = ("reason", "profile", "instructions", "error")


def decide_verdicts(
    policy: QualityPolicy, target: Table, scans: Table | None, injection: InjectionPolicy
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the signals of all judged rows with their verdicts, and the verdicts (id, reason ...) that are not those
    stored."""
    # A row that could not be measured stays quarantined; one that was quarantined for what it says is judged anew.
    stored = target.scan().filter(pl.col("characters").is_not_null())
    frame = stored.select("id", *_VERDICT, *MEASURES).collect()
    judged = instructions(profiled_verdicts(frame.drop(*_VERDICT), policy), scans, injection)
    differs = pl.Series([False] * judged.height, dtype=pl.Boolean)
    for name in _VERDICT:
        differs = differs | judged[name].ne_missing(frame[name])
    return judged, judged.filter(differs).select("id", *_VERDICT)


def profiled_verdicts(frame: pl.DataFrame, policy: QualityPolicy) -> pl.DataFrame:
    """Return stored signals with ``profile``, ``keep`` and ``reason`` as ``policy`` decides them."""
    profiled = quality.profiled(frame, policy)
    return pl.concat([profiled, quality.decide(profiled, policy)], how="horizontal")


def _rewritten(target: Table, changed: pl.DataFrame, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Yield the rows whose verdict changed, as they are but for it."""
    verdicts = {name: verdict for name, *verdict in changed.iter_rows()}
    for batch in target.batches(target.schema.names, list(verdicts), _REWRITTEN_ROWS):
        columns = list(zip(*(verdicts[name] for name in batch.column("id").to_pylist()), strict=True))
        new = dict(zip(_VERDICT, columns, strict=True))
        new["state"] = tuple(_STATES.get(reason, "rejected") for reason in new["reason"])
        arrays = [
            pa.array(new[field.name], field.type) if field.name in new else batch.column(field.name).cast(field.type)
            for field in target.schema
        ]
        yield from pa.Table.from_arrays(arrays, schema=target.schema).combine_chunks().to_batches()
        progress.advance(STAGE, batch.num_rows)


def quality_stage(policy: QualityPolicy) -> Stage:
    """Documents to cleaned documents with a verdict; the limits don't decide what is recomputed."""
    every = policy.model_dump(mode="json")
    return Stage(
        name=STAGE,
        code_version=quality.CODE_VERSION,
        parameters={name: value for name, value in every.items() if name in quality.MEASURED},
        columns=("text", "elements", "title", "content_type", "metadata"),
        data=QUALITY,
        function=quality_rows,
        batch_rows=256,
        ephemeral={name: value for name, value in every.items() if name not in quality.MEASURED},
    )


def quality_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Clean and judge the documents of a batch. One machine runs it in its own process: it is vectorised and faster than
    a worker's start."""
    policy = QualityPolicy.model_validate(parameters)
    rows = batch.to_pylist()
    documents = []
    for row in rows:
        document = unpack_document(row)
        for edits in quality.clean_steps(document.text, policy):
            document = edit_document(document, edits)
        documents.append(replace(document, elements=tuple(_labelled(document.elements))))
    kinds = [row["content_type"] for row in rows]
    verdicts = quality.judge([document.text for document in documents], policy, content_types=kinds)
    result = []
    for row, document, verdict in zip(rows, documents, verdicts.iter_rows(named=True), strict=True):
        cleaned = ok_row(
            row["id"],
            text=document.text,
            elements=pack_elements(document.elements),
            title=label(row["title"] or "") or None,
            content_type=row["content_type"],
            metadata=metadata.dump(metadata.choose(json.loads(row["metadata"] or "{}"), verdict["language"])),
            language=verdict["language"],
            language_score=verdict["language_score"],
            profile=verdict["profile"],
            instructions=None,
            **{name: float(verdict[name]) for name in SIGNALS},
        )
        if not verdict["keep"]:
            cleaned |= {"state": "rejected", "reason": verdict["reason"]}
        result.append(cleaned)
    return pa.Table.from_pylist(result, schema=row_schema(QUALITY))


def _labelled(elements: Iterable[Element]) -> Iterator[Element]:
    """Yield the elements with the names of their sections cleaned; a name of which nothing is left goes."""
    clean: dict[str, str] = {}
    for element in elements:
        clean.update((name, label(name)) for name in element.section if name not in clean)
        yield replace(element, section=tuple(clean[name] for name in element.section if clean[name]))
