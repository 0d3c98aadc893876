"""What a process that parses may do: read, compute, and run Tesseract. No network, no writing, no other program.

The parsers are libraries that need none of it. Two layers: limits that the system enforces (processor time, size of
written files, on native code, too), and an audit hook (PEP 578) that refuses what Python code asks for. The hook is no
sandbox against code that is already running in the process; it is a net under parsers that follow what a file says.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.errors import ParseError
from headwater.policies import ParsePolicy

_REFUSED = frozenset(
    {
        "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request",
        "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.startfile",
        "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    }
)  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PROGRAMS = frozenset({"tesseract"})
_ENOUGH_CPU = 2**31


class _Watch:
    """The thread that is parsing, None between documents; and what it was refused."""

    thread: int | None = None
    refused: str | None = None
    installed = False


def confine_process() -> None:
    """Take from this process, for good, what no parser needs: writing files, core dumps, and the error output.

    Native parsers write to the error output what they trip over, which may quote the document.
    """
    sys.dont_write_bytecode = True
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


@contextmanager
def one_document(policy: ParsePolicy) -> Iterator[None]:
    """Parse one document under the audit hook and the policy's processor time; SIGXCPU ends the process.

    Raises:
        ParseError: something tried to reach the network, write a file or start a program (code ``forbidden``).
    """
    if not _Watch.installed:
        sys.addaudithook(_audit)
        _Watch.installed = True
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    most = min(math.ceil(used + policy.cpu_seconds), _ENOUGH_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    _Watch.thread, _Watch.refused = threading.get_ident(), None
    try:
        yield
    except ParseError:
        if _Watch.refused is None:
            raise
    finally:
        _Watch.thread = None
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    if _Watch.refused is not None:
        raise ParseError(f"parsing was stopped because it asked for {_Watch.refused}", "forbidden")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _Watch.thread is None or (event != "open" and event not in _REFUSED):
        return
    if threading.get_ident() != _Watch.thread:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not isinstance(flags, int) or not flags & _WRITES or path == os.devnull:
            return
        if "__pycache__" in str(path):  # Python's own: a refusal there harms nothing
            raise PermissionError("not while parsing")
        event = "writing a file"
    elif event == "subprocess.Popen" and Path(os.fsdecode(arguments[0] or "")).name in _PROGRAMS:
        return
    _Watch.refused = event
    raise PermissionError("not while parsing")
