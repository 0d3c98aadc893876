"""Names found by a spaCy pipeline that a policy chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headwater.errors import ConfigError
from headwater.privacy.finders import Find
from headwater.privacy.pieces import MODEL_PIECE, Piece, split
from headwater.types import PiiSpan

SCORE = 0.85
"""Presidio's own score of spaCy's names (SpacyRecognizer): spaCy gives none."""

# From Presidio's conf/default.yaml.
LABELS = {
    "PER": "PERSON",
    "PERSON": "PERSON",
    "NORP": "NRP",
    "FAC": "LOCATION",
    "LOC": "LOCATION",
    "GPE": "LOCATION",
    "LOCATION": "LOCATION",
    "ORG": "ORGANIZATION",
    "ORGANIZATION": "ORGANIZATION",
}

_BATCH_PIECES = 64  # texts per call of the pipeline


def load(name: str) -> Find:
    """Return what finds names with an installed pipeline. Raises ``ConfigError`` when spaCy can't load it."""
    import spacy

    try:
        nlp: Any = spacy.load(name, exclude=["parser", "tagger", "lemmatizer", "attribute_ruler"])
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(f"privacy: spaCy can't load {name!r} ({type(error).__name__}: {error}).") from error

    def find(texts: Sequence[str], min_score: float) -> list[list[PiiSpan]]:
        found: list[list[PiiSpan]] = [[] for _ in texts]
        if min_score > SCORE:
            return found
        for row, piece, span in _entities(nlp, texts):
            start = span.start_char + piece.start
            if piece.core_start <= start < piece.core_end:
                found[row].append(PiiSpan(start, span.end_char + piece.start, LABELS[span.label_], SCORE))
        return found

    return find


def _entities(nlp: Any, texts: Sequence[str]) -> Iterator[tuple[int, Piece, Any]]:
    work = [(row, piece) for row, text in enumerate(texts) for piece in split(text, MODEL_PIECE)]
    documents = nlp.pipe((texts[row][piece.start : piece.end] for row, piece in work), batch_size=_BATCH_PIECES)
    for (row, piece), document in zip(work, documents, strict=True):
        for span in document.ents:
            if span.label_ in LABELS:
                yield row, piece, span
