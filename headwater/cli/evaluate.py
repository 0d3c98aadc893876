"""``headwater evaluate``: how good retrieval is, on a BEIR collection or on a corpus' live release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.cli.options import AsJson
from headwater.cli.output import busy, print_json, print_table, say
from headwater.errors import NotFoundError

_MODES = ("dense", "sparse", "hybrid")


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
    as_json: AsJson = False,
) -> None:
    """Measure retrieval: a corpus' live release against its golden set, or the product on a BEIR collection."""
    if (name is None) == (beir is None):
        raise typer.BadParameter("give a corpus NAME, or --beir DIR")
    if beir is not None:
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
    say(", ".join(f"{value:,} {label}" for label, value in figures.items() if label not in _MODES))


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
