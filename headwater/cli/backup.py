"""``headwater backup``, ``restore`` and ``rebuild``: against the day that a disk, a database or a bucket is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_error, print_json, say, size
from headwater.cli.progress import stage_progress

if TYPE_CHECKING:
    from headwater.backup import RestoreReport

Corpora = Annotated[
    list[str] | None,
    typer.Option("--corpus", metavar="NAME", help="Only this corpus, without prompts and keys; repeatable."),
]


def backup(
    dest: Annotated[
        str, typer.Argument(metavar="DEST", help="An empty or new folder, or s3://bucket/prefix, gs://..., az://...")
    ],
    corpora: Corpora = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait so long for a reindex that is at work.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Copy ledger, lake and index to a folder or bucket. Searches go on; a corpus can't be reindexed while it is copied.

    Configuration (assets/, headwater.yaml) and the documents themselves are not in it: they have their own places.
    """
    from headwater.backup import backup as make_backup
    from headwater.project import find_project

    project = find_project()
    with stage_progress("backup", len(corpora or project.corpus_names())) as progress:
        report = make_backup(project, dest, corpora=corpora, wait=wait, progress=progress)
    if as_json:
        print_json(report)
        return
    say(f"Backed up {', '.join(report.corpora)} to {report.place}", style="bold")
    say(
        f"{report.files:,} files, {size(report.bytes)}, {report.seconds:,.1f} s. "
        f"Check it with: headwater restore {report.place} --check"
    )


def restore(
    src: Annotated[str, typer.Argument(metavar="SRC", help="Where the backup is.")],
    corpora: Corpora = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    erasures: Annotated[
        Path | None,
        typer.Option(
            "--erasures",
            metavar="FILE",
            help="JSON Lines of what was erased since, such as ledger/NAME/erasures.jsonl of a later backup.",
        ),
    ] = None,
    only_check: Annotated[
        bool, typer.Option("--check", help="Only read the backup and compare it with its manifest.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place: ledger, lake and index of all its corpora, or some. Nothing is changed if it is damaged.

    What was erased after the backup was taken is erased again, as far as the ledger at hand or --erasures knows.
    """
    from headwater.backup import check
    from headwater.backup import restore as put_back
    from headwater.project import find_project

    if only_check:
        with stage_progress("check", 1) as progress:
            manifest = check(src, progress=progress)
        if as_json:
            print_json({"place": src, "files": len(manifest.files), "corpora": manifest.corpora, "damaged": 0})
        else:
            say(f"The backup of {manifest.created_at:%Y-%m-%d %H:%M} UTC is whole: {len(manifest.files):,} files.")
        return
    with stage_progress("restore", len(corpora or ()) + 1) as progress:
        report = put_back(find_project(), src, corpora=corpora, force=force, erasures=erasures, progress=progress)
    if as_json:
        print_json(report)
    else:
        _print_restored(report)
    if not all(one.proved for one in report.erased):
        raise typer.Exit(1)


def _print_restored(report: RestoreReport) -> None:
    say(f"Restored {', '.join(report.corpora)} as of {report.taken_at:%Y-%m-%d %H:%M} UTC.", style="bold")
    for name, live in report.live.items():
        built = report.rebuilt.get(name)
        how = f"; built from the lake: {', '.join(map(str, built))}" if built else ""
        say(f"  {name}: live release {live or 'none'}{how}")
    for one in report.erased:
        say(f"  Erased again: {one.key} of {one.corpus}" + ("" if one.proved else " (not proved: see its receipt)"))
    if not report.erasures_known:
        print_error(
            f"What was erased after {report.taken_at:%Y-%m-%d %H:%M} UTC is not known here, and may have come back. If "
            "there is a list (ledger/NAME/erasures.jsonl of a later backup, or your own), restore again with --force "
            "--erasures FILE."
        )
    if not report.keys_known:
        print_error(
            f"API keys are as they were at {report.taken_at:%Y-%m-%d %H:%M} UTC: keys and secrets that were revoked or "
            "replaced since work again. Look at them with headwater keys list, and revoke what must not work."
        )
    say(f"{report.files:,} files, {report.seconds:,.1f} s. Next: headwater reindex NAME")


def rebuild(
    name: CorpusName,
    every: Annotated[bool, typer.Option("--all", help="Also releases that the index has.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the releases that the index lost again from the lake: same numbers, same chunks, nothing embedded anew."""
    from headwater.corpus import open_corpus
    from headwater.rebuild import rebuild_releases

    with open_corpus(name) as corpus, stage_progress("rebuild", 1) as progress:
        report = rebuild_releases(corpus, every=every, progress=progress)
    if as_json:
        print_json(report)
        return
    numbers = ", ".join(map(str, report.releases))
    say(
        f"Built releases {numbers} again: {report.points:,} points written."
        if numbers
        else "The index lacks no release."
    )
