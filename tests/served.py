"""The service on a port of this machine, for clients that need a real connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from serving.access import Access
from serving.app import create_app


@contextmanager
def served(corpora: Mapping[str, Any], **options: Any) -> Iterator[str]:
    """Serve ``corpora`` until the block ends; gives the address. ``options`` are those of create_app."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # from here on a request waits in the queue until the server takes it
    options.setdefault("access", Access())
    app = create_app(corpora=corpora, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
