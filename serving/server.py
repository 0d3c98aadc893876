"""Running the service with uvicorn."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import sys
from datetime import UTC, datetime

from headwater.errors import ConfigError
from headwater.project import Project
from serving.app import TOKEN_VARIABLE, create_app

DEFAULT_PORT = 8000


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Exceptions are named, not printed: their text may quote a document."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, project: Project | None = None) -> None:
    """Serve until interrupted.

    Raises ConfigError for a host that other machines can reach, unless ``HEADWATER_API_TOKEN`` is set.
    """
    import uvicorn

    token = os.environ.get(TOKEN_VARIABLE)
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"Refusing to listen on {host} without a token: anyone who reaches it could claim any group. "
            f"Set {TOKEN_VARIABLE} to a long random value, or listen on 127.0.0.1."
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    app = create_app(project, loopback_only=not token)
    # Its access log would repeat query strings; ours has what operation needs.
    uvicorn.run(app, host=host, port=port, access_log=False, log_config=None, server_header=False)
