"""The incremental stage driver: every stage runs through it.

In: an upstream table, a target table, and a :class:`Stage` (a pure function over a batch of rows, with its code
version and parameters). The driver compares the fingerprint that each upstream row should give with the one
that the target has, computes only new and changed rows, removes the rows whose upstream row vanished, and
commits once. Invariants:

* after a run, the target holds the rows of exactly the upstream rows with ``state == "ok"``, as if all had been
  computed now;
* a row whose processing fails is in the target as ``quarantined``, with a reason, and is not tried again until
  its input, the stage's code or its parameters change, or the reason is one that passes;
* a process killed at any point leaves the target as it was before the run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.compute import LOCAL, Compute
from headwater.costs import note
from headwater.errors import HeadwaterError, RowError
from headwater.hashing import digest, digest_bytes, row_fingerprints
from headwater.lake import DELETE, Table
from headwater.memory import give_back
from headwater.reports import Progress, StageReport

CORE = pa.schema(
    [
        ("id", pa.string()),
        ("doc_id", pa.string()),
        ("fingerprint", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
    ]
)
"""The columns every stage table starts with."""

RowFunction = Callable[[pa.Table, Mapping[str, Any]], pa.Table]
"""Takes upstream rows and the stage's parameters. Returns rows with ``input`` (the upstream row's id), ``id``,
``state``, ``reason``, ``error`` and the stage's data columns; an upstream row may give several rows."""

_SPLIT = 8
"""A failed batch is tried again in this many parts."""

_KNOWN_ROWS = 256
"""Rows that are taken from another table at a time."""

_MASS_FAILURE_ROWS = 20
"""From this many rows on, a stage in which every row fails by a bug or a missing part stops the run."""


