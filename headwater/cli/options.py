"""The arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.text_files import encodes


def _encodable(values: list[str] | None) -> list[str] | None:
    """Refuse arguments that were no valid text in the terminal's encoding."""
    for value in values or ():
        if not encodes(value):
            raise typer.BadParameter(f"{value!r} is not UTF-8 text.")
    return values


CorpusName = Annotated[
    str, typer.Argument(metavar="NAME", help="Corpus: its name in the project, or the path of its folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        metavar="GROUP",
        callback=_encodable,
        help="Ask as a member of this group; repeatable. Without: what everyone may read.",
    ),
]
