"""Presidio, set up to work offline, to read only where there can be a finding, and to keep quiet about what it found.

This module imports Presidio and spaCy, so import it inside functions only. The analysis is Presidio's own; what is
different from its default set-up:

* the NLP engine is a tokenizer alone, and only the words before a finding are tokenised: names come from a model of
  ours (:mod:`headwater.privacy.finders`), as the results of a recogniser beside the others;
* a recogniser reads only the windows in which one of its patterns can match (:mod:`headwater.privacy.triggers`);
* context words match as whole words (Presidio's ``whole_word`` mode, plural forms and parts of compound tokens
  included): the default substring mode reads "public" as the context word "lic" of a driver's licence;
* phone numbers with a label are found whatever their country, and street addresses have a recogniser.
"""

from __future__ import annotations

import inspect
import logging
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped]
import spacy
import tldextract
from presidio_analyzer import (
    AnalyzerEngine,
    EntityRecognizer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
    predefined_recognizers,
)
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import PhoneRecognizer, SpacyRecognizer

from headwater.errors import ConfigError
from headwater.policies import PrivacyPolicy
from headwater.privacy.address import StreetAddressRecognizer
from headwater.privacy.allowed import denied
from headwater.privacy.entities import MODELLED
from headwater.privacy.phone import CandidatePhoneRecognizer, LabelledPhoneRecognizer
from headwater.privacy.triggers import CONTEXT_REACH, Scanner, Trigger, Windows
from headwater.types import PiiSpan

LOGGERS = ("presidio-analyzer", "presidio-anonymizer", "decision_process")
CONTEXT_CHARACTERS = 80  # holds the five context words of nearly every finding


class Tokenizer(SpacyNlpEngine):  # type: ignore[misc,unused-ignore]
    """spaCy's tokenizer of a language; it has no way to download anything."""

    def __init__(self, language: str) -> None:
        super().__init__(models=[{"lang_code": language, "model_name": "blank"}])
        try:
            self.nlp: Any = {language: spacy.blank(language)}
        except ImportError as error:
            raise ConfigError(f"privacy.language: spaCy knows no language {language!r} ({error}).") from error
        self.language = language

    def load(self) -> None:
        """Do nothing: the tokenizer was made when this object was made."""

    def process_text(self, text: str, language: str) -> Any:
        """Return what recognisers read of a text that is read as a whole."""
        return Reading(text, self, None, ())


class Reading:
    """In place of Presidio's ``NlpArtifacts``: what was found out about a text before the recognisers read it.

    ``windows`` are where recognisers have to look, by their ids (None: everywhere), ``names`` what a model found.
    """

    def __init__(self, text: str, tokenizer: Tokenizer, windows: Windows | None, names: Sequence[PiiSpan]) -> None:
        self.text = text
        self.tokenizer = tokenizer
        self.windows = windows
        self.names = names

    def before(self, start: int, words: int) -> tuple[NlpArtifacts, int]:
        """Return the artifacts of a stretch that ends with the word at ``start``, and the place of ``start`` in it.

        It holds ``words`` keywords at least, unless the text has fewer within CONTEXT_REACH. spaCy's tokenizer splits
        at white space first, so the stretch has the tokens that the whole text has there; words stand for lemmas.
        """
        high = _next_space(self.text, start)
        width = CONTEXT_CHARACTERS
        while True:
            low = _last_space(self.text, max(0, start - width), start - CONTEXT_REACH)
            doc = self.tokenizer.get_nlp(self.tokenizer.language).make_doc(self.text[low:high])
            lemmas = [token.text for token in doc]
            indices = [token.idx for token in doc]
            artifacts = NlpArtifacts([], doc, indices, lemmas, self.tokenizer, self.tokenizer.language)
            enough = sum(lemma.lower() in artifacts.keywords for lemma in lemmas) > words
            if low == 0 or enough or width >= CONTEXT_REACH:
                return artifacts, start - low
            width = min(width * 4, CONTEXT_REACH)


def _next_space(text: str, offset: int) -> int:
    while offset < len(text) and not text[offset].isspace():
        offset += 1
    return offset


def _last_space(text: str, offset: int, limit: int) -> int:
    while offset > max(0, limit) and not text[offset - 1].isspace():
        offset -= 1
    return offset


