"""The vector index as releases: one contract, and the engines that keep it."""

from __future__ import annotations

import os
from pathlib import Path

from headwater.index.contract import ReleaseEngine
from headwater.index.edge import EdgeEngine
from headwater.index.server import ServerEngine
from headwater.policies import IndexPolicy

API_KEY = "QDRANT_API_KEY"
"""Environment variable that holds the key of the Qdrant server."""

CA_FILE = "QDRANT_CA_FILE"
"""Environment variable that names the PEM file of the authorities that vouch for the server; default: the system's."""


def open_engine(corpus: str, path: Path, policy: IndexPolicy) -> ReleaseEngine:
    """Return the engine that keeps the releases of ``corpus``: on the server of ``policy.url``, else under ``path``.

    Nothing is read or connected to until the engine is used.
    """
    if policy.url is None:
        return EdgeEngine(path)
    return ServerEngine(
        policy.url, corpus, api_key=os.environ.get(API_KEY), ca_file=os.environ.get(CA_FILE), policy=policy
    )
