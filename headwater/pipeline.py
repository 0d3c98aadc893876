"""The line of one corpus: its stages in order, each callable alone, and all of them as one reindex.

The command line and the Dagster assets both call this; it knows neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from headwater.corpus import Corpus
from headwater.driver import Stage, run_stage
from headwater.embedding import model_fingerprint
from headwater.errors import GateError, ReleaseError
from headwater.gate import run_gate
from headwater.index.contract import IndexSpec
from headwater.lake import Table
from headwater.ledger import ReleaseState
from headwater.lock import writer_lock
from headwater.receipts import end_states
from headwater.reports import GateCheck, NoProgress, Progress, StageReport
from headwater.source import sync_objects
from headwater.stages.anonymized_documents import privacy_stage
from headwater.stages.catalogue import SAMPLED, describe_columns
from headwater.stages.chunks import chunk_stage
from headwater.stages.deduplicated_documents import decide_duplicates
from headwater.stages.document_signatures import signature_stage
from headwater.stages.embeddings import embedding_stage, stored_dimensions
from headwater.stages.evaluation import evaluate_release
from headwater.stages.index_candidate import IndexInputs, build_candidate
from headwater.stages.parsed_documents import parse_stage
from headwater.stages.quality_documents import quality_stage

STAGES = (
    "source_objects",
    "parsed_documents",
    "quality_documents",
    "deduplicated_documents",
    "anonymized_documents",
    "chunks",
    "embeddings",
    "index_candidate",
    "retrieval_evaluation",
    "live_release",
)


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What one reindex did: a report per stage, the gate, the live release before and after, and the end states."""

    stages: list[StageReport]
    checks: list[GateCheck]
    release: int | None
    previous: int | None
    listed: int
    states: Mapping[str, int]
    seconds: float