class WholeWordContext(LemmaContextAwareEnhancer):  # type: ignore[misc,unused-ignore]
    """Raises the score of findings after a context word, in time independent of the text's length per finding."""

    def __init__(self) -> None:
        super().__init__(context_matching_mode="whole_word")

    def enhance_using_context(
        self,
        text: str,
        raw_results: list[RecognizerResult],
        nlp_artifacts: Any,
        recognizers: list[EntityRecognizer],
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        """Return the findings with their scores; what context can't change is not looked at."""
        words = {item.id: [word.lower() for word in item.context or ()] for item in recognizers}
        lowered = text.lower()
        exact = len(lowered) == len(text)  # some characters have a lower case of two
        certain: list[RecognizerResult] = []
        rest: list[RecognizerResult] = []
        for result in raw_results:
            before = lowered[max(0, result.start - CONTEXT_REACH) : _next_space(text, result.start)] if exact else None
            mine = words.get(result.recognition_metadata[RecognizerResult.RECOGNIZER_IDENTIFIER_KEY], ())
            changes = before is None or any(word in before for word in mine)
            (rest if changes and result.score < self.MAX_SCORE else certain).append(result)
        raised: list[RecognizerResult] = super().enhance_using_context(text, rest, nlp_artifacts, recognizers, context)
        return certain + raised

    def _extract_surrounding_words(self, nlp_artifacts: Any, word: str, start: int) -> list[str]:
        artifacts, start = nlp_artifacts.before(start, self.context_prefix_count + 1)
        words: list[str] = super()._extract_surrounding_words(artifacts, word, start)
        return words

    @staticmethod
    def _find_index_of_match_token(word: str, start: int, tokens: Any, tokens_indices: list[int]) -> int:
        index = max(0, bisect_right(tokens_indices, start) - 1)
        between_tokens = start >= tokens_indices[index] + len(tokens[index])
        return min(index + between_tokens, len(tokens_indices) - 1)

    @staticmethod
    def _find_supportive_word_in_context(
        context_list: list[str], recognizer_context_list: list[str], matching_mode: str = "whole_word"
    ) -> str:
        words = set(context_list)
        for keyword in context_list:
            words.update(regex.findall(r"[^\W_]+", keyword))
        words.update([word[:-1] for word in words if len(word) > 3 and word.endswith("s")])
        return next((word for word in recognizer_context_list if word.lower() in words), "")


class WindowedRecognizer(EntityRecognizer):  # type: ignore[misc,unused-ignore]
    """Another recogniser, reading the windows of a :class:`Reading` only."""

    def __init__(self, inner: Any) -> None:
        super().__init__(
            supported_entities=inner.supported_entities,
            name=inner.name,
            supported_language=inner.supported_language,
            version=inner.version,
            context=inner.context,
        )
        self._id = inner.id
        self.inner = inner

    def load(self) -> None:
        """Do nothing: the other recogniser is loaded."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """Return the other recogniser's findings in the windows."""
        if nlp_artifacts.windows is None:
            return list(self.inner.analyze(text, entities, nlp_artifacts))
        found: list[RecognizerResult] = []
        for start, end in nlp_artifacts.windows.get(self.id, ()):
            for result in self.inner.analyze(text[start:end], entities, nlp_artifacts):
                # What touches an end that cuts a word is the cut's doing, or is whole in another window.
                if (result.start or _border(text, start)) and (result.end < end - start or _border(text, end)):
                    result.start += start
                    result.end += start
                    # By this id the analyzer finds the context words.
                    result.recognition_metadata[RecognizerResult.RECOGNIZER_IDENTIFIER_KEY] = self.id
                    found.append(result)
        return found

    def enhance_using_context(
        self,
        text: str,
        raw_recognizer_results: list[RecognizerResult],
        other_raw_recognizer_results: list[RecognizerResult],
        nlp_artifacts: Any,
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        """Return what the other recogniser makes of context."""
        return list(
            self.inner.enhance_using_context(
                text, raw_recognizer_results, other_raw_recognizer_results, nlp_artifacts, context
            )
        )


def _border(text: str, offset: int) -> bool:
    return offset in (0, len(text)) or text[offset - 1].isspace() or text[offset].isspace()


class NameRecognizer(EntityRecognizer):  # type: ignore[misc,unused-ignore]
    """Hands on the names that a model found, so that Presidio treats them as it treats every finding."""

    def __init__(self, language: str) -> None:
        super().__init__(supported_entities=sorted(MODELLED), name="NameRecognizer", supported_language=language)

    def load(self) -> None:
        """Do nothing: the model ran before."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """Return the names of the reading."""
        return [
            RecognizerResult(
                span.entity,
                span.start,
                span.end,
                span.score,
                recognition_metadata={
                    RecognizerResult.RECOGNIZER_NAME_KEY: "NameRecognizer",
                    RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                },
            )
            for span in nlp_artifacts.names
            if span.entity in entities
        ]


@dataclass(frozen=True, slots=True)
class Recognition:
    """Presidio's analyzer for chosen entities, with what decides where its recognisers look."""

    analyzer: AnalyzerEngine
    tokenizer: Tokenizer
    scanner: Scanner
    entities: tuple[str, ...]


def build(policy: PrivacyPolicy, entities: frozenset[str]) -> Recognition:
    """Return Presidio set up for the entities of a policy. Raises ``ConfigError`` for an unknown language."""
    # Presidio's e-mail recogniser asks tldextract, which would fetch its list of suffixes; it brings one.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)  # one warning for each recogniser of another language
    tokenizer = Tokenizer(policy.language)
    chosen = [item for item in all_recognizers(policy) if entities.intersection(item.supported_entities)]
    scanner = _scanner(chosen, policy.min_score)
    registry = RecognizerRegistry(supported_languages=[policy.language])
    registry.recognizers = [
        *(item if item.id in scanner.always else WindowedRecognizer(item) for item in chosen),
        NameRecognizer(policy.language),
    ]
    analyzer = AnalyzerEngine(
        registry=registry,
        nlp_engine=tokenizer,
        supported_languages=[policy.language],
        context_aware_enhancer=WholeWordContext(),
    )
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)  # debug and info records quote the text
    return Recognition(analyzer, tokenizer, scanner, tuple(sorted(entities)))


def all_recognizers(policy: PrivacyPolicy) -> list[EntityRecognizer]:
    """Return every recogniser that works without a service or a model: Presidio's, ours, and the policy's own."""
    language = policy.language
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language])
    presidios = [
        item
        for item in registry.recognizers
        if not isinstance(item, (SpacyRecognizer, PhoneRecognizer)) and item.country_code() is None
    ]
    presidios += [make(supported_language=language) for make in _national_recognizers()]
    deny = [
        PatternRecognizer(
            entity,
            name=f"deny list of {entity}",
            supported_language=language,
            patterns=[Pattern("deny list", pattern, EntityRecognizer.MAX_SCORE)],
        )
        for entity, strings in policy.deny.items()
        if (pattern := denied(strings)) is not None
    ]
    own = [
        PatternRecognizer(
            item.entity,
            name=f"recognizer {number} of the policy",
            supported_language=language,
            patterns=[Pattern(f"pattern {index}", text, item.score) for index, text in enumerate(item.patterns)],
            context=item.context,
        )
        for number, item in enumerate(policy.recognizers)
    ]
    ours = [
        CandidatePhoneRecognizer(language, tuple(policy.phone_regions) if policy.phone_regions else None),
        LabelledPhoneRecognizer(language),
        StreetAddressRecognizer(language),
    ]
    return [*presidios, *ours, *deny, *own]


