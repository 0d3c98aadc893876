"""Server-sent events, as far as chat completions use them: one line of data per event (WHATWG HTML, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from headwater.errors import GenerationError

DONE = b"[DONE]"
"""The data of OpenAI's last event."""

_DRAIN_SECONDS = 0.2
"""A server ends the transfer together with its last event; a slower one costs a connection, not time."""


async def data_of(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Yield the data of each event of a byte stream, comments and other fields left out, until :data:`DONE` or its end.

    GenerationError ``malformed`` once more than ``most`` bytes have come: no answer is that long.
    """
    line = bytearray()
    seen = 0
    async for chunk in chunks:
        seen += len(chunk)
        if seen > most:
            raise GenerationError(f"the server sent more than {most:,} bytes for one answer", "malformed")
        line += chunk
        *whole, rest = line.split(b"\n")
        line = bytearray(rest)
        for one in whole:
            if one.startswith(b"data:"):
                data = bytes(one[5:]).strip()
                if data == DONE:
                    await _drain(chunks)
                    return
                if data:
                    yield data


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the end of the transfer, so that its connection can be used again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass
