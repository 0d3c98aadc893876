"""``headwater ask`` and ``headwater search``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from headwater.answering.events import Finished
from headwater.cli.answer_text import place_of, print_events
from headwater.cli.options import AsJson, CorpusName, Groups
from headwater.cli.output import busy, print_json, say
from headwater.errors import ConfigError
from headwater.injection.question import clean_question
from headwater.metadata import DATES, META
from headwater.types import Principal


def ask(
    name: CorpusName,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    groups: Groups = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="FIELD=VALUE", help="Answer from these passages only: as for search."),
    ] = None,
    release: Annotated[int | None, typer.Option("--release", help="Ask this release instead of the live one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the corpus, every sentence tied to a span of a source, or say why not.

    Sentences are printed as they are found or written. A refusal is an answer: its exit code is 0.
    """
    from headwater.corpus import open_corpus

    question = _question(question)
    chosen = parse_filters(filters or [])
    with ExitStack() as waiting:
        waiting.enter_context(busy("Looking for an answer"))
        with open_corpus(name) as corpus:
            events = corpus.answer_events(question, principal=_principal(groups), release=release, filters=chosen)
            if as_json:
                (answer,) = (event.answer for event in events if isinstance(event, Finished))
                print_json({**asdict(answer), "text": answer.text})
            else:
                print_events(events, waiting)


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
            help="Only passages with this doc_id, key, title, content_type, page, language, date, modified, authors, "
            "keywords or meta.NAME (front matter); a field given twice takes either value. Dates, pages and numbers also as "
            "ranges: --filter 'date>=2024-05' --filter 'date<2025'.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="EXPRESSION",
            help="Only passages for which this holds: 'date >= 2024 and (language = en or key ^= \"policies/\")'; see "
            "docs/retrieval.md.",
        ),
    ] = None,
    mode: Annotated[
        Literal["hybrid", "dense", "sparse"], typer.Option("--mode", help="Which retrievers to use.")
    ] = "hybrid",
    merge: Annotated[
        bool | None,
        typer.Option("--merge/--no-merge", help="Join neighbouring results. [default: the corpus' setting]"),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how the passages were found: ranks, scores, weights, timings.")
    ] = False,
    release: Annotated[int | None, typer.Option("--release", help="Search this release, not the live one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find passages, best first."""
    from headwater.cli.explain import print_explanation
    from headwater.corpus import open_corpus
    from headwater.retrieval.grammar import parse

    query = _question(query)
    chosen = parse_filters(filters or [])
    if expression := parse(where or ""):
        chosen = {"and": [chosen, expression]} if chosen else expression
    with busy("Searching"), open_corpus(name) as corpus:
        found = corpus.explain(
            query, k, release=release, principal=_principal(groups), filters=chosen, mode=mode, merge=merge
        )
    passages = found.passages
    if as_json:
        print_json(found if explain else passages)
        return
    if explain:
        print_explanation(found)
    if not passages:
        say("No passage found.")
    for rank, passage in enumerate(passages, start=1):
        say(f"{rank}. {place_of(asdict(passage))}  [score {passage.score:.4f}]", style="bold")
        say(passage.text.strip())
        same = [f"{other.key} (similarity {other.similarity:.2f})" for other in passage.duplicates]
        say(f"Also in: {', '.join(same)}\n" if same else "")


def parse_filters(pairs: Sequence[str]) -> dict[str, Any]:
    """Return ``FIELD=VALUE`` as filters: one value, a list where a field is given more than once, or a range.

    ``date>=2024-01`` and its like (``>``, ``<``, ``<=``) give ranges; two of one field are one range. Raises ConfigError
    for anything else, and for a field with both values and limits.
    """
    chosen: dict[str, Any] = {}
    for pair in pairs:
        match = _FILTER.fullmatch(pair)
        if match is None:
            raise ConfigError(f"--filter {pair!r} is not FIELD=VALUE, nor FIELD>=VALUE (or >, <, <=).")
        field, sign, value = match.groups()
        before = chosen.setdefault(field, [] if sign == "=" else {})
        if isinstance(before, list) != (sign == "="):
            raise ConfigError(f"--filter {field!r} has both values and limits; give one or the other.")
        if sign == "=":
            before += _values(field, value)
        else:
            before[_SIDES[sign]] = value if field in DATES else _number(value)
    return {
        field: found[0] if len(found) == 1 and isinstance(found, list) else found for field, found in chosen.items()
    }


_FILTER = re.compile(r"([^=<>]+)((?:>=|<=|>|<)(?!=)|=)(.+)", re.DOTALL)
_SIDES = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def _values(field: str, value: str) -> list[Any]:
    """Return what ``value`` may mean: front matter ``3`` is a number, or the text that looks like one."""
    if field == "page":
        return [int(value)] if value.isdecimal() else [value]
    if not field.startswith(META):
        return [value]
    if value in ("true", "false"):
        return [value, value == "true"]
    number = _number(value)
    return [value] if isinstance(number, str) else [value, number]


def _number(value: str) -> float | str:
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def _question(text: str) -> str:
    try:
        return clean_question(text)
    except ValueError as error:
        raise ConfigError(f"The question {error}.") from None


def _principal(groups: list[str] | None) -> Principal:
    return Principal(groups=frozenset(groups or ()), name="command line")
