"""The Presidio engine of a language, made once per process. Imports Presidio and spaCy at the first call only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import regex  # type: ignore[import-untyped]

from headwater.policies import PrivacyPolicy
from headwater.privacy.entities import choose_entities
from headwater.privacy.pipeline import find_pipeline
from headwater.types import PiiSpan

if TYPE_CHECKING:
    from headwater.privacy.presidio import Recognition


# Every match of the recognisers of these entities holds one of: a digit, an at sign, two colons in a row, or two
# groups of hexadecimal letters that each end in a separator (addresses without any digit). A text without them holds
# none of these entities. Tested with strings generated from the recognisers' own patterns.
SKIPPABLE = frozenset(
    {
        "CREDIT_CARD",
        "CRYPTO",
        "DATE_TIME",
        "EMAIL_ADDRESS",
        "IBAN_CODE",
        "IP_ADDRESS",
        "MAC_ADDRESS",
        "MEDICAL_LICENSE",
        "PHONE_NUMBER",
        "UK_NHS",
        "US_BANK_NUMBER",
        "US_DRIVER_LICENSE",
        "US_ITIN",
        "US_PASSPORT",
        "US_SSN",
        "UUID",
    }
)
# The `regex` module, as in Presidio: both then agree on what a Unicode digit is.
TRIGGER = regex.compile(r"\d|@|::|[a-f]{1,4}[:.-][a-f]{1,4}[:.-]", regex.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Engine:
    """Presidio for one language, with or without a trained spaCy pipeline."""

    recognition: Recognition
    language: str
    has_model: bool

    def choose(self, wanted: Sequence[str] | None) -> list[str]:
        """Return the entities to look for: see :func:`headwater.privacy.entities.choose_entities`."""
        return choose_entities(wanted, self.recognition.default, self.recognition.available, self.recognition.known)

    def may_skip(self, entities: Sequence[str]) -> bool:
        """Return whether a text without a trigger can hold none of the entities."""
        return not self.has_model and self.language == "en" and SKIPPABLE.issuperset(entities)

    def analyze(self, texts: Sequence[str], entities: Sequence[str], policy: PrivacyPolicy) -> Iterator[list[PiiSpan]]:
        """Yield Presidio's findings at or above ``policy.min_score`` per text, allowed strings left out."""
        analyzer, nlp_engine = self.recognition.analyzer, self.recognition.nlp_engine
        for text, artifacts in zip(texts, nlp_engine.artifacts(texts, self.language), strict=True):
            results = analyzer.analyze(
                text,
                self.language,
                entities=list(entities),
                score_threshold=policy.min_score,
                allow_list=policy.allow,
                nlp_artifacts=artifacts,
            )
            yield [PiiSpan(item.start, item.end, item.entity_type, float(item.score)) for item in results]


def nothing_in(text: str, start: int, end: int) -> bool:
    """Return whether ``text[start:end]`` has no trigger."""
    return TRIGGER.search(text, start, end) is None


@lru_cache(maxsize=4)
def load_engine(language: str, model: str | None) -> Engine:
    """Return the engine of a language with the given, the best installed, or no spaCy pipeline.

    Raises ``ConfigError`` when there is no such pipeline or language.
    """
    from headwater.privacy import presidio

    pipeline = find_pipeline(language, model)
    return Engine(presidio.build(language, pipeline), language, pipeline is not None)


@cache
def _operator(action: str) -> Any:
    from presidio_anonymizer.operators import OperatorsFactory, OperatorType

    factory: Any = OperatorsFactory  # untyped
    return factory().create_operator_class(action, OperatorType.Anonymize)


def operate(action: str, value: str, entity: str) -> str:
    """Return what Presidio's operator ``replace`` or ``mask`` writes in place of ``value``."""
    parameters = {"entity_type": entity, "masking_char": "*", "chars_to_mask": len(value), "from_end": False}
    return str(_operator(action).operate(text=value, params=parameters))
