"""Which stemmer and stop words BM25 takes: those of the language that most of a corpus is in."""

from __future__ import annotations

from collections.abc import Mapping

AUTO = "auto"
"""The setting that leaves the language to the documents."""

PLAIN = "none"
"""No stemmer and no stop words; words are found in scripts that put no space between them, too."""

DEFAULT = "english"

_NAMES = {
    "ar": "arabic",
    "az": "azerbaijani",
    "bn": "bengali",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "he": "hebrew",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "ja": "japanese",
    "kk": "kazakh",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sl": "slovene",
    "sv": "swedish",
    "tg": "tajik",
    "tr": "turkish",
    "zh": "chinese",
}
"""ISO 639-1 to the names of the analyzers that ship with the Qdrant engine."""

UNSPACED = frozenset({"chinese", "japanese", PLAIN})
"""Analyzers that must find words by themselves."""

_MAJORITY = 0.5
"""A language has to be that of half of the documents, so that a few that were mistaken change nothing."""


def analyzer_of(setting: str, documents: Mapping[str, int]) -> str:
    """Return the analyzer for a corpus: ``setting``, or the one that its documents call for where that is ``auto``.

    ``documents`` counts documents by language (ISO 639-1, ``und``). Without a language that half of them are in, the
    answer is :data:`DEFAULT`; for a language without an analyzer it is :data:`PLAIN`.
    """
    if setting != AUTO:
        return setting
    total = sum(documents.values())
    most = max(documents, key=lambda code: (documents[code], code), default="und")
    if not total or most == "und" or documents[most] < _MAJORITY * total:
        return DEFAULT
    return _NAMES.get(most, PLAIN)