class Upstream(Protocol):
    """What a stage reads: a lake table, or two of them as one."""

    def scan(self) -> pl.LazyFrame:
        """Return all rows, with ``id``, ``state`` and ``fingerprint`` at least."""
        ...

    def batches(self, columns: Sequence[str], ids: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield the rows with these ids, at most ``rows`` at a time."""
        ...


@dataclass(frozen=True)
class Stage:
    """One row-wise stage.

    ``function`` is ``"module:name"`` of a :data:`RowFunction`, run in worker processes, or the function itself,
    run in this process (for work that brings its own parallelism, such as a model on a GPU). ``columns`` are
    the upstream columns that it reads. ``owner`` is the target column that holds the upstream row's id.
    ``timeout`` is the wall-clock limit per row in seconds and ``memory_mb`` a worker's address-space allowance.
    """

    name: str
    code_version: str
    parameters: Mapping[str, Any]
    columns: Sequence[str]
    data: pa.Schema
    function: str | RowFunction
    owner: Literal["id", "doc_id"] = "id"
    batch_rows: int = 16
    timeout: float = 300.0
    memory_mb: int | None = None
    ephemeral: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that the function needs but that do not decide its result (a path, a device)."""
    warm_up: tuple[str, Mapping[str, Any]] | None = None
    """``"module:name"`` of what a worker process calls, with these arguments, before its memory limit is set: imports
    and models belong there. Stages with the same one share their workers."""
    details: Callable[[], Mapping[str, Any]] | None = None
    """What the report says besides the counts, asked for when the rows are done."""
    fetched: str | None = None
    """The upstream column with the bytes that the function fetches for a row from elsewhere, for the cost ledger."""
    at_once: int = 1
    """Batches that are worked on side by side when the function runs in this process, each by a thread: for work that
    waits for other machines."""
    withheld: frozenset[str] = frozenset()
    """Parameters that decide the result but are not the function's to know, such as the hash of a secret."""
    passing: frozenset[str] = frozenset()
    """Reasons that lie in the moment and not in the row, such as a bucket that was away: rows that failed for one of them are
    tried again at every run."""
    conditional: frozenset[str] = frozenset()
    """Parameters that decide some rows only: those that the function marks as true in the further column ``conditional``
    of its result, and those that it gave no result for. A change of these computes no other row again."""

    @property
    def schema(self) -> pa.Schema:
        """The target table's columns."""
        return pa.schema([*CORE, *self.data])

    @property
    def signature(self) -> str:
        """What, beside its upstream row, decides a row: stage name, code version, and all parameters but conditional ones."""
        return self._signature(self.conditional)

    @property
    def conditional_signature(self) -> str:
        """What decides the rows that the conditional parameters count for; equal to ``signature`` where there are none."""
        return self._signature(frozenset())

    def _signature(self, less: frozenset[str]) -> str:
        counted = {name: value for name, value in self.parameters.items() if name not in less}
        return digest(self.name, self.code_version, json.dumps(counted, sort_keys=True, default=str))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a run has to do: upstream ids to compute with the fingerprint each will get, and ids that vanished.

    ``compute`` has for each id the fingerprint of a row that hangs on no conditional parameter, and of one that does.
    """

    compute: dict[str, tuple[str, str]]
    vanished: list[str]
    rebuild: bool


def difference(stage: Stage, upstream: Upstream, target: Table) -> Difference:
    """Compare the upstream rows that are ok with what the target holds."""
    source = upstream.scan().filter(pl.col("state") == "ok").select("id", "fingerprint").collect()
    wanted = source.select("id", *wanted_fingerprints(stage, source["fingerprint"]))
    if not target.exists() or not target.same_schema():
        return Difference(_computed(wanted), [], rebuild=True)
    have = (
        target.read([stage.owner, "fingerprint"])
        .rename({stage.owner: "id", "fingerprint": "stored"} if stage.owner == "doc_id" else {"fingerprint": "stored"})
        .unique("id")
    )
    changed = wanted.join(have, on="id", how="left").filter(OUTDATED)
    vanished = have.join(wanted, on="id", how="anti")["id"].to_list()
    return Difference(_computed(changed), vanished, rebuild=False)


OUTDATED = pl.col("stored").is_null() | (
    (pl.col("stored") != pl.col("fingerprint")) & (pl.col("stored") != pl.col("conditional"))
)
"""Of rows joined with what is ``stored`` of them: whether they have to be computed."""


def wanted_fingerprints(stage: Stage, upstream: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the fingerprints that rows will have, given those of their upstream rows.

    ``fingerprint`` is that of a row that hangs on no conditional parameter, ``conditional`` that of one that does. A
    stored row is up to date with either: it says itself which of them it is.
    """
    plain = pl.Series("fingerprint", row_fingerprints(upstream, stage.signature), dtype=pl.String)
    if not stage.conditional:
        return plain, plain.alias("conditional")
    return plain, pl.Series("conditional", row_fingerprints(upstream, stage.conditional_signature), dtype=pl.String)


def _computed(wanted: pl.DataFrame) -> dict[str, tuple[str, str]]:
    rows = wanted.select("id", "fingerprint", "conditional").iter_rows()
    return {name: (plain, conditional) for name, plain, conditional in rows}


def run_stage(
    stage: Stage,
    upstream: Upstream,
    target: Table,
    progress: Progress,
    *,
    workers: int | None = None,
    compute: Compute = LOCAL,
    known: Table | None = None,
    prune: bool = True,
) -> StageReport:
    """Bring ``target`` up to date with ``upstream`` and report what was done.

    ``compute`` is where the rows are computed, by ``workers`` processes if that is this machine; it decides nothing about
    them. ``known`` is a table that the same stage wrote of another upstream: rows that it has are taken from there. Without
    ``prune``, rows whose upstream row vanished stay.

    Raises HeadwaterError when every one of many rows failed for a reason that is not the rows' own, or half of them for one
    that passes: then nothing is committed.
    """
    started = time.perf_counter()
    work = difference(stage, upstream, target)
    if not prune:
        work = replace(work, vanished=[])
    if work.compute or work.vanished or work.rebuild:
        progress.start(stage.name, len(work.compute))
        rows = _rows(stage, upstream, work, progress, workers, compute, known)
        if work.rebuild:
            target.replace(rows)
        else:
            target.change(_changes(stage, target, work, rows))
    report = table_report(
        stage.name,
        target,
        recomputed=len(work.compute),
        removed=len(work.vanished),
        seconds=time.perf_counter() - started,
        details=stage.details() if stage.details else None,
    )
    progress.finish(report)
    return report


def table_report(
    name: str, target: Table, *, recomputed: int, removed: int, seconds: float, details: Mapping[str, Any] | None = None
) -> StageReport:
    """Return the counts of a stage table as it stands."""
    rows = target.read(["id", "fingerprint", "state", "reason"])
    counts = rows.group_by("reason").len().sort("len", "reason", descending=[True, False])
    ordered = rows.sort("id").select(pl.concat_str("id", "fingerprint"))
    return StageReport(
        stage=name,
        rows=rows.height,
        recomputed=recomputed,
        removed=removed,
        quarantined=rows.filter(pl.col("state") == "quarantined").height,
        seconds=seconds,
        reasons=dict(counts.iter_rows()),
        version=target.version(),
        data_version=digest_bytes("".join(ordered.to_series().to_list()).encode()),
        details=details or {},
    )


def _rows(
    stage: Stage,
    upstream: Upstream,
    work: Difference,
    progress: Progress,
    workers: int | None,
    compute: Compute,
    known: Table | None,
) -> Iterator[pa.RecordBatch]:
    """Compute the rows that are due and that nobody knows, and yield them as they come."""
    bugs, last = 0, ""
    away = 0
    found = _known(stage, known, work) if known else set()
    for batch in known.batches(stage.schema.names, sorted(found), _KNOWN_ROWS) if known else ():
        yield from batch.cast(stage.schema).to_batches()
        progress.advance(stage.name, batch.num_rows)
    due = [name for name in work.compute if name not in found]
    inputs = upstream.batches(["id", "doc_id", *stage.columns], due, stage.batch_rows)
    for source, result in _compute(stage, inputs, workers, compute):
        note(read_bytes=source.nbytes + (pc.sum(source.column(stage.fetched)).as_py() or 0 if stage.fetched else 0))
        owners = dict(zip(source.column("id").to_pylist(), source.column("doc_id").to_pylist(), strict=True))
        if isinstance(result, _Failure):
            if not result.own:
                bugs, last = bugs + 1, result.message
            result = _quarantined(stage, owners, result)
        if stage.passing:
            away += pc.sum(_passed_over(stage, result)).as_py() or 0
        yield from _complete(stage, owners, result, work.compute).to_batches()
        progress.advance(stage.name, len(owners))
    if bugs == len(due) >= _MASS_FAILURE_ROWS:
        raise HeadwaterError(
            f"Stage {stage.name}: all {bugs} rows failed, so the fault is not theirs and nothing was committed. "
            f"The last error was: {last}"
        )
    if away >= _MASS_FAILURE_ROWS and 2 * away >= len(due):
        raise HeadwaterError(
            f"Stage {stage.name}: {away} of {len(due)} rows failed for reasons that pass "
            f"({', '.join(sorted(stage.passing))}), so nothing was committed. Check that the source answers, and run it again."
        )


def _known(stage: Stage, known: Table, work: Difference) -> set[str]:
    """Return the ids of the rows that are due and that another table of the same stage has."""
    if not work.compute or not known.exists() or not known.same_schema():
        return set()
    have = known.read(["id", "fingerprint"]).iter_rows()
    return {name for name, fingerprint in have if fingerprint in work.compute.get(name, ())}


def _passed_over(stage: Stage, rows: pa.Table) -> pa.ChunkedArray:
    """Return which rows failed for a reason that passes."""
    return pc.fill_null(pc.is_in(rows.column("reason"), value_set=pa.array(sorted(stage.passing), pa.string())), False)


def _changes(stage: Stage, target: Table, work: Difference, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the upserts, then the deletions of what the computed and the vanished inputs left behind."""
    written: set[str] = set()

    def upserts() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            written.update(batch.column("id").to_pylist())
            yield batch

    yield from change_batches(stage.schema, upserts(), [])
    left = target.scan().filter(pl.col(stage.owner).is_in([*work.compute, *work.vanished])).select("id").collect()
    stale = [name for name in left["id"] if name not in written]
    yield from change_batches(stage.schema, [], stale)


def change_batches(
    schema: pa.Schema, upserts: Iterable[pa.RecordBatch], deletes: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield a change set: the upserts, then one batch of deletions by id."""
    full = schema.append(pa.field(DELETE, pa.bool_()))
    for batch in upserts:
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array([False] * batch.num_rows)], schema=full)
    if deletes:
        columns = [pa.array(deletes, pa.string()) if f.name == "id" else pa.nulls(len(deletes), f.type) for f in schema]
        yield pa.RecordBatch.from_arrays([*columns, pa.array([True] * len(deletes))], schema=full)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a batch failed; ``own`` says that the row itself is to blame (bad bytes, a limit, a crash)."""

    code: str
    message: str
    own: bool


def _compute(
    stage: Stage, inputs: Iterable[pa.Table], workers: int | None, compute: Compute
) -> Iterator[tuple[pa.Table, pa.Table | _Failure]]:
    """Yield (upstream rows, result) per batch; a batch that fails is cut up until the failing row stands alone."""
    function = _sent_by_name(stage, compute)
    queue: Iterable[pa.Table] = inputs
    while True:
        failed: list[pa.Table] = []
        done = _in_workers(stage, function, queue, workers, compute) if function else _in_process(stage, queue)
        for batch, result in done:
            if isinstance(result, _Failure) and batch.num_rows > 1:
                step = -(-batch.num_rows // _SPLIT)
                failed += [batch.slice(start, step) for start in range(0, batch.num_rows, step)]
            else:
                yield batch, result
        if not failed:
            return
        queue = failed


def _sent_by_name(stage: Stage, compute: Compute) -> str | None:
    """Return ``"module:name"`` of a stage's function where workers run it, None where this process does."""
    function = stage.function
    if isinstance(function, str):
        return function
    by_name = "<" not in function.__qualname__  # a function made by another one can't be imported
    return f"{function.__module__}:{function.__qualname__}" if compute.takes_all and by_name else None


