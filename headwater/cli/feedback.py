"""``headwater feedback``: review what people said of answers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headwater.corpus import Corpus

_SHORT = 12
"""Characters of an id that a list shows; commands take the beginning of an id where it fits one alone."""


def feedback(
    name: CorpusName,
    action: Annotated[Literal["list", "promote", "dismiss"], typer.Argument(help="What to do.")] = "list",
    feedback_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The feedback to promote or dismiss, or the beginning of its id."),
    ] = None,
    documents: Annotated[
        list[str] | None,
        typer.Option("--document", metavar="KEY", help="promote: a document that holds the answer; repeatable."),
    ] = None,
    quotes: Annotated[
        list[str] | None,
        typer.Option(
            "--quote",
            metavar="TEXT",
            help="promote: the words that answer, one per document in the same order. [default: what the answer cited there]",
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", metavar="TEXT", help="promote: in place of what was asked.")
    ] = None,
    no_answer: Annotated[
        bool, typer.Option("--no-answer", help="promote: no document answers it, it must be refused.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="promote: add the line to this file and not to the golden set, where that can't be written; - prints it.",
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="dismiss: why.")] = "",
    state: Annotated[
        Literal["open", "promoted", "dismissed", "all"],
        typer.Option("--state", help="list: only what is in this state."),
    ] = "open",
    as_json: AsJson = False,
) -> None:
    """List what people said of answers, make a correction a golden question, or dismiss it.

    promote appends the question to the corpus' golden set, with the documents that you confirm; the gate asks it from
    the next reindex on.
    """
    from headwater.answer_log.golden import dismiss, promote
    from headwater.audit import operator
    from headwater.corpus import open_corpus

    if (action == "list") != (feedback_id is None):
        raise typer.BadParameter(f"{action} takes {'no ID' if action == 'list' else 'the ID of a feedback'}")
    if action == "dismiss" and not reason.strip():
        raise typer.BadParameter("say why, with --reason TEXT")
    if output is not None and action != "promote":
        raise typer.BadParameter("--output is for promote")
    if output == "-" and as_json:
        raise typer.BadParameter("--output - prints the line alone; leave out --json")
    with open_corpus(name) as corpus:
        if feedback_id is None:
            _list(corpus, state, as_json)
        elif action == "promote":
            promotion = promote(
                corpus,
                feedback_id,
                by=operator(),
                documents=documents or (),
                quotes=quotes or (),
                question=question,
                unanswerable=no_answer,
                write=None if output is None else partial(_write, output),
            )
            if as_json:
                print_json(promotion)
                return
            where = output if promotion.added and output is not None else promotion.path
            done = "Added" if promotion.added else "It is there already:"
            told = f"{done} golden question {promotion.question.id} in {where}."
            if output != "-":
                say(told, style="bold")
            elif not promotion.added:
                typer.echo(told, err=True)  # what is printed is for the file
        else:
            dismissed = dismiss(corpus, feedback_id, by=operator(), reason=reason)
            if as_json:
                print_json(dismissed)
                return
            say(f"Dismissed {dismissed.id}.", style="bold")


def _write(output: str, line: str) -> None:
    from headwater.answer_log.golden_file import append_line

    if output == "-":
        typer.echo(line)
    else:
        append_line(Path(output), line)


def _list(corpus: Corpus, state: Literal["open", "promoted", "dismissed", "all"], as_json: bool) -> None:
    found = corpus.ledger.feedback(corpus.name, state=None if state == "all" else state)
    asked = {item.answer_id: corpus.ledger.answer(item.answer_id) for item in found}
    questions = {name: record.question if record else "" for name, record in asked.items()}
    if as_json:
        print_json([{"question": questions[item.answer_id], "feedback": item} for item in found])
        return
    if not found:
        say("No feedback." if state == "all" else f"No feedback is {state}.")
        return
    print_table(
        ("id", "given", "kind", "about", "state", "question", "text"),
        [
            (
                item.id[:_SHORT],
                _when(item.given_at),
                item.kind,
                _about(item.sentence, item.citation),
                f"{item.state}: {item.note}" if item.note else item.state,
                questions[item.answer_id],
                item.text,
            )
            for item in found
        ],
    )


def _about(sentence: int | None, citation: int | None) -> str:
    if sentence is None:
        return ""
    return f"sentence {sentence + 1}" + ("" if citation is None else f", citation {citation + 1}")


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
