"""The arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

CorpusName = Annotated[
    str, typer.Argument(metavar="NAME", help="Corpus: its name in the project, or the path of its folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group", metavar="GROUP", help="Ask as a member of this group; repeatable. Without: what everyone may read."
    ),
]