def _national_recognizers() -> list[Any]:
    """Return Presidio's recognisers of things that one country has."""
    classes = [item for item in vars(predefined_recognizers).values() if inspect.isclass(item)]
    return [item for item in classes if issubclass(item, EntityRecognizer) and item.COUNTRY_CODE]


def _scanner(recognizers: Iterable[Any], min_score: float) -> Scanner:
    triggers: list[Trigger] = []
    always: list[str] = []
    for recognizer in recognizers:
        patterns = getattr(recognizer, "patterns", None)
        if not patterns:
            always.append(recognizer.id)
            continue
        for pattern in patterns:
            needs_context = pattern.score < min_score and _scores_by_context_only(recognizer)
            context = tuple(word.lower() for word in recognizer.context or ()) if needs_context else ()
            if not needs_context or context:
                triggers.append(Trigger(recognizer.id, pattern.regex, recognizer.global_regex_flags, context))
    return Scanner(triggers, always)


def _scores_by_context_only(recognizer: Any) -> bool:
    """Return whether nothing but a context word raises the score of a match (no checksum, no code of its own)."""
    made: Any = type(recognizer)
    return (
        isinstance(recognizer, PatternRecognizer)
        and made.analyze is PatternRecognizer.analyze
        and made.validate_result is PatternRecognizer.validate_result
        and made.enhance_using_context is EntityRecognizer.enhance_using_context
    )
