"""``headwater mcp``: the tools of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from headwater.cli.options import Groups
from headwater.errors import ConfigError


def mcp(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these corpora. [default: all of the project]")
    ] = None,
    groups: Groups = None,
) -> None:
    """Give a model's client (an editor, a desktop assistant) tools to search, answer from and read the corpora.

    The client starts this command and speaks with it over standard input and output. What --group names is what is
    read; a model can't choose it. Over HTTP, `headwater serve` has the same tools at /mcp.
    """
    from headwater.doctor import importable
    from headwater.pool import usable_cpus
    from headwater.project import find_project

    project = find_project()
    if not importable("serving"):
        raise ConfigError(
            "The package `serving` can't be imported: it is not part of the published library. "
            "Run from a checkout installed with `pip install -e .`, or from an image."
        )
    if not importable("mcp"):
        raise ConfigError("The MCP server needs the package `mcp`; install it with: pip install 'headwater[mcp]'")
    for name in names or ():
        project.corpus_file(name)  # says which there are
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, usable_cpus())))
    from serving.mcp import run_stdio

    run_stdio(project, groups=groups or (), corpora=names or ())
