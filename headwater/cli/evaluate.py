"""``headwater evaluate``: how good retrieval is (on a BEIR collection, or a corpus' live release), and answers are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.cli.evaluate_answers import evaluate_answers
from headwater.cli.options import AsJson
from headwater.cli.output import busy, print_json, print_table, say
from headwater.errors import NotFoundError

_MODES = ("dense", "sparse", "hybrid")
_SIDE = (
    "One side: prompt=answer@3, release=7, model=NAME (none: without a model), or any setting of the answer policy "
    "(min_support=0.6) or of the retrieval policy (retrieval.NAME=VALUE), joined by commas. Without: as configured."
)


def evaluate(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Corpus whose live release to measure.", show_default=False)
    ] = None,
    beir: Annotated[
        Path | None,
        typer.Option(
            "--beir",
            metavar="DIR",
            help="Measure on a BEIR collection instead: corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv).",
        ),
    ] = None,
    answers: Annotated[
        bool,
        typer.Option(
            "--answers",
            help="Measure answers to the golden set. With --a or --b two ways of answering are compared, paired by question.",
        ),
    ] = False,
    a: Annotated[str | None, typer.Option("--a", metavar="SIDE", help=_SIDE)] = None,
    b: Annotated[str | None, typer.Option("--b", metavar="SIDE", help="The other side, written the same way.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a corpus' live release against its golden set, its answers, or the product on a BEIR collection."""
    if (name is None) == (beir is None):
        raise typer.BadParameter("give a corpus NAME, or --beir DIR")
    if (beir is not None or not answers) and (answers or a is not None or b is not None):
        raise typer.BadParameter("--answers measures a corpus NAME, and --a and --b go with it")
    if answers:
        evaluate_answers(str(name), a, b, as_json)
    elif beir is not None:
        _beir(beir, as_json)
    else:
        _live(str(name), as_json)


def _beir(folder: Path, as_json: bool) -> None:
    from headwater.cli.progress import stage_progress
    from headwater.evaluation import evaluate_beir

    with stage_progress(f"evaluate {folder.name}", 1) as progress:
        figures = evaluate_beir(folder, progress=progress)
    if as_json:
        print_json(figures)
        return
    metrics = list(figures[_MODES[0]])
    print_table(
        ("mode", *metrics), [(mode, *(f"{figures[mode][m]:.4f}" for m in metrics)) for mode in _MODES], right=metrics
    )
    said = {label: f"{value:,}" if isinstance(value, int | float) else value for label, value in figures.items()}
    say(", ".join(f"{value} {label}" for label, value in said.items() if label not in _MODES))


def _live(name: str, as_json: bool) -> None:
    from headwater.corpus import open_corpus
    from headwater.stages.evaluation import evaluate_release

    with busy("Measuring"), open_corpus(name) as corpus:
        live = corpus.live()
        if live is None:
            raise NotFoundError(f"Corpus {name!r} has no live release yet. Build one with: headwater reindex {name}")
        # The figures are kept in the lake, so this is a write like a reindex.
        with corpus.writing():
            evaluation, fresh = evaluate_release(corpus, live)
    figures = {label: value for label, value in evaluation.figures.items() if isinstance(value, int | float)}
    result: dict[str, Any] = {"corpus": name, "release": live, **figures}
    if as_json:
        print_json(result)
        return
    say(f"Corpus {name}, live release {live}" + ("" if fresh else " (measured before)"), style="bold")
    print_table(
        ("figure", "value"),
        [(label, f"{value:.4f}" if isinstance(value, float) else f"{value:,}") for label, value in figures.items()],
        right=("value",),
    )
