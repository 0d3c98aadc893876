"""``headwater ask`` and ``headwater search``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from headwater.cli.answers import place_of, print_answer
from headwater.cli.options import AsJson, CorpusName, Groups
from headwater.cli.output import busy, print_json, say
from headwater.errors import ConfigError
from headwater.types import Principal


def ask(
    name: CorpusName,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    groups: Groups = None,
    release: Annotated[int | None, typer.Option("--release", help="Ask this release instead of the live one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the corpus, every sentence tied to a span of a source, or say why not.

    A refusal is an answer: its exit code is 0.
    """
    from headwater.corpus import open_corpus

    with busy("Looking for an answer"), open_corpus(name) as corpus:
        answer = corpus.answer(question, principal=_principal(groups), release=release)
    if as_json:
        print_json({**asdict(answer), "text": answer.text})
    else:
        print_answer(asdict(answer))


def search(
    name: CorpusName,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in quotes.")],
    k: Annotated[int, typer.Option("-k", "--limit", min=1, max=1000, help="At most this many passages.")] = 10,
    groups: Groups = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="FIELD=VALUE",
            help="Only passages with this doc_id, key, content_type or page; a field given twice takes either value.",
        ),
    ] = None,
    mode: Annotated[
        Literal["hybrid", "dense", "sparse"], typer.Option("--mode", help="Which retrievers to use.")
    ] = "hybrid",
    release: Annotated[int | None, typer.Option("--release", help="Search this release, not the live one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find passages, best first."""
    from headwater.corpus import open_corpus

    chosen = parse_filters(filters or [])
    with busy("Searching"), open_corpus(name) as corpus:
        passages = corpus.search(query, k, release=release, principal=_principal(groups), filters=chosen, mode=mode)
    if as_json:
        print_json(passages)
        return
    if not passages:
        say("No passage found.")
    for rank, passage in enumerate(passages, start=1):
        say(f"{rank}. {place_of(asdict(passage))}  [score {passage.score:.4f}]", style="bold")
        say(f"{passage.text.strip()}\n")


def parse_filters(pairs: Sequence[str]) -> dict[str, Any]:
    """Return ``FIELD=VALUE`` pairs as a filter: one value, or a list where a field is given more than once."""
    chosen: dict[str, list[str | int]] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not (field and equals):
            raise ConfigError(f"--filter {pair!r} is not FIELD=VALUE.")
        chosen.setdefault(field, []).append(int(value) if field == "page" and value.isdecimal() else value)
    return {field: values[0] if len(values) == 1 else values for field, values in chosen.items()}


def _principal(groups: list[str] | None) -> Principal:
    return Principal(groups=frozenset(groups or ()), name="command line")
