"""``headwater init`` and ``headwater corpus add``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.output import say


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make the project in; made if missing.")],
) -> None:
    """Make an empty project."""
    from headwater.scaffold import make_project

    project = make_project(directory)
    say(f"Made a project in {project.root}")
    say(f"Next: cd {directory} && headwater corpus add NAME --uri FOLDER_OR_BUCKET")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name: lower-case letters, digits and underscores.")],
    uri: Annotated[
        str, typer.Option("--uri", help="Where the documents are: a folder, s3://bucket/prefix, gs://..., az://...")
    ],
    description: Annotated[str, typer.Option("--description", help="What this body of documents is.")] = "",
) -> None:
    """Add a corpus: write its configuration, every setting shown with its default."""
    from headwater.project import find_project
    from headwater.scaffold import add_corpus

    path = add_corpus(find_project(), name, uri, description)
    say(f"Wrote {path}")
    say(f"Next: headwater reindex {name}")
