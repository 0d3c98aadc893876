"""The model of out-of-place requests: a logistic regression over the features of a request, a weight for each.

How it was made and how well it does stands in ``MODEL_CARD.md``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

WEIGHTS = Path(__file__).with_name("requests.json")
"""Written by ``python -m training.injection.train DATA --write``."""


_MOST = 0.89
"""No request scores more: from 0.9 on stands what says outright that it instructs, or is hidden."""


def score(features: Mapping[str, float]) -> float:
    """Return how much a request looks out of place, in 0..0.89; 0.5 is where the model was told to flag."""
    intercept, weights = _model()
    logit = intercept + sum(weights.get(name, 0.0) * value for name, value in features.items())
    probability = 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit))))
    return min(probability, 0.5 + (probability - 0.5) * (_MOST - 0.5) / 0.5)


@lru_cache(maxsize=1)
def _model() -> tuple[float, dict[str, float]]:
    found = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return float(found["intercept"]), found["weights"]
