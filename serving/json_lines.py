"""What a service of this project writes to standard error: one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

CLIENT_LIBRARIES = ("alembic", "boto3", "botocore", "httpcore", "httpx", "s3transfer", "urllib3")
"""Their lines at info level say of each request and each opened ledger that all went well."""


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


def log_json_lines(level: int) -> None:
    """Write what is logged from ``level`` on to standard error; of client libraries warnings and what is worse."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in CLIENT_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
