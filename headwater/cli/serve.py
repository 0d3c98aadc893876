"""``headwater serve``: the HTTP endpoint."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from headwater.errors import ConfigError


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every interface.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve every corpus of the project over HTTP, with a page for people, until Ctrl-C."""
    from headwater.doctor import importable
    from headwater.project import find_project

    find_project()
    if not importable("serving"):
        raise ConfigError(
            "The package `serving` can't be imported: it is not part of the published library. "
            "Run from a checkout installed with `pip install -e .`, or from an image."
        )
    # Requests run beside each other in threads, and queries are embedded together: more threads inside of a pass make
    # all of them wait (32 clients on two cores: 115 searches a second with one, 100 with two).
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from serving import run

    run(host=host, port=port)
