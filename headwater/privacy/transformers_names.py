"""Names found by a Hugging Face token-classification model that a policy chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.errors import ConfigError
from headwater.privacy.finders import Find
from headwater.privacy.pieces import TRANSFORMER_PIECE, split
from headwater.privacy.spacy_names import LABELS
from headwater.types import PiiSpan

_BATCH_PIECES = 32


def load(folder: str) -> Find:
    """Return what finds names with the model in ``folder``. Raises ``ConfigError`` when it can't be loaded."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"privacy.transformers_model: can't load {folder!r} ({type(error).__name__}: {error})."
        ) from error
    classify: Any = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")

    def find(texts: Sequence[str], min_score: float) -> list[list[PiiSpan]]:
        found: list[list[PiiSpan]] = [[] for _ in texts]
        work = [(row, piece) for row, text in enumerate(texts) for piece in split(text, TRANSFORMER_PIECE)]
        pieces = [texts[row][piece.start : piece.end] for row, piece in work]
        for (row, piece), names in zip(work, classify(pieces, batch_size=_BATCH_PIECES), strict=True):
            for name in names:
                entity, score = LABELS.get(name["entity_group"].upper()), float(name["score"])
                start, end = name["start"] + piece.start, name["end"] + piece.start
                if entity and score >= min_score and piece.core_start <= start < piece.core_end:
                    found[row].append(PiiSpan(start, end, entity, score))
        return found

    return find
