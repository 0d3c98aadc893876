"""Which entries of a corpus' block lists a text holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from headwater.errors import RowError
from headwater.policies import QualityPolicy

_SECONDS = 1.0
"""A pattern gets this long for one text; one that needs longer backtracks without end."""


def blocked_matches(texts: Sequence[str], policy: QualityPolicy) -> list[int]:
    """Return for each text how many of the policy's keywords and patterns are found in it.

    Keywords are whole words, whatever their case and the white space between them. Raises RowError with the code
    ``block_pattern_timeout`` for a pattern that takes more than a second on a text; what it was matching is not said.
    """
    patterns = _compiled(tuple(policy.block_keywords), tuple(policy.block_patterns))
    if not patterns:
        return [0] * len(texts)
    try:
        return [sum(pattern.search(text, timeout=_SECONDS) is not None for pattern in patterns) for text in texts]
    except TimeoutError:
        raise RowError(
            "A pattern of quality.block_patterns took more than a second on this document. Simplify the pattern.",
            code="block_pattern_timeout",
        ) from None


@lru_cache(maxsize=8)
def _compiled(keywords: tuple[str, ...], patterns: tuple[str, ...]) -> list[Any]:
    import regex  # type: ignore[import-untyped]

    whole = (r"\s+".join(map(re.escape, keyword.split())) for keyword in keywords)
    return [
        *(regex.compile(rf"(?<!\w){keyword}(?!\w)", regex.IGNORECASE) for keyword in whole),
        *(regex.compile(pattern) for pattern in patterns),
    ]
