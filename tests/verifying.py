"""A verifier for which only words count, and the check of one sentence against one passage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from headwater.answering.contract import Draft, Verified, Verifier
from headwater.answering.verification import SpanVerifier
from headwater.policies import AnswerPolicy
from headwater.types import Passage


class AgreeingEncoder:
    """Finds every two texts alike, so that only words count."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(texts), 1))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode_documents(texts)


@pytest.fixture(scope="module")
def agreeing() -> Verifier:
    return SpanVerifier(AgreeingEncoder(), AnswerPolicy())


def check(verifier: Verifier, source: str, draft: str, language: str = "en") -> Verified:
    one = Passage(
        "yard-0", "yard", "yard.md", "r-1", 4, "Rules of the yard", (), None, 0, len(source), source, 1.0,
        language=language,
    )  # fmt: skip
    return verifier.check(Draft(draft, (0,)), [one])