class Pipeline:
    """Runs the stages of one corpus. One process at a time may; LakeError for a second one.

    ``workers`` is the number of processes for CPU-heavy stages; default: the usable cores, at most eight.
    """

    def __init__(
        self,
        corpus: Corpus,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        confirm_removals: bool = False,
    ) -> None:
        self.corpus = corpus
        self.progress: Progress = progress or NoProgress()
        self._workers = workers
        self._confirm_removals = confirm_removals

    # --- the stages, in order ---------------------------------------------------------------------------------

    def source_objects(self) -> StageReport:
        """List the bucket and note what was added, changed, removed or re-permitted."""
        policy = self.corpus.policy
        with self._writing():
            return sync_objects(
                self.corpus.name,
                policy.source,
                policy.access,
                policy.parse.max_bytes,
                self._tables.source_objects,
                self.progress,
                confirm_removals=self._confirm_removals,
            )

    def parsed_documents(self) -> StageReport:
        """Parse new and changed objects."""
        policy = self.corpus.policy
        stage = parse_stage(policy.parse, policy.source.uri)
        return self._row_stage(stage, self._tables.source_objects, self._tables.parsed_documents)

    def quality_documents(self) -> StageReport:
        """Clean and judge new and changed documents."""
        stage = quality_stage(self.corpus.policy.quality)
        return self._row_stage(stage, self._tables.parsed_documents, self._tables.quality_documents)

    def deduplicated_documents(self) -> StageReport:
        """Decide over all documents which are duplicates, and remove boilerplate."""
        tables = self._tables
        quiet = NoProgress()
        with self._writing():
            run_stage(signature_stage(), tables.quality_documents, tables.document_signatures, quiet)
            return decide_duplicates(
                self.corpus.policy.dedup,
                tables.quality_documents,
                tables.document_signatures,
                tables.source_objects,
                tables.deduplicated_documents,
                self.progress,
            )

    def anonymized_documents(self) -> StageReport:
        """Replace personal data in new and changed survivors."""
        stage = privacy_stage(self.corpus.policy.privacy)
        return self._row_stage(stage, self._tables.deduplicated_documents, self._tables.anonymized_documents)

    def chunks(self) -> StageReport:
        """Cut new and changed documents."""
        stage = chunk_stage(self.corpus.policy)
        return self._row_stage(stage, self._tables.anonymized_documents, self._tables.chunks)

    def embeddings(self) -> StageReport:
        """Embed new and changed chunks."""
        corpus = self.corpus
        stage = embedding_stage(
            corpus.policy.embed,
            self._tables.chunks,
            lambda: corpus.embedder,
            corpus.project.cache_path() / "embeddings",
        )
        return self._row_stage(stage, self._tables.chunks, self._tables.embeddings)

    def index_candidate(self) -> StageReport:
        """Build the candidate release from the live one plus the difference."""
        return self._candidate()[1]

    def retrieval_evaluation(self) -> StageReport:
        """Measure the candidate, and live beside it."""
        started = time.perf_counter()
        candidate = self._newest()
        details: dict[str, Any] = {}
        computed = 0
        with self._writing():
            for label, release in (("candidate", candidate), ("live", self._live_beside(candidate))):
                if release is not None:
                    figures, fresh = self._figures(release)
                    computed += fresh
                    details |= {f"{label}_release": release, **{f"{label}_{k}": v for k, v in figures.items()}}
        table = self._tables.retrieval_evaluation
        rows = table.read(["id"]).height
        report = StageReport(
            stage="retrieval_evaluation",
            rows=rows,
            recomputed=computed,
            removed=0,
            quarantined=0,
            seconds=time.perf_counter() - started,
            reasons={"ok": rows},
            version=table.version(),
            data_version=str(candidate),
            details=details,
        )
        self.progress.finish(report)
        return report

    def gate(self) -> list[GateCheck]:
        """Run every check on the candidate (on live when nothing changed) and record the result in the ledger."""
        release = self._newest()
        if release is None:
            raise ReleaseError(f"Corpus {self.corpus.name!r} has no release to check; build one with index_candidate.")
        with self._writing():
            checks = run_gate(self.corpus, release, self._figures(release)[0])
        info = self.corpus.ledger.release(self.corpus.name, release)
        failed = [check.name for check in checks if not check.passed]
        if info.state in ("candidate", "rejected"):
            reason = f"Failed checks: {', '.join(failed)}." if failed else None
            state: ReleaseState = "rejected" if failed else "candidate"
            self.corpus.ledger.set_state(self.corpus.name, release, state, checks=checks, reason=reason)
        return checks

    def live_release(self, checks: list[GateCheck] | None = None) -> StageReport:
        """Make the candidate live when every check passes; GateError, and nothing changed, when one fails."""
        started = time.perf_counter()
        corpus = self.corpus
        release = self._newest()
        checks = checks if checks is not None else self.gate()
        failed = [check for check in checks if not check.passed]
        if failed:
            figures = "; ".join(f"{c.name} = {c.figure:g} (threshold {c.threshold:g})" for c in failed)
            raise GateError(
                f"Release {release} of {corpus.name!r} failed the gate: {figures}. "
                f"Live is still release {corpus.ledger.live(corpus.name)}. Look at it with: headwater releases {corpus.name}"
            )
        published = 0
        with self._writing():
            if release is not None and release != corpus.ledger.live(corpus.name):
                corpus.ledger.publish(corpus.name, release, reason="Passed the gate.")
                published = 1
                self._drop_old()
        corpus.refresh()
        releases = corpus.releases()
        states: dict[str, int] = {}
        for info in releases:
            states[info.state] = states.get(info.state, 0) + 1
        report = StageReport(
            stage="live_release",
            rows=len(releases),
            recomputed=published,
            removed=0,
            quarantined=0,
            seconds=time.perf_counter() - started,
            reasons=states,
            data_version=str(release),
            details={"release": release},
        )
        self.progress.finish(report)
        return report

    # --- all of it --------------------------------------------------------------------------------------------

    def run(self) -> ReindexReport:
        """Run every stage; afterwards the live release equals a rebuild of what the bucket holds.

        Raises GateError when the candidate failed a check: live is as it was.
        """
        started = time.perf_counter()
        previous = self.corpus.ledger.live(self.corpus.name)
        with self._writing():
            stages = [getattr(self, name)() for name in STAGES[:-1]]
            checks = self.gate()
            stages.append(self.live_release(checks))
            states = self.end_states()
        return ReindexReport(
            stages=stages,
            checks=checks,
            release=self.corpus.ledger.live(self.corpus.name),
            previous=previous,
            listed=sum(states.values()),
            states=states,
            seconds=time.perf_counter() - started,
        )

    def end_states(self) -> dict[str, int]:
        """Return how many listed objects are in each end state."""
        counts = end_states(self._tables).group_by("state").len().sort("state").collect()
        return {str(state): count for state, count in counts.iter_rows()}

    # --- what the Dagster UI shows ----------------------------------------------------------------------------

    def table(self, stage: str) -> Table | None:
        """Return a stage's lake table, None for stages that have none."""
        name = {"index_candidate": "index_manifest"}.get(stage, stage)
        return getattr(self._tables, name, None)

    def schema(self, stage: str) -> list[tuple[str, str, str]]:
        """Return (column, type, description) of a stage's table."""
        table = self.table(stage)
        return describe_columns(table.schema) if table is not None else []

    def sample(self, stage: str, rows: int = 5) -> pl.DataFrame:
        """Return a few rows of a stage's table: no document text before anonymisation."""
        table = self.table(stage)
        if table is None or not table.exists():
            return pl.DataFrame()
        columns = [name for name in SAMPLED[stage] if name in table.schema.names]
        frame = table.scan().select(columns).head(rows).collect()
        return frame.with_columns(pl.col(name).str.slice(0, 200) for name in columns if name == "text")

    # --- shared -----------------------------------------------------------------------------------------------

    @property
    def _tables(self) -> Any:
        return self.corpus.tables

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writer_lock(self.corpus.project.lake_path(self.corpus.name) / ".lock"):
            yield

    def _row_stage(self, stage: Stage, upstream: Table, target: Table) -> StageReport:
        with self._writing():
            return run_stage(stage, upstream, target, self.progress, workers=self._workers)

    def _candidate(self) -> tuple[int | None, StageReport]:
        tables, corpus = self._tables, self.corpus
        inputs = IndexInputs(tables.embeddings, tables.source_objects, tables.parsed_documents, tables.index_manifest)
        dimensions = stored_dimensions(tables.embeddings) or corpus.embedder.dimensions
        spec = IndexSpec(dimensions, model_fingerprint(corpus.policy.embed.model))
        with self._writing():
            return build_candidate(
                corpus.name, inputs, spec, corpus.engine, corpus.ledger, tables.versions(), self.progress
            )

    def _newest(self) -> int | None:
        """Return the candidate (passed or rejected) that is newer than live, else live."""
        live = self.corpus.ledger.live(self.corpus.name)
        for info in self.corpus.releases():
            if info.state in ("candidate", "rejected"):
                return info.number
        return live

    def _live_beside(self, candidate: int | None) -> int | None:
        live = self.corpus.ledger.live(self.corpus.name)
        return live if live != candidate else None

    def _figures(self, release: int) -> tuple[dict[str, Any], bool]:
        return evaluate_release(self.corpus, release, self._tables.retrieval_evaluation, self._tables.embeddings)

    def _drop_old(self) -> None:
        """Drop releases beyond the policy's retention, and rejected candidates older than live."""
        corpus = self.corpus
        live = corpus.ledger.live(corpus.name) or 0
        retained = [info.number for info in corpus.releases() if info.state == "retained"]
        rejected = [i.number for i in corpus.releases() if i.state in ("candidate", "rejected") and i.number < live]
        for number in [*retained[corpus.policy.index.retain :], *rejected]:
            corpus.engine.drop(number)
            corpus.ledger.set_state(corpus.name, number, "dropped", reason="Beyond the number of releases to keep.")
