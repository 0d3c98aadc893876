"""``headwater reveal``: open what the privacy policy had encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table

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
    as_json: AsJson = False,
) -> None:
    """Show what encrypted personal data says. Needs the corpus' key in the environment, and leaves a record."""
    from headwater.corpus import open_corpus
    from headwater.privacy.revealing import reveal_document, reveal_token

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


def _shown(item: Revealed) -> str:
    return "(no token of this corpus)" if item.value is None else item.value
