"""``headwater reindex``: bring a corpus up to date with its bucket."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.costs import summary
from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_error, print_json, print_table, say, size
from headwater.errors import GateError

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.pipeline import ReindexReport
    from headwater.reports import GateCheck

_END_STATES = ("indexed", "duplicate", "rejected", "quarantined")
_ADVICE: dict[str, str] = {
    "quarantine_within_bounds": "`headwater receipts {name} --state quarantined` says what is wrong with each object",
    "golden_recall": "`headwater evaluate {name}` shows how the live release does on the same questions",
    "golden_not_worse": "the check's details list the questions that got worse",
    "known_items_found": "`headwater search {name} QUERY --mode dense` and `--mode sparse` show which retriever fails",
    "size_change": "`headwater reindex {name} --confirm-removals` when the documents are meant to be gone",
    "no_personal_data": "the check's details name chunks and kinds of data; `privacy.allow` takes what is no personal data",
    "embedding_canary": "the model's files may have changed: see `headwater doctor`",
}


def reindex(
    name: CorpusName,
    confirm_removals: Annotated[
        bool,
        typer.Option(
            "--confirm-removals",
            help="Go on although the listing lost more objects than source.max_removed_share allows.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes for CPU-heavy stages. [default: cores, at most 8]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a corpus up to date with its bucket and, if the gate lets it, publish the new release.

    Only what changed is computed. When a check fails, the live release stays as it is and the exit code is 1.
    """
    from headwater.cli.memory import peak_memory
    from headwater.cli.progress import stage_progress
    from headwater.corpus import open_corpus
    from headwater.pipeline import STAGES, Pipeline

    failure: GateError | None = None
    with open_corpus(name) as corpus, peak_memory() as peak:
        with stage_progress(f"reindex {corpus.name}", len(STAGES)) as progress:
            pipeline = Pipeline(corpus, progress, workers=workers, confirm_removals=confirm_removals)
            try:
                report = pipeline.run()
            except GateError as error:
                failure = error
        if failure is not None:
            report = _failed(corpus, pipeline, progress.reports)
        corpus_name = corpus.name
    if as_json:
        print_json(_as_json(corpus_name, report, peak.bytes, failure))
    else:
        _print(corpus_name, report, peak.bytes, published=failure is None)
    if failure is not None:
        print_error(f"{failure}\n{_advice(corpus_name, report.checks)}")
        raise typer.Exit(1)


def _failed(corpus: Corpus, pipeline: Any, stages: list[Any]) -> ReindexReport:
    """Return the report of a run whose candidate failed the gate."""
    from headwater.pipeline import ReindexReport

    states = pipeline.end_states()
    live = corpus.live()
    return ReindexReport(
        stages=stages,
        checks=pipeline.gate(),
        release=live,
        previous=live,
        held_back=None,
        listed=sum(states.values()),
        states=states,
        seconds=sum(stage.seconds for stage in stages),
    )


def _advice(name: str, checks: list[GateCheck]) -> str:
    hints = [_ADVICE[check.name].format(name=name) for check in checks if not check.passed and check.name in _ADVICE]
    thresholds = f"change the documents, or the thresholds under `gate:` in the corpus' defs.yaml, and reindex {name}"
    return f"What to do: {'; '.join([*hints, thresholds])}."


def accounts(listed: int, states: Any) -> str:
    """Return the sums of the end states as one line: every listed object is in exactly one."""
    counts = {state: states.get(state, 0) for state in _END_STATES}
    counts |= {state: count for state, count in states.items() if state not in counts}
    return f"{listed:,} listed = " + " + ".join(f"{count:,} {state}" for state, count in counts.items())


def _print(name: str, report: ReindexReport, peak: int, *, published: bool) -> None:
    columns = ("stage", "rows", "recomputed", "removed", "quarantined", "seconds", "rows/s", "reasons")
    print_table(
        columns,
        [
            (
                stage.stage,
                f"{stage.rows:,}",
                f"{stage.recomputed:,}",
                f"{stage.removed:,}",
                f"{stage.quarantined:,}",
                f"{stage.seconds:,.2f}",
                f"{stage.rows_per_second:,.1f}" if stage.recomputed else "",
                ", ".join(f"{count:,} {reason}" for reason, count in stage.reasons.items()),
            )
            for stage in report.stages
        ],
        right=columns[1:-1],
    )
    say()
    print_checks(report.checks)
    say()
    say(accounts(report.listed, report.states), style="bold")
    if published:
        news = "unchanged" if report.release == report.previous else f"was {report.previous or 'none'}"
        say(f"Live release: {report.release} ({news})")
        if report.held_back is not None:
            say(
                f"Release {report.held_back} passed the gate but was held back, because live was rolled back. "
                f"Make it live with: headwater promote {name} {report.held_back}"
            )
    trouble = report.stages[-1].details.get("file_error") if report.stages else None
    if trouble:
        say(f"Receipts could not be written beside the documents: {trouble}")
    say(f"{report.seconds:,.1f} s, peak memory of all processes {size(peak)}")
    say(summary([stage.cost for stage in report.stages if stage.cost is not None]))


def print_checks(checks: list[GateCheck]) -> None:
    """Print the gate's checks, one line each."""
    print_table(
        ("check", "result", "figure", "threshold", "what it says"),
        [
            (
                check.name,
                "passed" if check.passed else "FAILED",
                f"{check.figure:g}",
                f"{check.threshold:g}",
                check.description,
            )
            for check in checks
        ],
        right=("figure", "threshold"),
    )


def _as_json(name: str, report: ReindexReport, peak: int, failure: GateError | None) -> dict[str, Any]:
    stages = [{**asdict(stage), "rows_per_second": stage.rows_per_second} for stage in report.stages]
    return {
        "corpus": name,
        **asdict(report),
        "stages": stages,
        "peak_memory_bytes": peak,
        "published": failure is None and report.release != report.previous,
        "error": str(failure) if failure else None,
    }
