"""The Presidio engine of a policy, made once per process. Imports Presidio and spaCy at the first call only."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import regex  # type: ignore[import-untyped]

from headwater.policies import PrivacyPolicy
from headwater.privacy.allowed import Allowed
from headwater.privacy.entities import chosen_entities
from headwater.privacy.pieces import PATTERN_PIECE, Piece, split
from headwater.types import PiiSpan

if TYPE_CHECKING:
    from headwater.privacy.presidio import Recognition
    from headwater.privacy.triggers import Windows

# Lone surrogates are not text to anything here; a replacement character keeps all offsets.
_SURROGATES = regex.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """Return ``text`` without lone surrogates, every character in its place."""
    return str(_SURROGATES.sub("\ufffd", text))


@dataclass(frozen=True, slots=True)
class Engine:
    """Presidio for one policy."""

    recognition: Recognition
    policy: PrivacyPolicy
    allowed: Allowed

    def find(self, text: str, names: Sequence[PiiSpan]) -> list[PiiSpan]:
        """Return Presidio's findings in a text, the given names among them: in any order, and they may overlap."""
        found: list[PiiSpan] = []
        scanner = self.recognition.scanner
        windows = scanner.windows(text)
        ends = {owner: [end for _, end in ranges] for owner, ranges in (windows or {}).items()}
        ordered = sorted(names, key=lambda span: span.start)
        starts = [span.start for span in ordered]
        for piece in split(text, PATTERN_PIECE):
            inside = None if windows is None else _inside(windows, ends, piece)
            near = ordered[bisect_left(starts, piece.start) : bisect_left(starts, piece.end)]
            here = [span for span in near if span.end <= piece.end]
            if here or inside is None or inside or scanner.always:
                for span in self._analyze(text[piece.start : piece.end], inside, here, piece.start):
                    if piece.core_start <= span.start < piece.core_end:
                        found.append(span)
        return found

    def _analyze(self, text: str, windows: Windows | None, names: Sequence[PiiSpan], offset: int) -> Iterator[PiiSpan]:
        from headwater.privacy.presidio import Reading

        local = [PiiSpan(span.start - offset, span.end - offset, span.entity, span.score) for span in names]
        reading: Any = Reading(text, self.recognition.tokenizer, windows, local)
        results = self.recognition.analyzer.analyze(
            text,
            self.policy.language,
            entities=list(self.recognition.entities),
            score_threshold=self.policy.min_score,
            nlp_artifacts=reading,
        )
        for item in results:
            if text[item.start : item.end] not in self.allowed:
                yield PiiSpan(item.start + offset, item.end + offset, item.entity_type, float(item.score))


def _inside(windows: Windows, ends: Mapping[str, list[int]], piece: Piece) -> Windows:
    """Return the parts of the windows (whose ``ends`` are given) that lie in a piece, counted from its start."""
    result = {}
    for owner, ranges in windows.items():
        inside = []
        for index in range(bisect_right(ends[owner], piece.start), len(ranges)):
            start, end = ranges[index]
            if start >= piece.end:
                break
            inside.append((max(start, piece.start) - piece.start, min(end, piece.end) - piece.start))
        if inside:
            result[owner] = inside
    return result


def load_engine(policy: PrivacyPolicy) -> Engine:
    """Return the engine of a policy. Raises ``ConfigError`` for a language that spaCy doesn't know."""
    return _load(policy.model_dump_json())


@lru_cache(maxsize=4)
def _load(dumped: str) -> Engine:
    from headwater.privacy import presidio

    policy = PrivacyPolicy.model_validate_json(dumped)
    entities = chosen_entities(policy.entities, policy.countries, policy.own_entities)
    return Engine(presidio.build(policy, entities), policy, Allowed(policy))
