"""Running the service with uvicorn."""

from __future__ import annotations

import gc
import logging

from headwater.apart import work_apart
from headwater.errors import ConfigError
from headwater.project import SETTINGS_FILE, Project
from serving.access import open_access, project_at_hand
from serving.access.hosts import is_loopback
from serving.access.settings import TOKEN_VARIABLE
from serving.app import create_app
from serving.json_lines import log_json_lines
from serving.observability import configure_traces

DEFAULT_PORT = 8000

_GARBAGE = (50_000, 20, 100)
"""New objects between collections of the youngest, and how many of these between those of the older generations; Python's own
700, 10 and 10 are for programs that make few objects."""


def run(host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, project: Project | None = None) -> None:
    """Serve until interrupted.

    Raises ConfigError for a host that other machines can reach, unless authentication is configured.
    """
    import uvicorn

    project = project or project_at_hand()
    access = open_access(project)
    unguarded = access.is_open()
    if not is_loopback(host) and unguarded:
        access.close()
        raise ConfigError(
            f"Refusing to listen on {host} without authentication: anyone who reaches it could claim any group. "
            f"Make an API key (headwater keys create), name an identity provider in {SETTINGS_FILE}, or set "
            f"{TOKEN_VARIABLE} to a long random value; or listen on 127.0.0.1."
        )
    log_json_lines(logging.INFO)
    work_apart()
    app = create_app(project, access=access, loopback_only=unguarded, traces=configure_traces())
    _collect_garbage_seldom()
    # Its access log would repeat query strings; ours has what operation needs.
    uvicorn.run(app, host=host, port=port, access_log=False, log_config=None, server_header=False)


def _collect_garbage_seldom() -> None:
    """Leave what is loaded by now out of garbage collection, and collect the rest less often.

    A full collection stops every thread while it looks at all objects, those of imported modules included. With 32 clients
    on two cores, the slowest of a hundred searches took 350 ms instead of 600.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
