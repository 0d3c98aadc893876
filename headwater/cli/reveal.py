"""``headwater reveal``: open what the privacy policy had encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headwater.privacy.revealing import Revealed


def reveal(
    name: CorpusName,
    token: Annotated[
        str | None, typer.Argument(metavar="[TOKEN]", help="What stands in the text, such as '<IBAN_CODE:Zm9v...>'.")
    ] = None,
    document: Annotated[
        str | None, typer.Option("--document", metavar="KEY", help="Open every token in this document instead.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; the ledger keeps it with who, when and what.")] = "",
    listed: Annotated[
        bool, typer.Option("--list", help="Show the record instead: who opened values when, why, and of what kinds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what encrypted personal data says. Needs the corpus' key in the environment, and leaves a record."""
    from headwater.corpus import open_corpus
    from headwater.privacy.revealing import reveal_document, reveal_token

    if listed:
        if token is not None or document is not None or reason:
            raise typer.BadParameter("--list opens nothing: give it alone")
        _list(name, as_json)
        return
    if (token is None) == (document is None):
        raise typer.BadParameter("give a TOKEN, or a document with --document KEY")
    if not reason.strip():
        raise typer.BadParameter("say why, with --reason TEXT")
    with open_corpus(name) as corpus:
        if document is not None:
            opened = reveal_document(corpus, document, reason=reason)
        else:
            opened = [reveal_token(corpus, str(token), reason=reason)]
    if as_json:
        print_json(opened)
    else:
        print_table(["token", "entity", "value"], [(item.token, item.entity, _shown(item)) for item in opened])


def _list(name: str, as_json: bool) -> None:
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        records = corpus.ledger.reveals(corpus.name)
    if as_json:
        print_json(records)
        return
    if not records:
        say(f"Nothing of {name} was ever revealed.")
        return
    rows = [
        (
            f"{record.revealed_at:%Y-%m-%d %H:%M:%S}",
            record.who,
            ", ".join(f"{entity} {count}" for entity, count in sorted(record.entities.items())),
            len(record.documents),
            record.reason,
        )
        for record in records
    ]
    print_table(("when (UTC)", "who", "values", "documents", "reason"), rows, right=("documents",))


def _shown(item: Revealed) -> str:
    return "(no token of this corpus)" if item.value is None else item.value
