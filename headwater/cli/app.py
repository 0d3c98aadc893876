"""The command tree, and how errors leave it."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from headwater import __version__
from headwater.cli import (
    answers,
    audit,
    backup,
    costs,
    doctor,
    evaluate,
    feedback,
    inspect,
    keys,
    ledger,
    mcp,
    plan,
    project,
    prompts,
    quality,
    query,
    reindex,
    releases,
    requeue,
    reveal,
    serve,
    snapshots,
    up,
)
from headwater.cli.output import print_error
from headwater.errors import HeadwaterError


class Commands(TyperGroup):
    """Commands whose expected errors are one message on standard error and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except HeadwaterError as error:
            print_error(str(error))
            raise typer.Exit(1) from error


app = typer.Typer(
    name="headwater",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # A traceback is for bugs; rich's version would print the values of variables, which may be document text.
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headwater {__version__}")
        raise typer.Exit


@app.callback()
def headwater(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Documents in a bucket become answers that cite their sources.

    Commands work on the project around the working directory, or the one that HEADWATER_PROJECT names.
    """


corpus = typer.Typer(no_args_is_help=True, help="The corpora of a project.")
corpus.command("add")(project.add)

app.command()(project.init)
app.add_typer(corpus, name="corpus")
app.command()(plan.plan)
app.command()(reindex.reindex)
app.command()(inspect.status)
app.command()(costs.costs)
app.command()(query.ask)
app.command()(query.search)
app.command()(answers.answers)
app.command()(feedback.feedback)
app.command()(inspect.receipts)
app.command()(requeue.requeue)
app.command()(quality.quality)
app.command()(reveal.reveal)
app.command()(inspect.releases)
app.command()(releases.diff)
app.command()(releases.promote)
app.command()(releases.rollback)
app.command()(releases.erase)
app.command()(releases.gc)
app.command()(evaluate.evaluate)
app.add_typer(prompts.app, name="prompts")
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.command()(audit.audit)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(backup.rebuild)
app.add_typer(snapshots.app, name="snapshots")
app.command()(serve.serve)
app.command()(mcp.mcp)
app.command()(up.up)
app.command()(doctor.doctor)


def main() -> None:
    """Run the command line; the console script's entry point."""
    # Models are loaded behind a spinner of ours; bars of the libraries below would only break the output.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    app(args=sys.argv[1:], prog_name="headwater")
