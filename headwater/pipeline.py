"""The line of one corpus: its stages in order, each callable alone, and all of them as one reindex.

The command line and the Dagster assets both call this; it knows neither.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import polars as pl

from headwater.compute import open_compute
from headwater.corpora import other_corpora
from headwater.corpus import Corpus
from headwater.costs import Meter, StageCost, folder_bytes, machine, metered, priced
from headwater.dedup import warm_up
from headwater.driver import Stage, Upstream, let_go, run_stage, start_ahead
from headwater.embedding import settings_of
from headwater.embedding.languages import analyzer_of
from headwater.erase.vectors import follow_erasures
from headwater.errors import GateError, ReleaseError
from headwater.gate import run_gate
from headwater.hashing import digest
from headwater.index.contract import IndexSpec
from headwater.injection import scan
from headwater.lake import Table
from headwater.lease import Lease
from headwater.ledger import Pin, ReleaseState
from headwater.memory import few_arenas, give_back
from headwater.policies import CorpusPolicy
from headwater.privacy import find_names, key_fingerprint
from headwater.quality import assess
from headwater.receipts import end_states, record_receipts
from headwater.releases import apply_permissions, drop_old
from headwater.reports import GateCheck, NoProgress, Progress, StageReport
from headwater.retrieval.release import learner
from headwater.source import DoubtfulListingError, sync_objects
from headwater.stages.anonymized_copies import PrivacyScreen, can_screen, forget_copies
from headwater.stages.anonymized_documents import privacy_stage
from headwater.stages.catalogue import SAMPLED, describe_columns
from headwater.stages.chunks import chunk_stage
from headwater.stages.deduplicated_documents import decide_duplicates
from headwater.stages.document_signatures import signature_stage
from headwater.stages.embeddings import embedding_stage, stored_dimensions
from headwater.stages.evaluation import Evaluation, evaluate_release
from headwater.stages.index_candidate import IndexInputs, build_candidate
from headwater.stages.injection_scans import injection_stage
from headwater.stages.leak_scans import leak_stage
from headwater.stages.name_spans import WithNames, name_stage
from headwater.stages.parsed_documents import parse_stage
from headwater.stages.quality_documents import assess_documents

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
    """What one reindex did: a report per stage, the gate, the live release before and after, and the end states.

    ``held_back`` is the release that passed the gate but did not go live, because the corpus is pinned by a rollback.
    """

    stages: list[StageReport]
    checks: list[GateCheck]
    release: int | None
    previous: int | None
    held_back: int | None
    listed: int
    states: Mapping[str, int]
    seconds: float


_LISTING_FILE = ".listing"
"""What ``source_objects`` found in the bucket, and in which run: beside the tables, until that run has ended well, whose
stages may be different machines' work. Another run did not take it through every stage."""

P = ParamSpec("P")

_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "quality_documents": ("injection_scans", "quality_documents"),
    "deduplicated_documents": (
        "document_signatures",
        "copy_name_spans",
        "anonymized_copies",
        "deduplicated_documents",
    ),
    "anonymized_documents": ("name_spans", "anonymized_documents"),
    "index_candidate": ("index_manifest",),
    "retrieval_evaluation": ("leak_scans", "retrieval_evaluation"),
    "live_release": ("receipts", "receipt_files"),
}
"""The tables that a stage writes, where they are not the one of its name."""

_MANY_ROWS = 256
"""Starting anew takes up to two seconds, no more than so many rows."""

_UNRECORDED_SECONDS = 5.0
"""Costs are written together: those of more than this would be missed after a crash."""


def _costed(
    stage: Callable[Concatenate[Pipeline, P], StageReport],
) -> Callable[Concatenate[Pipeline, P], StageReport]:
    """Have a stage's report say what it cost, and the ledger keep it."""

    @wraps(stage)
    def run(self: Pipeline, /, *args: P.args, **kwargs: P.kwargs) -> StageReport:
        with metered() as meter:
            report = stage(self, *args, **kwargs)
        give_back()
        cost = self._cost(report, meter)
        self._unrecorded.append(cost)
        if not self._together or sum(one.seconds for one in self._unrecorded) > _UNRECORDED_SECONDS:
            self._record_costs()
        return replace(report, cost=cost)

    return run


