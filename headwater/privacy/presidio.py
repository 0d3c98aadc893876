"""Presidio, set up to work offline, to scale with the text, and to keep quiet about what it found.

This module imports Presidio and spaCy, so import it inside functions only. It changes four things, none of which
loses a finding:

* the NLP engine loads installed pipelines only: Presidio's own one downloads what is missing;
* without a trained pipeline only the words before a finding are tokenised;
* context words match as whole words (Presidio's ``whole_word`` mode, plural forms and parts of compound tokens
  included): the default substring mode reads "public" as the context word "lic" of a driver's licence;
* the phone recogniser reads only lines with enough digits close together, as libphonenumber's own metadata defines.
"""

from __future__ import annotations

import inspect
import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import phonenumbers
import regex  # type: ignore[import-untyped]
import spacy
from presidio_analyzer import (
    AnalyzerEngine,
    EntityRecognizer,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
    predefined_recognizers,
)
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NerModelConfiguration, NlpArtifacts, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import PhoneRecognizer, SpacyRecognizer

from headwater.errors import ConfigError
from headwater.privacy.pipeline import Pipeline

LOGGERS = ("presidio-analyzer", "presidio-anonymizer", "decision_process")
CONTEXT_CHARACTERS = 80  # holds the five context words of nearly every finding
BATCH_PIECES = 64  # texts per call of the spaCy pipeline

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
    "DATE": "DATE_TIME",
    "TIME": "DATE_TIME",
}


class OfflineNlpEngine(SpacyNlpEngine):
    """spaCy's installed pipeline, or a tokenizer alone; it has no way to download anything."""

    def __init__(self, language: str, pipeline: Pipeline | None) -> None:
        super().__init__(models=[{"lang_code": language, "model_name": pipeline.name if pipeline else "blank"}])
        self.pipeline = pipeline
        try:
            # The parser's output is used by nothing here.
            nlp = spacy.load(pipeline.name, exclude=["parser"]) if pipeline else spacy.blank(language)
        except (ImportError, OSError, ValueError) as error:
            what = f"spaCy pipeline {pipeline.name!r}" if pipeline else f"language {language!r}"
            raise ConfigError(f"privacy: spaCy can't load the {what} ({type(error).__name__}: {error}).") from error
        labels = {label for name in nlp.pipe_names for label in getattr(nlp.get_pipe(name), "labels", ())}
        self.ner_model_configuration = NerModelConfiguration(
            model_to_presidio_entity_mapping=LABELS, labels_to_ignore=sorted(labels - LABELS.keys())
        )
        self.nlp: Any = {language: nlp}

    def load(self) -> None:
        """Do nothing: the pipeline was loaded when this object was made."""

    def process_text(self, text: str, language: str) -> Any:
        """Return the artifacts of one text."""
        return next(self.artifacts([text], language))

    def artifacts(self, texts: Iterable[str], language: str) -> Iterator[Any]:
        """Yield what the recognisers read of each text besides its characters."""
        if self.pipeline is None:
            for text in texts:
                yield WordsOnDemand(text, self, language)
        else:
            batch: Any = self.process_batch(list(texts), language, batch_size=BATCH_PIECES)
            for _, artifacts in batch:
                if not any(artifacts.lemmas):
                    artifacts.lemmas = [token.text for token in artifacts.tokens]
                    artifacts.keywords = NlpArtifacts.set_keywords(self, artifacts.lemmas, language)
                artifacts.keywords = frozenset(artifacts.keywords)
                yield artifacts


class WordsOnDemand:
    """In place of Presidio's ``NlpArtifacts`` where there is no model: words are read only around a finding."""

    def __init__(self, text: str, nlp_engine: OfflineNlpEngine, language: str) -> None:
        self.text = text
        self.nlp_engine = nlp_engine
        self.language = language

    def before(self, start: int, words: int) -> tuple[NlpArtifacts, int]:
        """Return the artifacts of a stretch that ends with the word at ``start``, and the place of ``start`` in it.

        It holds ``words`` keywords at least, unless the text has fewer there. spaCy's tokenizer splits at white space
        first, so the stretch has the tokens that the whole text has there. The words stand in place of lemmas.
        """
        high = _next_space(self.text, start)
        width = CONTEXT_CHARACTERS
        while True:
            low = _last_space(self.text, max(0, start - width))
            doc = self.nlp_engine.get_nlp(self.language).make_doc(self.text[low:high])
            lemmas = [token.text for token in doc]
            indices = [token.idx for token in doc]
            artifacts = NlpArtifacts([], doc, indices, lemmas, self.nlp_engine, self.language)
            if low == 0 or sum(lemma.lower() in artifacts.keywords for lemma in lemmas) > words:
                return artifacts, start - low
            width *= 4


def _next_space(text: str, offset: int) -> int:
    while offset < len(text) and not text[offset].isspace():
        offset += 1
    return offset