def _told(stage: Stage) -> Mapping[str, Any]:
    """Return the parameters that a stage's function gets."""
    every = {**stage.parameters, **stage.ephemeral}
    return {name: value for name, value in every.items() if name not in stage.withheld}


def _in_process(stage: Stage, batches: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table | _Failure]]:
    assert not isinstance(stage.function, str)
    if stage.at_once > 1:
        yield from _side_by_side(stage, stage.function, batches)
        return
    for batch in batches:
        yield batch, _guarded(stage.function, batch, _told(stage))
        give_back()


def _side_by_side(
    stage: Stage, function: RowFunction, batches: Iterable[pa.Table]
) -> Iterator[tuple[pa.Table, pa.Table | _Failure]]:
    source = iter(batches)
    running: dict[Future[pa.Table | _Failure], pa.Table] = {}
    with ThreadPoolExecutor(stage.at_once, f"headwater-{stage.name}") as threads:
        try:
            while True:
                while len(running) < stage.at_once and (batch := next(source, None)) is not None:
                    run = copy_context().run  # what a stage notes of its cost is kept in the context
                    running[threads.submit(run, _guarded, function, batch, _told(stage))] = batch
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
                give_back()
        finally:
            for left in running:
                left.cancel()


def _in_workers(
    stage: Stage, function: str, batches: Iterable[pa.Table], workers: int | None, compute: Compute
) -> Iterator[tuple[pa.Table, pa.Table | _Failure]]:
    from headwater.pool import WorkerFailure

    sent: dict[int, pa.Table] = {}
    parameters = _told(stage)

    def send() -> Iterator[tuple[pa.Table, str, Mapping[str, Any]]]:
        for index, batch in enumerate(batches):
            sent[index] = batch
            yield _own(batch), function, parameters

    with compute.batches(
        _WORK, *_setup(stage, function), workers=workers, memory_mb=stage.memory_mb, prepare=_PREPARE
    ) as pool:
        # The limit is one row's: a batch that takes longer is cut, and its rows get the whole limit each.
        for index, result in pool.map(send(), timeout=stage.timeout):
            batch = sent.pop(index)
            if isinstance(result, WorkerFailure):
                if isinstance(result.error, HeadwaterError):
                    raise result.error
                yield batch, _Failure(_WORKER_CODES.get(result.kind, "failed"), result.message, own=True)
            else:
                yield batch, result