class Pipeline:
    """Runs the stages of one corpus. One process at a time may; LeaseError for a second one.

    ``workers`` is the number of processes for CPU-heavy stages; default: the usable cores, at most eight.
    ``confirm_removals`` is a person's word that many objects are meant to be gone. ``run`` is the id under which the
    ledger keeps what the stages cost, for a caller that has one; stages of several pipelines may share it. Making one
    settles how the process' allocator works from then on (:func:`headwater.memory.few_arenas`).
    """

    def __init__(
        self,
        corpus: Corpus,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        confirm_removals: bool = False,
        run: str | None = None,
    ) -> None:
        few_arenas()
        self.run_id = run or uuid.uuid4().hex
        self._together = False
        self._unrecorded: list[StageCost] = []
        self.corpus = corpus
        self.progress: Progress = progress or NoProgress()
        self._workers = workers
        self._compute = open_compute(corpus.policy)
        self._confirm_removals = confirm_removals
        self._receipt_trouble: str | None = None
        """Why the receipts of a run whose gate failed could not be written beside the documents."""

    # --- the stages, in order ---------------------------------------------------------------------------------

    @_costed
    def source_objects(self) -> StageReport:
        """List the bucket and note what was added, changed, removed or re-permitted.

        A permission that was taken away is taken away in every release that is kept, whatever becomes of the stages that
        follow, and also when the listing lost so much that it is not believed.
        """
        policy = self.corpus.policy
        key_fingerprint(policy.privacy, self.corpus.name)  # a missing key is an error before anything is done
        with self.corpus.writing() as lease:
            try:
                report = sync_objects(
                    self.corpus.name,
                    policy.source,
                    policy.access,
                    policy.parse.max_bytes,
                    self._tables.source_objects,
                    self.progress,
                    confirm_removals=self._confirm_removals,
                    ledger=self.corpus.ledger,
                    parse=policy.parse,
                    workers=self._workers,
                )
            except DoubtfulListingError:
                apply_permissions(self.corpus, lease)
                raise
            apply_permissions(self.corpus, lease)
            self._tables.folder.write(_LISTING_FILE, f"{report.details['listing']} {self.run_id}".encode())
        if report.recomputed:
            self._start_ahead()
        return report

    @_costed
    def parsed_documents(self) -> StageReport:
        """Parse new and changed objects."""
        policy = self.corpus.policy
        stage = parse_stage(policy.parse, policy.source.uri)
        return self._last_use(stage, self._row_stage(stage, self._tables.source_objects, self._tables.parsed_documents))

    @_costed
    def quality_documents(self) -> StageReport:
        """Clean, scan and judge new and changed documents; judge all anew when a limit changed."""
        tables, policy = self._tables, self.corpus.policy
        with self.corpus.writing():
            if policy.injection.action != "ignore":
                self._run_stage(injection_stage(), tables.parsed_documents, tables.injection_scans, NoProgress())
            return assess_documents(
                policy.quality,
                tables.parsed_documents,
                tables.quality_documents,
                self.progress,
                scans=tables.injection_scans,
                injection=policy.injection,
                compute=self._compute,
            )

    @_costed
    def deduplicated_documents(self) -> StageReport:
        """Decide over all documents which are duplicates, and remove boilerplate.

        Where the privacy policy can refuse documents, those that have copies are judged by it first, so that none which
        it keeps out stands for others.
        """
        corpus, tables = self.corpus, self._tables
        quiet = NoProgress()

        def judge(stage: Stage, upstream: Upstream, target: Table, known: Table) -> None:
            self._run_stage(stage, upstream, target, quiet, known=known, prune=False)

        with corpus.writing():
            policy = corpus.policy.dedup
            screen = PrivacyScreen(corpus.policy, corpus.name, tables, judge) if can_screen(corpus.policy) else None
            if screen is None:
                forget_copies(tables)
            self._run_stage(signature_stage(policy), tables.quality_documents, tables.document_signatures, quiet)
            return decide_duplicates(
                policy,
                tables.quality_documents,
                tables.document_signatures,
                tables.source_objects,
                tables.deduplicated_documents,
                self.progress,
                others=other_corpora(corpus.project, corpus.name, policy.exclude_corpora),
                screen=screen,
            )

    @_costed
    def anonymized_documents(self) -> StageReport:
        """Find names in new and changed survivors, and deal with all personal data as the policy says."""
        policy, tables = self.corpus.policy.privacy, self._tables
        stage = privacy_stage(policy, self.corpus.name)
        survivors, names = tables.deduplicated_documents, tables.name_spans
        with self.corpus.writing():
            self._run_stage(name_stage(policy), survivors, names, NoProgress(), known=tables.copy_name_spans)
            upstream = WithNames(survivors, names)
            target, known = tables.anonymized_documents, tables.anonymized_copies
            return self._run_stage(stage, upstream, target, self.progress, known=known)

    @_costed
    def chunks(self) -> StageReport:
        """Cut new and changed documents."""
        stage = chunk_stage(self._policy)
        return self._last_use(stage, self._row_stage(stage, self._tables.anonymized_documents, self._tables.chunks))

    @_costed
    def embeddings(self) -> StageReport:
        """Embed new and changed chunks."""
        corpus = self.corpus
        policy, fingerprint = self._policy.embed, corpus.embedding_fingerprint()
        follow_erasures(corpus.project, corpus.ledger)
        with self._compute.embedding(policy, fingerprint, lambda: corpus.embedder) as engine:
            stage = embedding_stage(
                policy,
                fingerprint,
                self._tables.chunks,
                engine.load,
                corpus.project.cache_path() / "embeddings",
                engine.at_once,
            )
            return self._row_stage(stage, self._tables.chunks, self._tables.embeddings)

    @_costed
    def index_candidate(self) -> StageReport:
        """Build the candidate release from the live one plus the difference.

        Before that, a permission that was taken away since is taken away in every release that is kept: ``source_objects``
        may not have come so far.
        """
        corpus, tables = self.corpus, self._tables
        inputs = IndexInputs(
            tables.embeddings,
            tables.source_objects,
            tables.parsed_documents,
            tables.anonymized_documents,
            tables.index_manifest,
        )
        dimensions = stored_dimensions(tables.embeddings) or corpus.embedder.dimensions
        model = corpus.embedding_fingerprint()
        # A new model or another way of chunking changes every point: such releases share nothing with those before.
        policy = self._policy
        spec = IndexSpec(dimensions, digest(model, chunk_stage(policy).signature))
        settings = settings_of(policy.embed, model)
        with self.corpus.writing() as lease:
            apply_permissions(corpus, lease)
            return build_candidate(
                corpus.name,
                inputs,
                spec,
                corpus.engine,
                corpus.ledger,
                tables.versions(),
                self.progress,
                settings=settings,
                learn=learner(corpus, policy.embed),
                lease=lease,
            )[1]

    @_costed
    def retrieval_evaluation(self) -> StageReport:
        """Scan the chunks for personal data, and measure the candidate, and live beside it."""
        started = time.perf_counter()
        candidate = self._newest()
        details: dict[str, Any] = {}
        computed = 0
        with self.corpus.writing():
            scan = leak_stage(self.corpus.policy.privacy)
            self._last_use(scan, self._run_stage(scan, self._tables.embeddings, self._tables.leak_scans, NoProgress()))
            for label, release in (("candidate", candidate), ("live", self._live_beside(candidate))):
                if release is not None:
                    evaluation, fresh = evaluate_release(self.corpus, release)
                    computed += fresh
                    figures = {f"{label}_{name}": value for name, value in evaluation.figures.items()}
                    details |= {f"{label}_release": release, **figures}
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
        corpus, release = self.corpus, self._newest()
        if release is None:
            raise ReleaseError(f"Corpus {corpus.name!r} has no release to check; build one with index_candidate.")
        with self.corpus.writing() as lease:
            live = self._live_beside(release)
            checks = run_gate(
                corpus,
                release,
                self._evaluation(release),
                (live, self._evaluation(live)) if live is not None else None,
                removals_confirmed=self._confirm_removals,
            )
            failed = [check.name for check in checks if not check.passed]
            if corpus.ledger.release(corpus.name, release).state in ("candidate", "rejected"):
                state: ReleaseState = "rejected" if failed else "candidate"
                reason = f"Failed checks: {', '.join(failed)}." if failed else "Passed the gate."
                corpus.ledger.set_state(corpus.name, release, state, checks=checks, reason=reason, lease=lease.token)
            if failed:
                self._announce(lease)
                self._receipt_trouble = self._record_receipts().get("file_error")
        return checks

    @_costed
    def live_release(self, checks: list[GateCheck] | None = None) -> StageReport:
        """Make the candidate live when every check passes; GateError, and nothing changed, when one fails.

        While the corpus is pinned by a rollback the candidate passes the gate but is held back.
        """
        started = time.perf_counter()
        corpus = self.corpus
        release = self._newest()
        checks = checks if checks is not None else self.gate()
        failed = [check for check in checks if not check.passed]
        live = corpus.ledger.live(corpus.name)
        if failed:
            figures = "; ".join(f"{c.name} = {c.figure:g} (threshold {c.threshold:g})" for c in failed)
            trouble = self._receipt_trouble
            raise GateError(
                f"Release {release} of {corpus.name!r} failed the gate: {figures}. Live is still release {live}. "
                f"Look at it with: headwater diff {corpus.name} {live or ''} {release}. Promote it all the same with: "
                f'headwater promote {corpus.name} {release} --force --reason "..."'
                + (f" Receipts could not be written beside the documents: {trouble}" if trouble else "")
            )
        published, held_back = False, None
        with self.corpus.writing() as lease:
            if release is not None and release != live:
                published = corpus.ledger.publish(
                    corpus.name, release, reason="Passed the gate.", unless_pinned=True, lease=lease.token
                )
                held_back = None if published else release
            self._announce(lease)
            if published:
                drop_old(corpus, lease)
            corpus.refresh()
            written = self._record_receipts()
            self._note_listing()
        releases, pin = corpus.releases(), corpus.ledger.pin(corpus.name)
        states: dict[str, int] = {}
        for info in releases:
            states[info.state] = states.get(info.state, 0) + 1
        report = StageReport(
            stage="live_release",
            rows=len(releases),
            recomputed=int(published),
            removed=0,
            quarantined=0,
            seconds=time.perf_counter() - started,
            reasons=states,
            data_version=str(corpus.ledger.live(corpus.name)),
            details={
                "release": corpus.ledger.live(corpus.name),
                "held_back": held_back,
                "pin": _pin_details(pin),
                **written,
            },
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
        self._together = True
        with self.corpus.writing():
            try:
                stages = [getattr(self, name)() for name in STAGES[:-1]]
                checks = self.gate()
                stages.append(self.live_release(checks))
            finally:
                self._together = False
                self._record_costs()
            states = self.end_states()
        return ReindexReport(
            stages=stages,
            checks=checks,
            release=self.corpus.ledger.live(self.corpus.name),
            previous=previous,
            held_back=stages[-1].details["held_back"],
            listed=sum(states.values()),
            states=states,
            seconds=time.perf_counter() - started,
        )

    def _cost(self, report: StageReport, meter: Meter) -> StageCost:
        corpus, policy = self.corpus, self.corpus.policy
        written = 0
        if report.recomputed or report.removed:
            since = meter.at.timestamp()
            tables = _WRITTEN.get(report.stage, (report.stage,))
            written = sum(getattr(self._tables, name).written_since(since) for name in tables)
            if report.stage == "index_candidate":
                written += folder_bytes(corpus.project.index_path(corpus.name), since)
        cost = StageCost(
            corpus=corpus.name,
            run=self.run_id,
            stage=report.stage,
            at=meter.at,
            machine=machine(),
            seconds=meter.seconds,
            cpu_seconds=meter.cpu_seconds,
            gpu_seconds=meter.gpu_seconds,
            tokens=meter.tokens,
            read_bytes=meter.read_bytes,
            written_bytes=written,
            rows=report.rows,
            recomputed=report.recomputed,
            removed=report.removed,
        )
        return priced(cost, policy.costs, endpoint=policy.embed.url is not None)

    def _record_costs(self) -> None:
        costs, self._unrecorded = self._unrecorded, []
        self.corpus.ledger.record_costs(costs)

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
        """Return a few rows of a stage's table, without document text."""
        table = self.table(stage)
        if table is None or not table.exists():
            return pl.DataFrame()
        columns = [name for name in SAMPLED[stage] if name in table.schema.names]
        return table.scan().select(columns).head(rows).collect()

    # --- shared -----------------------------------------------------------------------------------------------

    @property
    def _policy(self) -> CorpusPolicy:
        """The corpus' policy, with the BM25 language that its documents call for."""
        policy = self.corpus.policy
        documents = self._tables.quality_documents.scan().filter(pl.col("state") == "ok")
        counts = documents.select("language").collect()["language"].fill_null("und").value_counts()
        language = analyzer_of(policy.embed.bm25_language, dict(counts.iter_rows()))
        return policy.model_copy(update={"embed": policy.embed.model_copy(update={"bm25_language": language})})

    @property
    def _tables(self) -> Any:
        return self.corpus.tables

    def _announce(self, lease: Lease) -> None:
        """Point whoever follows the engine at what is live; a rollback meanwhile, or a killed run, may not have."""
        live = self.corpus.ledger.live(self.corpus.name)
        if live is not None:
            lease.check()
            self.corpus.engine.publish(live)

    def _note_listing(self) -> None:
        """Tell the sensor which listing the index follows: that of this run, if it has listed the bucket itself.

        Were it another run's that came no further than listing, what that run found would count as done.
        """
        with suppress(FileNotFoundError):
            listing, _, run = self._tables.folder.read(_LISTING_FILE).decode().partition(" ")
            if run == self.run_id:
                self.corpus.ledger.set_applied_listing(self.corpus.name, listing)

    def _record_receipts(self) -> Mapping[str, Any]:
        """Write down what became of every object; return what was written beside the bucket, and what could not be."""
        corpus = self.corpus
        return record_receipts(corpus.name, corpus.tables, corpus.ledger, corpus.policy.source, self.progress).details

    def _row_stage(self, stage: Stage, upstream: Table, target: Table) -> StageReport:
        with self.corpus.writing():
            return self._run_stage(stage, upstream, target, self.progress)

    def _last_use(self, stage: Stage, report: StageReport) -> StageReport:
        """Give back the memory of what is ready for a stage that this run needs no more; after a small run it stays for the
        next one, as a service that reindexes file by file would start it over and over.
        """
        if report.recomputed > _MANY_ROWS:
            let_go(stage, self._compute)
        return report

    def _run_stage(
        self,
        stage: Stage,
        upstream: Upstream,
        target: Table,
        progress: Progress,
        *,
        known: Table | None = None,
        prune: bool = True,
    ) -> StageReport:
        return run_stage(
            stage, upstream, target, progress, workers=self._workers, compute=self._compute, known=known, prune=prune
        )

    def _start_ahead(self) -> None:
        """Start what the coming stages need seconds to load, all at once: a worker per kind, kernels, and the model."""
        policy = self.corpus.policy
        privacy = privacy_stage(policy.privacy, self.corpus.name)
        for stage in (parse_stage(policy.parse, policy.source.uri), privacy, chunk_stage(policy)):
            start_ahead(stage, self._compute)

        def load() -> None:
            with suppress(Exception):  # whoever needs it gets the error
                if policy.injection.action != "ignore":
                    scan("Please tell us which pump runs. Any text compiles the patterns.")
                assess(["Any text loads the language model and the kernels."])
                warm_up()
                find_names(["Maria Lindqvist moved to Oslo."], policy.privacy)  # a text without a capital is not read
                _ = self.corpus.embedder

        threading.Thread(target=load, name="headwater-load-model", daemon=True).start()

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

    def _evaluation(self, release: int) -> Evaluation:
        return evaluate_release(self.corpus, release)[0]


def _pin_details(pin: Pin | None) -> dict[str, Any] | None:
    return {"release": pin.release, "reason": pin.reason, "at": pin.at.isoformat()} if pin else None