def _last_space(text: str, offset: int) -> int:
    while offset > 0 and not text[offset - 1].isspace():
        offset -= 1
    return offset


class WholeWordContext(LemmaContextAwareEnhancer):  # type: ignore[misc,unused-ignore]
    """Raises the score of findings after a context word, in time independent of the text's length per finding."""

    def __init__(self) -> None:
        super().__init__(context_matching_mode="whole_word")

    def _extract_surrounding_words(self, nlp_artifacts: Any, word: str, start: int) -> list[str]:
        if isinstance(nlp_artifacts, WordsOnDemand):
            nlp_artifacts, start = nlp_artifacts.before(start, self.context_prefix_count + 1)
        return super()._extract_surrounding_words(nlp_artifacts, word, start)

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


class LinewisePhoneRecognizer(PhoneRecognizer):  # type: ignore[misc,unused-ignore]
    """Presidio's phone recogniser on the lines that can hold a number of a region.

    libphonenumber's candidates never cross a line break, consist of digit groups at most four other characters
    apart, and are no number with fewer digits than the region's shortest number or, in international form, the
    shortest country code and number of any region.
    """

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_language=supported_language, name=PhoneRecognizer.__name__)
        shortest = {region: _shortest_number(region) for region in phonenumbers.SUPPORTED_REGIONS}
        international = min(
            length + len(str(phonenumbers.country_code_for_region(region))) for region, length in shortest.items()
        )
        by_digits: dict[int, list[str]] = {}
        for region in self.supported_regions:
            by_digits.setdefault(min(shortest[region], international), []).append(region)
        self._passes: list[tuple[Any, PhoneRecognizer]] = []
        for digits, regions in by_digits.items():
            recognizer = PhoneRecognizer(
                supported_language=supported_language, supported_regions=tuple(regions), name=PhoneRecognizer.__name__
            )
            self._passes.append((regex.compile(rf"(?:\d[^\d\n]{{0,4}}){{{digits - 1}}}\d"), recognizer))

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """Return the phone numbers of ``text``."""
        results = []
        for enough_digits, recognizer in self._passes:
            match = enough_digits.search(text)
            while match:
                start = text.rfind("\n", 0, match.start()) + 1
                end = text.find("\n", match.end())
                end = len(text) if end < 0 else end
                for result in recognizer.analyze(text[start:end], entities, nlp_artifacts):
                    result.start += start
                    result.end += start
                    # By this id the analyzer finds the context words.
                    result.recognition_metadata[RecognizerResult.RECOGNIZER_IDENTIFIER_KEY] = self.id
                    results.append(result)
                match = enough_digits.search(text, end)
        return results


def _shortest_number(region: str) -> int:
    """Return the fewest digits of a national number of the region."""
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return int(min(length for length in metadata.general_desc.possible_length if length > 0))


@dataclass(frozen=True, slots=True)
class Recognition:
    """Presidio's analyzer with the entities it looks for by default, all it can find, and all Presidio knows."""

    analyzer: AnalyzerEngine
    nlp_engine: OfflineNlpEngine
    default: frozenset[str]
    available: frozenset[str]
    known: frozenset[str]


def build(language: str, pipeline: Pipeline | None) -> Recognition:
    """Return Presidio set up for one language.

    Recognisers that Presidio ships switched off (other countries' numbers) are available too, but not by default:
    they run only when a policy names their entities.
    """
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)  # one warning for each recogniser of another language
    nlp_engine = OfflineNlpEngine(language, pipeline)
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=nlp_engine)
    enabled = [
        LinewisePhoneRecognizer(language) if type(recognizer) is PhoneRecognizer else recognizer
        for recognizer in registry.recognizers
        if pipeline or not isinstance(recognizer, SpacyRecognizer)
    ]
    switched_off = [
        make() for make in _pattern_recognizers(language) if not any(type(item) is make for item in enabled)
    ]
    registry.recognizers = [*enabled, *switched_off]
    analyzer = AnalyzerEngine(
        registry=registry,
        nlp_engine=nlp_engine,
        supported_languages=[language],
        context_aware_enhancer=WholeWordContext(),
    )
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)  # debug and info records quote the text
    available = _entities(registry.recognizers)
    return Recognition(analyzer, nlp_engine, _entities(enabled), available, available | set(LABELS.values()))


def _entities(recognizers: Iterable[EntityRecognizer]) -> frozenset[str]:
    return frozenset(entity for recognizer in recognizers for entity in recognizer.supported_entities)


def _pattern_recognizers(language: str) -> list[Any]:
    """Return Presidio's pattern recognisers that are made for the language."""
    classes = [item for item in vars(predefined_recognizers).values() if inspect.isclass(item)]
    made_for = {item: inspect.signature(item).parameters.get("supported_language") for item in classes}
    return [
        item
        for item, parameter in made_for.items()
        if issubclass(item, PatternRecognizer) and parameter is not None and parameter.default == language
    ]
