"""The sentence pipeline that unstructured asks whether a text is prose.

unstructured would download a spaCy model at the first use. Here it is handed one before: the configured
pipeline, ``en_core_web_sm`` when it is installed, or else the rules below; and its downloader is taken away.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from headwater.errors import ConfigError

RULES = "rules"
DEFAULT_MODEL = "en_core_web_sm"

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
_SENTENCE = re.compile(r"[^.!?\u2026]*(?:[.!?\u2026]+[\"')\]\u201d\u2019]*(?=\s|$)|[.!?\u2026]|$)\s*")
# Closed-class verbs and the commonest others, from any English frequency list. What matters is only whether a
# single sentence has a verb at all; with two sentences and more unstructured doesn't ask.
_VERB_FORMS = """
    am is are was were be been being 's 're 've 'll 'd has have had having do does did done doing can could may might must
    shall should will would isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't
    hasn't haven't it's that's there's we're they're you're i'm we've you've they've we'll you'll
    add agree allow apply ask become begin believe bring build call change check choose come contact contain continue
    create decide describe enable ensure expect explain feel find follow get gets give gives go goes happen help helps
    hold include includes install keep know learn leave let lets like look make makes mean means meet move need needs
    open own offer pay provide provides put read receive remain remove report require requires run runs say says see
    seem send set show shows speak start stay stop submit take takes talk tell think try turn understand update use
    uses visit wait want work works write
"""
_VERBS = frozenset(_VERB_FORMS.split())


class _Token:
    __slots__ = ("tag_", "text")

    def __init__(self, text: str, verb: bool) -> None:
        self.text = text
        self.tag_ = "VB" if verb else ""


class _Sentence:
    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _RuleDocument:
    """The part of a spaCy ``Doc`` that unstructured reads."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[_Token]:
        for match in _WORD.finditer(self._text):
            word = match[0]
            yield _Token(word, is_verb(word))

    @property
    def sents(self) -> Iterator[_Sentence]:
        for match in _SENTENCE.finditer(self._text):
            if match[0].strip():
                yield _Sentence(match[0].strip())


def is_verb(word: str) -> bool:
    """Whether a word of an English sentence is, by its form, a verb."""
    # -ed and -ing forms count in lower case only: "Pricing" opens a heading, "pricing it" is a verb.
    if word.lower() in _VERBS:
        return True
    return len(word) > 4 and word.islower() and word.endswith(("ed", "ing"))


class RulePipeline:
    """Tokens, sentence ends and verbs by rule: about ten times as fast as a blank spaCy pipeline, and it knows verbs."""

    max_length = 1_000_000

    def __call__(self, text: str) -> _RuleDocument:
        """Return the text's tokens and sentences."""
        return _RuleDocument(text)


_active: str | None = None


def active_pipeline() -> str | None:
    """Return the name of the installed pipeline, None before :func:`install_pipeline`."""
    return _active


def pipeline_name(sentence_model: str | None) -> str:
    """Return which pipeline a policy gets: its own, ``en_core_web_sm``, or ``rules``. Imports no spaCy."""
    if sentence_model is not None:
        return sentence_model
    from importlib.util import find_spec

    return DEFAULT_MODEL if find_spec(DEFAULT_MODEL) is not None else RULES


def silence_unstructured() -> None:
    """Turn off unstructured's telemetry, its notice and its log; must run before it is imported."""
    for name in ("DO_NOT_TRACK", "SCARF_NO_ANALYTICS", "UNSTRUCTURED_DISABLE_NOTICE"):
        os.environ[name] = "1"
    logging.getLogger("unstructured").setLevel(logging.CRITICAL)  # its warnings may quote the document


def install_pipeline(sentence_model: str | None) -> None:
    """Make unstructured use the policy's pipeline.

    Raises:
        ConfigError: the configured pipeline is not installed.
    """
    global _active
    name = pipeline_name(sentence_model)
    if _active == name:
        return
    silence_unstructured()
    from unstructured.nlp import tokenize

    pipeline = RulePipeline() if name == RULES else _load(name)
    setattr(tokenize, "_get_nlp", lambda: pipeline)  # noqa: B010 (its own function is typed as a cached one)
    tokenize._install_spacy_model = _refuse
    tokenize._load_spacy_model = _refuse
    for cached in ("_process_cached", "word_tokenize", "pos_tag", "_tokenize_for_cache"):
        getattr(tokenize, cached).cache_clear()
    _active = name


def _load(name: str) -> Any:
    import spacy

    try:
        return spacy.load(name, exclude=["ner", "lemmatizer"])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"parse.sentence_model: the spaCy pipeline {name!r} is not installed; install its package, or leave the field out"
        ) from error


def _refuse() -> NoReturn:
    raise ConfigError("unstructured asked for a spaCy download; the sentence pipeline was not set")