_SLICED = 2
"""A batch whose buffers are more than this many times its size is a piece of a larger table."""


def _own(batch: pa.Table) -> pa.Table:
    """Return the batch in memory of its own: pickled as a piece of a larger table, it would take all of that along."""
    if batch.get_total_buffer_size() <= _SLICED * batch.nbytes:
        return batch
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_table(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def start_ahead(stage: Stage, compute: Compute = LOCAL) -> None:
    """Start what the workers for a run of ``stage`` that is going to come are forked from."""
    compute.start_ahead(_WORK, *_setup(stage, str(stage.function)), memory_mb=stage.memory_mb, prepare=_PREPARE)


def let_go(stage: Stage, compute: Compute = LOCAL) -> None:
    """End what is ready for further runs of ``stage``, if it runs in worker processes."""
    if isinstance(stage.function, str):
        compute.let_go(_WORK, *_setup(stage, stage.function), memory_mb=stage.memory_mb, prepare=_PREPARE)


def _setup(stage: Stage, function: str) -> tuple[Any, ...]:
    """Return what a worker is started with; equal for all stages that can share it."""
    if not isinstance(stage.function, str):  # nothing has to be there before a memory limit, which such a stage has not
        return _WORK, None
    return stage.warm_up or (function, None)


_WORK = "headwater.driver:work"
_PREPARE = "headwater.driver:prepare"
_WORKER_CODES = {"crashed": "worker_crashed", "timeout": "timeout", "memory": "out_of_memory"}


def work(task: tuple[pa.Table, str, Mapping[str, Any]], *_setup: Any) -> pa.Table | _Failure:
    """Run ``"module:name"`` with its parameters on a batch; what a worker process does."""
    batch, function, parameters = task
    return _guarded(_load(function), batch, parameters)


def prepare(name: str, arguments: Mapping[str, Any] | None) -> None:
    """Import a stage's function, or call its warm-up, before the worker's memory limit is set."""
    function = _load(name)
    if arguments is not None:
        function(**arguments)


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _guarded(function: RowFunction, batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table | _Failure:
    try:
        return function(batch, parameters)
    except RowError as error:
        return _Failure(error.code, str(error), own=True)
    except HeadwaterError:
        raise
    except MemoryError:
        return _Failure("out_of_memory", "Processing needed more memory than is allowed.", own=True)
    except Exception as error:
        # The message of a foreign exception may quote the document, so only its type is kept.
        where = f"{type(error).__module__}.{type(error).__qualname__}"
        return _Failure("failed", f"Processing failed with {where}.", own=False)


def _quarantined(stage: Stage, ids: Iterable[str], failure: _Failure) -> pa.Table:
    # Whether the row would have asked for a conditional parameter is not known: counted as if it had.
    said = {"state": "quarantined", "reason": failure.code, "error": failure.message, "conditional": True}
    rows = [{"input": name, "id": name, **said} for name in ids]
    return pa.Table.from_pylist(rows, schema=row_schema(stage.data, conditional=bool(stage.conditional)))


def row_schema(data: pa.Schema, *, conditional: bool = False) -> pa.Schema:
    """Return the columns a :data:`RowFunction` gives for a stage with these data columns, and with conditional parameters."""
    text = pa.string()
    head = [("input", text), ("id", text), ("state", text), ("reason", text), ("error", text)]
    mark = [("conditional", pa.bool_())] if conditional else []
    return pa.schema([*(pa.field(name, kind) for name, kind in [*head, *mark]), *data])


def _complete(
    stage: Stage, owners: Mapping[str, str], rows: pa.Table, fingerprints: Mapping[str, tuple[str, str]]
) -> pa.Table:
    """Add what the driver knows: fingerprints, documents, and a quarantine row for an input that gave nothing."""
    inputs = rows.column("input").to_pylist()
    missing = owners.keys() - set(inputs)
    if missing:
        failure = _Failure("no_output", f"Stage {stage.name} gave no row for this input.", own=False)
        rows = pa.concat_tables([rows, _quarantined(stage, sorted(missing), failure)])
        inputs = rows.column("input").to_pylist()
    marked = rows.column("conditional").to_pylist() if stage.conditional else [False] * len(inputs)
    which = zip(inputs, marked, strict=True)
    made = [fingerprints[name][bool(mark)] for name, mark in which]
    if stage.passing:  # under a fingerprint that no row is to have
        made = [
            digest("again", fingerprint) if again else fingerprint
            for fingerprint, again in zip(made, _passed_over(stage, rows).to_pylist(), strict=True)
        ]
    known = {
        "doc_id": pa.array([owners[name] for name in inputs], pa.string()),
        "fingerprint": pa.array(made, pa.string()),
    }
    arrays = [known[f.name] if f.name in known else rows.column(f.name) for f in stage.schema]
    return pa.Table.from_arrays(arrays, schema=stage.schema)
