"""Text in pictures, recognised with Tesseract (a program of its own: Debian's ``tesseract-ocr``)."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from typing import Any

from headwater.errors import CorruptDocument, ParseError, UnsupportedFormat
from headwater.parsing.blocks import Block
from headwater.parsing.plain import plain_blocks
from headwater.policies import ParsePolicy

_PROGRAM = "tesseract"
_MAX_PIXELS = 40_000_000
"""A0 at 150 dpi. A page that would be larger is drawn smaller."""


@lru_cache(maxsize=1)
def engine() -> str | None:
    """Return Tesseract's name and version, None when it is not installed."""
    program = shutil.which(_PROGRAM)
    if program is None:
        return None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip() if done.returncode == 0 else None


@lru_cache(maxsize=1)
def languages() -> frozenset[str]:
    """Return the languages that Tesseract has data for; none when it is not installed."""
    program = shutil.which(_PROGRAM)
    if program is None:
        return frozenset()
    done = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=30, check=False)
    return frozenset(line.strip() for line in done.stdout.splitlines()[1:] if line.strip())


def image_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return the text that Tesseract finds in a picture.

    Raises:
        UnsupportedFormat: ``parse.ocr`` is off (code ``unsupported_format``).
        ParseError: Tesseract or a language is not installed (code ``ocr_missing``).
        CorruptDocument: Tesseract can't read the picture.
    """
    if not policy.ocr:
        raise UnsupportedFormat("the file is a picture; its text is read only with parse.ocr")
    return recognise(data, policy), {"ocr": engine()}


def recognise(image: bytes, policy: ParsePolicy, page: int | None = None) -> list[Block]:
    """Return the paragraphs of a picture (PNG, JPEG, TIFF, BMP, PNM, WebP)."""
    program = shutil.which(_PROGRAM)
    missing = sorted(set(policy.ocr_languages) - languages())
    if program is None or missing:
        what = "Tesseract is not installed" if program is None else f"Tesseract has no data for {', '.join(missing)}"
        raise ParseError(f"parse.ocr: {what}; `headwater doctor` says more", "ocr_missing")
    # Through pipes: the worker may write no file. One thread: the pool has one process per core.
    done = subprocess.run(
        [program, "stdin", "stdout", "-l", "+".join(policy.ocr_languages)],
        input=image,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        check=False,
    )
    if done.returncode:
        raise CorruptDocument("the picture can't be read; save or scan it again")
    blocks = plain_blocks(done.stdout.decode("utf-8", "replace"), headings=False)
    for block in blocks:
        block.page = page
    return blocks


def drawn(page: Any, policy: ParsePolicy) -> bytes:
    """Return a page of a PDF (pypdfium2) as a grey picture in PGM (netpbm), at the policy's resolution."""
    width, height = page.get_size()
    scale = policy.ocr_dpi / 72
    pixels = width * height * scale * scale
    if pixels > _MAX_PIXELS:
        scale *= (_MAX_PIXELS / pixels) ** 0.5
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        pixels_of = bitmap.to_numpy()
        rows, columns = pixels_of.shape[:2]
        header = f"P5\n{columns} {rows}\n255\n".encode()
        return header + bytes(pixels_of[:, :columns].tobytes())
    finally:
        bitmap.close()
