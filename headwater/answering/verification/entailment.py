"""An optional second opinion: a cross-encoder trained on natural language inference reads source and draft together."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


@dataclass(frozen=True, slots=True)
class Verdict:
    """Probabilities in 0..1 that the source entails the draft, and that it contradicts it."""

    entailment: float
    contradiction: float


class EntailmentModel:
    """A sentence-transformers ``CrossEncoder`` in a folder, whose labels name entailment and contradiction.

    Safe to use from several threads: one pass at a time.
    """

    def __init__(self, model: CrossEncoder, entailment: int, contradiction: int) -> None:
        self._model = model
        self._entailment = entailment
        self._contradiction = contradiction
        self._lock = threading.Lock()  # a fast tokenizer can't be shared while it pads

    def judge(self, source: str, draft: str) -> Verdict:
        """Return the model's word on whether ``draft`` follows from ``source``; a longer source is cut by the model."""
        with self._lock:
            predicted = self._model.predict([(source, draft)], show_progress_bar=False)
        scores = np.asarray(predicted, dtype=np.float64)[0]
        odds = np.exp(scores - scores.max())
        shares = odds / odds.sum()
        return Verdict(float(shares[self._entailment]), float(shares[self._contradiction]))


@lru_cache(maxsize=2)
def load_entailment(folder: str) -> EntailmentModel:
    """Load the model in ``folder`` (from disk only).

    Raises ConfigError when there is none, or when its labels don't name entailment and contradiction.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ConfigError(f"answer.entailment_model: there is no model in {folder}; name the folder of a CrossEncoder")
    from sentence_transformers import CrossEncoder
    from torch import nn

    model = CrossEncoder(folder, local_files_only=True, activation_fn=nn.Identity())
    labels = {int(i): str(label).casefold() for i, label in (model.config.id2label or {}).items()}
    found = {name: i for i, label in labels.items() for name in ("entail", "contra") if label.startswith(name)}
    if found.keys() != {"entail", "contra"}:
        raise ConfigError(
            f"answer.entailment_model: the labels of {folder} are {', '.join(labels.values())}; "
            "id2label in its config.json must name entailment and contradiction"
        )
    return EntailmentModel(model, found["entail"], found["contra"])
