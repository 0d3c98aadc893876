"""Text in base64 or hexadecimal digits within a text, decoded once."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_SHORTEST = 24
"""Characters of a word that is looked at: 18 bytes, less than which is no instruction."""

_RUN = re.compile(r"[A-Za-z0-9+/_-]++={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){20,}")
_MOST = 64
"""Words looked at in one text; a data URI or a key file has thousands of them, and an instruction needs one."""

_LONGEST = 8192
_PRINTABLE = 0.97
"""Share of a decoded run that is printable ASCII; of random bytes it is 0.38."""


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, what it says) of runs that decode to words; lines of one run are read together."""
    for start, end in list(_runs(text))[:_MOST]:
        run = re.sub(r"\s", "", text[start : min(end, start + _LONGEST)])
        for decode in (bytes.fromhex,) if _HEX.fullmatch(run) else (_base64,):
            try:
                data = decode(run)
            except (binascii.Error, ValueError):
                continue
            said = data.decode("utf-8", "replace")
            if " " in said.strip() and _printable(said) >= _PRINTABLE:
                yield start, end, said


def _runs(text: str) -> Iterator[tuple[int, int]]:
    position = 0
    first = last = -1
    # Links are long and common, and their parts decode to nothing.
    for word in [word for word in text.split() if len(word) >= _SHORTEST and "://" not in word]:
        position = text.index(word, position)
        match = next((run for run in _RUN.finditer(word) if len(run[0]) >= _SHORTEST), None)
        if match:
            start, end = position + match.start(), position + match.end()
            if first >= 0 and not text[last:start].strip():
                last = end
            else:
                if first >= 0:
                    yield first, last
                first, last = start, end
        position += len(word)
    if first >= 0:
        yield first, last


def _base64(run: str) -> bytes:
    run = run.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(run[: len(run) - (len(run) % 4 == 1)] + "=" * (-len(run) % 4))


def _printable(text: str) -> float:
    return sum(" " <= character <= "~" or character in "\n\t" for character in text) / max(len(text), 1)
