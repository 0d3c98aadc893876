"""Surviving documents to the names in them: where they are and of what kind, never what they say.

The half of ``anonymized_documents`` that needs a model. It runs in this process, where the model has its own batching
and parallelism (or a GPU), and leaves the patterns to worker processes, of which a document can cost one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from headwater import metadata, privacy
from headwater.driver import Stage, Upstream, row_schema
from headwater.lake import Table
from headwater.policies import PrivacyPolicy
from headwater.privacy.engine import readable
from headwater.privacy.finders import finder_of, wanted_names
from headwater.stages.columns import ok_row
from headwater.types import PiiSpan

_WHERE = [("start", pa.int64()), ("end", pa.int64()), ("entity", pa.string()), ("score", pa.float64())]

NAME_SPANS = pa.schema(
    [
        ("names", pa.list_(pa.struct(_WHERE))),
        ("label_names", pa.list_(pa.struct([("label", pa.int32()), *_WHERE]))),
    ]
)
"""Spans in the deduplicated text, and in its title, headings and metadata: ``label`` counts :func:`labels_of`."""

_BATCH_ROWS = 64
_JOINED_ROWS = 1024
"""Documents whose names are read from the lake at a time."""


def name_stage(policy: PrivacyPolicy) -> Stage:
    """Surviving documents to the names in them; none where the policy looks for none."""
    finder = finder_of(policy)
    deciding = ("names", "spacy_model", "transformers_model", "language", "names_min_score")
    settings = policy.model_dump(mode="json", include=set(deciding)) if finder else {}
    if finder:
        # The names alone: the corpus' own kinds of personal data mean nothing without their recognisers.
        settings["entities"] = sorted(wanted_names(policy))
    in_process = finder is None or finder.in_process
    return Stage(
        name="name_spans",
        code_version=privacy.CODE_VERSION,
        parameters=settings | {"pipeline": privacy.nlp_pipeline(policy)},
        columns=("text", "elements", "title", "metadata"),
        data=NAME_SPANS,
        function=name_rows if in_process else "headwater.stages.name_spans:name_rows",
        batch_rows=_BATCH_ROWS,
        ephemeral={"enabled": finder is not None},
    )


def name_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Find the names in text, title, headings and metadata of the documents of a batch."""
    settings = {name: value for name, value in parameters.items() if name not in ("pipeline", "enabled")}
    policy = PrivacyPolicy.model_validate(settings | {"enabled": parameters["enabled"]})
    rows = batch.to_pylist()
    labels = [labels_of(row) for row in rows]
    distinct = list(dict.fromkeys(label for some in labels for label in some))
    texts = [readable(text) for text in (*(row["text"] for row in rows), *distinct)]
    found = privacy.find_names(texts, policy)
    of_label = dict(zip(distinct, found[len(rows) :], strict=True))
    result = [
        ok_row(
            row["id"],
            names=[_packed(span) for span in spans],
            label_names=[
                {"label": index, **_packed(span)} for index, label in enumerate(own) for span in of_label[label]
            ],
        )
        for row, spans, own in zip(rows, found, labels, strict=False)
    ]
    return pa.Table.from_pylist(result, schema=row_schema(NAME_SPANS))


def labels_of(row: Mapping[str, Any]) -> list[str]:
    """Return the strings of a document beside its text in which personal data is looked for, sorted."""
    labels = {row["title"]} if row["title"] else set()
    for element in row["elements"]:
        labels.update(element["section"])
    return sorted(labels.union(metadata.texts(json.loads(row["metadata"] or "{}"))))


def unpack(spans: Iterable[Mapping[str, Any]]) -> list[PiiSpan]:
    """Return the spans of a column."""
    return [PiiSpan(span["start"], span["end"], span["entity"], span["score"]) for span in spans]


def _packed(span: PiiSpan) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "entity": span.entity, "score": span.score}


class WithNames:
    """Survivors beside the names in them, as one upstream of a stage.

    A row's fingerprint is that of its names, which covers the survivor's own.
    """

    def __init__(self, survivors: Upstream, names: Table) -> None:
        self._survivors = survivors
        self._names = names

    def scan(self) -> pl.LazyFrame:
        """Return ids, states and fingerprints."""
        return self._names.scan().select("id", "state", "fingerprint")

    def batches(self, columns: Sequence[str], ids: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield the rows with these ids, at most ``rows`` at a time; ``columns`` are of either table."""
        own = [name for name in columns if name in NAME_SPANS.names]
        others = [name for name in columns if name not in own]
        for batch in self._survivors.batches(others, ids, max(rows, _JOINED_ROWS)):
            here = batch.column("id").cast(pa.string())
            found = self._names.scan().filter(pl.col("id").is_in(here.to_pylist())).select("id", *own).collect()
            found = pl.DataFrame({"id": here.to_pylist()}).join(found, on="id", how="left", maintain_order="left")
            for name in own:
                values = pa.array(found[name].to_list(), NAME_SPANS.field(name).type)
                batch = batch.append_column(name, values)
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)
